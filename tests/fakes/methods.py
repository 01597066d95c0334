"""What the tests of the planners share: worlds that fork, models that babble, and every planner."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.fakes.tools import FakeTool
from tests.fakes.worlds import Corridor, Riddle

from amp.allocate.base import FixedAllocator
from amp.assess.base import WeightedAssessor
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.execute.tools.calculator import CalculatorTool
from amp.methods import AdaPlanner, ADaPTPlanner, AnyPlanner, BeamPlanner, ReActPlanner
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Episode, Limits, Observation, Task, ToolUse, Transition, Usage


class ForkingCorridor(Corridor):
    """A corridor of which there can be several."""

    def fork(self) -> ForkingCorridor:
        return copy.deepcopy(self)


class ForkingRiddle(Riddle):
    """A riddle of which there can be several."""

    def fork(self) -> ForkingRiddle:
        return copy.copy(self)


@dataclass
class Essay:
    """Lines of free text until one begins with "end"; right if the essay is the one wanted."""

    lines: list[str] = field(default_factory=list)
    wanted: str = ""

    def reset(self, task: Task) -> Observation:
        self.lines, self.wanted = [], str(task.data["wanted"])
        return Observation()

    def step(self, action: str) -> Transition:
        self.lines.append(action)
        done = action.startswith("end")
        right = "/".join(self.lines) == self.wanted if done else None
        state = Observation("/".join(self.lines))
        return Transition(state, done, right, float(right is True), f"line {len(self.lines)}")

    def fork(self) -> Essay:
        return copy.deepcopy(self)


ESSAY = Task("essay", "write", {"wanted": "b/end 2"})


class EchoTool(FakeTool):
    """Stands in for the Python tool: what follows "run " is the output, "fail" an error."""

    name = "python"

    async def use(self, text: str) -> ToolUse | None:
        if "fail" in text:
            return ToolUse(self.name, text, "", "AssertionError: too many legs")
        _, found, output = text.partition("run ")
        return ToolUse(self.name, text, output) if found else None


def executor() -> Executor:
    return Executor(PlainPrompts(), {"python": EchoTool(), "calculator": CalculatorTool()})


ALLOCATION = Allocation(temperature=1.0)

BUILDERS: dict[str, Callable[[ScriptedModel, Limits, Allocation], AnyPlanner]] = {
    "beam": lambda model, limits, allocation: BeamPlanner(
        model, executor(), WeightedAssessor(), FixedAllocator(allocation), limits
    ),
    "react": lambda model, limits, allocation: ReActPlanner(model, executor(), allocation, limits),
    "adaplanner": lambda model, limits, allocation: AdaPlanner(
        model, executor(), allocation, limits
    ),
    "adapt": lambda model, limits, allocation: ADaPTPlanner(model, executor(), allocation, limits),
}

PHRASES = (
    "",
    " ",
    "\n\n",
    "walk",
    "Thought: go.\nAction: calculate[2 *",
    "Action: calculate[4 * 2]",
    "Action: calculate[two]",
    "Action: finish[]",
    "Action: finish[8]",
    "Action: 8",
    "run 8",
    "fail",
    " walk | expect: cell 1\n2. walk",
    " wait | expect: nothing at all\n2. fly",
    " walk to cell 1\n2. walk to the end\nLogic: AND",
    " walk\n2. wait\nLogic: OR",
    "####" * 40,
    "\x00\udcff<<>>[[",
)
"""What a model may say; some of it makes sense to some planner."""


def babbler(seed: int) -> ScriptedModel:
    """A model that says anything, always the same for one seed."""

    def answer(prompt: Prompt, sample: int) -> str:
        return random.Random(f"{seed} {sample} {prompt.messages[-1]}").choice(PHRASES)

    def next_tokens(prompt: Prompt) -> dict[str, float]:
        rng = random.Random(f"{seed} {prompt.messages}")
        tokens = rng.choice((("1", "2"), ("yes", "no"), ("?",), ("1",), ("2", "no")))
        masses = [rng.random() + 0.01 for _ in tokens]
        return {token: mass / sum(masses) for token, mass in zip(tokens, masses, strict=True)}

    return ScriptedModel(answer, next_tokens=next_tokens)


async def asked(model: ScriptedModel) -> tuple[int, int]:
    """Calls of a model and the prompt tokens that they read, by the model's own account."""
    prompts: Sequence[Prompt] = [*(request.prompt for request in model.requests), *model.probes]
    return len(prompts), sum([await model.count_tokens(prompt) for prompt in prompts])


def spent(episode: Episode) -> Usage:
    return sum((step.usage for step in episode.steps), Usage())
