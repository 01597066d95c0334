"""Bring a benchmark of your own: tasks, prompts, a judge, and how hard a task is, in one class.

Run `python examples/own_benchmark.py`. A package that lists the class in its pyproject.toml, under
`[project.entry-points."amp.benchmarks"]` as `spelling = "my_package:Spelling"`, makes it known to
`amp run`, `amp record` and the other commands, without a change to amp.
"""

import asyncio
import random
from collections.abc import Sequence

import amp
from amp.benchmarks.base import Benchmark, Defaults, Difficulty, DifficultyScale
from amp.evaluate.assembly import build_planner
from amp.evaluate.config import PlannerConfig
from amp.evaluate.run import run_episodes
from amp.latency import Lengths
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel

WORDS = ["sun", "tea", "lamp", "river", "stone", "planet", "kettle", "allocation", "complexity"]


class Backwards:
    """The environment and the judge of one task: the word has to be spelled backwards."""

    def __init__(self, word: str) -> None:
        self.answer = word[::-1]

    def reset(self, task: amp.Task) -> amp.Observation:
        return amp.Observation()  # no listed actions: an action is free text

    def step(self, action: str) -> amp.Transition:
        return amp.Transition(amp.Observation(), done=True, success=action == self.answer)

    def mistaken(self, action: str | None) -> bool:
        return action != self.answer

    def advance(self, action: str) -> None: ...


class Spelling(Benchmark):
    name = "spelling"
    about = "words to spell backwards"
    splits = ("test",)
    prompts = amp.PlainPrompts()
    max_steps = 1
    difficulty_scale = DifficultyScale("letters of the word", (4, 6))
    defaults = Defaults(
        fixed=amp.Allocation(temperature=0.7, beam_width=4),
        space=amp.Space(temperature=(0.7, 0.7), beam_width=(1, 4), depth=(0, 0)),
        lengths=Lengths(prompt_tokens=60, answer_tokens=10, thought_tokens=20),
    )

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[amp.Task]:
        words = WORDS[:limit]
        return [
            amp.Task(f"spelling/{word}", f"Spell {word!r} backwards.", {"word": word}, seed)
            for word in words
        ]

    def environment(self, task: amp.Task) -> Backwards:
        return Backwards(task.data["word"])

    judge = environment

    def difficulty(self, task: amp.Task) -> Difficulty:
        return self.difficulty_scale.difficulty(len(task.data["word"]))


def answer(prompt: Prompt, sample: int) -> str:
    """The scripted model misses every twelfth letter."""
    word = prompt.messages[-1].content.split("'")[1]
    chance = random.Random(f"{word} {sample}")
    return "Action: " + "".join("?" if chance.random() < 1 / 12 else c for c in word[::-1])


async def main() -> None:
    spelling = Spelling()
    config = PlannerConfig(allocator="heuristic")
    planner = build_planner(config, ScriptedModel(answer), spelling)
    async for episode in run_episodes(planner, spelling, spelling.tasks("test")):
        third = ("easy", "medium", "hard")[spelling.difficulty(episode.task).tercile]
        verdict = "right" if episode.success else "wrong"
        samples = sum(len(done.candidates) for done in episode.steps[0].rounds)
        print(f"{third:6} {episode.task.data['word']:10} {verdict}, {samples} samples")


if __name__ == "__main__":
    asyncio.run(main())
