"""A trail of junctions: where the signs are faded, only who thinks goes right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from amp.allocate.space import Space
from amp.benchmarks.base import Benchmark, Defaults, Difficulty, DifficultyScale, Judge
from amp.benchmarks.choice_prompts import ChoicePrompts, Example
from amp.latency import Lengths
from amp.models.base import ModelCard, Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Observation, StepContext, Task, Transition

ACT, THINK = Allocation(), Allocation(depth=1)
ARMS = {"act": ACT, "think": THINK}
CARD = ModelCard("walker", parameters=1_000_000, context_tokens=8192)
WAYS = ("left", "right", "wait")


@dataclass
class Trail:
    """Going wrong loses the way for good; waiting changes nothing but the hour."""

    moods: Sequence[int] = ()
    taken: list[str] = field(default_factory=list)
    position: int = 0
    lost: bool = False

    def reset(self, task: Task) -> Observation:
        self.moods, self.taken, self.position, self.lost = task.data["moods"], [], 0, False
        return self._observe()

    def step(self, action: str) -> Transition:
        self.taken.append(action)
        if action != "wait":
            self.lost |= action != self.way
            self.position += 1
        done = self.position == len(self.moods)
        won = done and not self.lost
        return Transition(
            self._observe(), done, won if done else None, float(won), f"went {action}"
        )

    def fork(self) -> Trail:
        return Trail(self.moods, list(self.taken), self.position, self.lost)

    def fingerprint(self) -> str:
        return f"{self.position} {self.lost}"

    @property
    def way(self) -> str:
        return WAYS[self.moods[self.position] % 2]

    def _observe(self) -> Observation:
        if self.position == len(self.moods):
            return Observation("the end", WAYS)
        mood, lost = self.moods[self.position], " in the fog" if self.lost else ""
        look = "faded" if mood >= 2 else "clear"
        state = f"junction {self.position}{lost}: a {look} sign to the {self.way}"
        return Observation(state, WAYS, distance=0.9 if mood >= 2 else 0.1)


@dataclass(frozen=True)
class Place:
    state: str
    actions: tuple[str, ...]

    def told(self, labels: str) -> str:
        marks = [f" ({label})" for label in labels] or [""] * len(self.actions)
        return "\n".join([self.state, *map("".join, zip(self.actions, marks, strict=True))])

    def lead(self) -> str:
        return "I go"


class TrailPrompts(ChoicePrompts[Place]):
    """No history."""

    version = "trail/1"
    judge = "Judge."
    thought_tokens, critique_tokens, answer_tokens = 24, 24, 8

    def situation(self, context: StepContext, actions: tuple[str, ...]) -> Place:
        return Place(context.observation.state, actions)

    def remembers(self, context: StepContext, tools: frozenset[str]) -> object:
        return None

    def rules(self, situation: Place) -> str:
        return "Find the way."

    def examples(self, situation: Place, *, thoughtful: bool) -> Sequence[Example[Place]]:
        return ()

    def actions(self, context: StepContext, tools: frozenset[str]) -> tuple[str, ...]:
        return context.actions(tools) or WAYS


class Trails(Benchmark):
    """Tasks of junctions by number."""

    name, about, splits = "trails", "junctions", ("train", "test")
    prompts = TrailPrompts()
    difficulty_scale = DifficultyScale("junctions", (3, 4))

    def __init__(self, junctions: int = 4, steps: int = 6) -> None:
        self.junctions, self.steps = junctions, steps

    @property
    def max_steps(self) -> int:
        return self.steps

    @property
    def defaults(self) -> Defaults:
        space = Space((0, 1), (0.0, 0.0), (1.0, 1.0), (1, 1), (0, 0))
        return Defaults(ACT, space, Lengths(50, 1, 20), ARMS, space)

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[Task]:
        names = [f"{split}/{number}" for number in range(8 if limit is None else limit)]
        return [self.task(name, seed) for name in names]

    def task(self, name: str, seed: int = 0) -> Task:
        rng = random.Random(name)
        moods = [rng.choice((0, 1, 2, 3)) for _ in range(self.junctions)]
        return Task(name, "reach the end", {"moods": moods}, seed)

    def environment(self, task: Task) -> Trail:
        return Trail()

    def judge(self, task: Task) -> Judge:
        raise NotImplementedError

    def difficulty(self, task: Task) -> Difficulty:
        return self.difficulty_scale.difficulty(sum(mood >= 2 for mood in task.data["moods"]))


def walker(waits: bool = False, card: ModelCard = CARD) -> ScriptedModel:
    """A model that reads clear signs at once, and faded ones with a thought.

    Args:
        waits: whether it waits, rather than goes wrong.
        card: who it claims to be.
    """

    def next_tokens(prompt: Prompt) -> dict[str, float]:
        told = prompt.messages[-2].content.splitlines()[0]
        way = WAYS.index(told.split()[-1])
        if "faded" in told and "\n1." not in prompt.messages[-1].content:
            way = 2 if waits else 1 - way
        sure = 0.6 if "faded" in told else 0.9
        return {str(i + 1): sure if i == way else (1 - sure) / 2 for i in range(3)}

    thought = "I look at the sign again and again, until I can read what it says there"
    return ScriptedModel(lambda prompt, i: thought, next_tokens=next_tokens, card=card)
