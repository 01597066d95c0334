"""Learn which step of a long plan needs what, in an environment of your own, without a model call.

Run `python examples/learn_on_a_lattice.py`. Every arm is asked in every state that any arm reaches;
then policies are learned, and compared with rules, on what that recorded. The scripted model takes
the wrong letter from a pile of more than two, but it plans well. With your benchmark in a package
this is `amp record post --lattice --model NAME` and `amp lattices compare post.toml`.
"""

import asyncio
import random
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import amp
from amp.allocate import plan_arms
from amp.allocate.policy_file import load_arm_values
from amp.benchmarks.base import Benchmark, Defaults, Difficulty, DifficultyScale, Judge
from amp.latency import Lengths
from amp.learn.config import load_train_config
from amp.learn.lattice_study import study_lattice
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.simulate import Survey, lattice_arms, record_lattice
from amp.simulate.lattice_states import Arms

NAMES = ("Ann", "Bob", "Cy", "Dee", "Eve", "Flo")
CONFIG = """
benchmark = "post"
source = "lattice"
recording = "lattice.sqlite"
learner = "values"
[compare]
learners = ["values"]
seeds = 1
[ppo]
reference_cost = 500        # what a task may cost: about as much as the dearest arm takes
"""


class Pile:
    """Letters that have to be posted in the order of the goal; wind blows one off the pile."""

    def reset(self, task: amp.Task) -> amp.Observation:
        self.left, self.gone = list(task.data["order"]), None
        self.windy = task.data["windy"]
        return self.observe()

    def observe(self) -> amp.Observation:
        pile = sorted(name for name in self.left if name != self.gone)
        actions = [f"post to {name}" for name in pile]
        actions += [f"pick up {self.gone}"] * (self.gone is not None)
        return amp.Observation(f"on the pile: {', '.join(pile)}", tuple(actions))

    def step(self, action: str) -> amp.Transition:
        name = action.split()[-1]
        if action.startswith("pick"):
            self.gone = None
        elif name == self.left[0]:
            self.left.pop(0)
            if self.windy and len(self.left) == 3:
                self.gone = self.left[0]
        else:
            return amp.Transition(self.observe(), done=True, success=False)
        done = not self.left
        return amp.Transition(self.observe(), done, done or None, float(done))

    def fingerprint(self) -> str:  # tells states apart, so that ways to the same one meet
        return f"{self.left} {self.gone}"


class Post(Benchmark):
    name, about, splits = "post", "letters to post", ("test", "train")
    prompts = amp.PlainPrompts()
    max_steps = 10
    difficulty_scale = DifficultyScale("letters", (2, 4))
    defaults = Defaults(
        fixed=amp.Allocation(),
        space=amp.Space(beam_width=(1, 1)),
        lengths=Lengths(prompt_tokens=80, answer_tokens=10, thought_tokens=20),
        arms=plan_arms(amp.Allocation(), plans=(6,), thoughts=()),
    )

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[amp.Task]:
        made = []
        for number in range(24 if limit is None else limit):
            chance = random.Random(f"{split} {number}")
            order = chance.sample(NAMES, chance.randint(1, 6))
            data = {"order": order, "windy": chance.random() < 0.5}
            goal = f"post to {', '.join(order)}, in this order"
            made.append(amp.Task(f"post/{split}/{number}", goal, data, seed))
        return made

    def environment(self, task: amp.Task) -> Pile:
        return Pile()

    def judge(self, task: amp.Task) -> Judge:
        raise NotImplementedError  # needed to train assessors, not here

    def difficulty(self, task: amp.Task) -> Difficulty:
        return self.difficulty_scale.difficulty(len(task.data["order"]))


def wanted(prompt: Prompt) -> tuple[list[str], list[str]]:
    """The actions of a prompt, and those of them that are right, in order."""
    text = "\n".join(message.content for message in prompt.messages)
    goal = re.findall(r"Goal: post to (.*), in this order", text)[-1].split(", ")
    actions = re.findall(r"^(?:\d\.|-) ((?:post|pick).*)$", text, re.MULTILINE)
    names = [name for name in goal if any(action.endswith(name) for action in actions)]
    plan = [f"post to {name}" for name in names]
    return actions, [a for a in actions if a.startswith("pick")] + plan


def choose(prompt: Prompt) -> dict[str, float]:
    actions, right = wanted(prompt)
    sure = len(actions) <= 2 or right[0].startswith("pick")
    best = actions.index(right[0] if sure else right[-1])
    rest = 0.2 / max(1, len(actions) - 1)
    return {str(i + 1): 0.8 if i == best else rest for i in range(len(actions))}


def write(prompt: Prompt, sample: int) -> str:
    _, right = wanted(prompt)
    return "\n".join(f"{n}. {line}" for n, line in enumerate(right, 1)).removeprefix("1.")


async def record(path: Path, post: Post) -> None:
    survey = Survey(post, Arms(lattice_arms(post)))
    model = RecordedModel(ScriptedModel(write, next_tokens=choose), path, "auto")
    for split in post.splits:
        await record_lattice(model, path, survey, post.tasks(split))
    await model.close()


def main() -> None:
    post = Post()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(record(Path(folder, "lattice.sqlite"), post))
        Path(folder, "post.toml").write_text(CONFIG)
        study = study_lattice(load_train_config(Path(folder, "post.toml")), [post], Path(folder))
        policy = load_arm_values(Path(folder, "values-0", "policy.safetensors"))
    for run in study.runs:
        solved = sum(bool(episode.success) for episode in run.episodes)
        tokens = sum(episode.usage.tokens for episode in run.episodes) / len(run.episodes)
        print(f"{run.kind:8} {solved:2} of {len(run.episodes)} {tokens:5.0f} tokens  {run.name}")
    oracle = study.report.oracle
    if oracle is not None:
        print(f"oracle   {oracle.summary.successes:2} of {oracle.tasks} {oracle.cost:5.0f} tokens")
    print(*policy.questions(), sep="\n")


if __name__ == "__main__":
    main()
