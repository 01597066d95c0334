"""Sums: one open step a task, done in the head or on an abacus."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from amp.allocate.space import Space
from amp.benchmarks.base import Benchmark, Defaults, Difficulty, DifficultyScale, count_in
from amp.errors import InvalidInputError
from amp.execute.base import PlainPrompts, Tool, ToolLimits
from amp.latency import Lengths
from amp.models.base import Prompt
from amp.types import Allocation, Observation, StepContext, Task, ToolUse, Transition

_CALL = re.compile(r"sum\((\d+), (\d+)\)")
_SAMPLED = Allocation(temperature=0.7)
_ON_THE_ABACUS = replace(_SAMPLED, tools=frozenset({"abacus"}))
_SPACE = Space(
    depth=(0, 0),
    temperature=(0.7, 0.7),
    top_p=(1.0, 1.0),
    beam_width=(1, 4),
    verification=(0, 0),
    tools=frozenset({"abacus"}),
)


class Abacus(Tool):
    """Adds the two numbers of a call ``sum(17, 25)``."""

    name = "abacus"
    description = "adds two numbers: sum(17, 25)"
    limits = ToolLimits(seconds=1.0, output_bytes=100)
    schema: Mapping[str, Any] = {"type": "string"}

    async def use(self, text: str) -> ToolUse | None:
        call = _CALL.search(text)
        return call and ToolUse(self.name, call[0], str(int(call[1]) + int(call[2])))


class SumPrompts(PlainPrompts):
    """The plain prompts, with a word on the abacus where it may be used."""

    version = "sums/1"

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        prompt = super().solve(context, allocation)
        if allocation.tools:
            *before, last = prompt.messages
            last = replace(last, content=f"{last.content} Use the abacus: {Abacus.description}")
            prompt = replace(prompt, messages=(*before, last))
        return replace(prompt, version=self.version)


class Sum:
    """One sum; the first answer ends the episode. Its judge, too."""

    def __init__(self, task: Task) -> None:
        self.answer = str(task.data["answer"])

    def reset(self, task: Task) -> Observation:
        self.answer = str(task.data["answer"])
        return Observation()

    def step(self, action: str) -> Transition:
        right = action == self.answer
        return Transition(Observation(), done=True, success=right, score=float(right))

    def mistaken(self, action: str | None) -> bool:
        return action != self.answer

    def advance(self, action: str) -> None:
        """Nothing comes after it."""


class Sums(Benchmark):
    """Sums of two numbers of one to three digits."""

    name = "sums"
    about = "sums of two numbers"
    splits = ("test", "train")
    max_steps = 1
    prompts = SumPrompts()
    tools: Mapping[str, Abacus] = {"abacus": Abacus()}
    defaults = Defaults(
        fixed=replace(_SAMPLED, beam_width=2),
        space=_SPACE,
        lengths=Lengths(prompt_tokens=40, answer_tokens=8, thought_tokens=20),
        arms={"head": _SAMPLED, "abacus": _ON_THE_ABACUS},
        policy_space=_SPACE,
    )
    difficulty_scale = DifficultyScale("digits of the larger number", (1, 2))

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[Task]:
        if split not in self.splits:
            raise InvalidInputError(f"unknown split {split!r} of sums (splits: test, train)")
        rng = random.Random(split)
        digits = [1, 2, 3] * 8
        pairs = [(rng.randrange(10 ** (n - 1), 10**n), rng.randrange(1, 10)) for n in digits]
        return [
            Task(
                f"sums/{split}/{number}",
                f"What is {one} + {other}?",
                {"answer": str(one + other), "digits": len(str(one))},
                seed,
            )
            for number, (one, other) in enumerate(pairs[:limit])
        ]

    def environment(self, task: Task) -> Sum:
        return Sum(task)

    def judge(self, task: Task) -> Sum:
        return Sum(task)

    def difficulty(self, task: Task) -> Difficulty:
        return self.difficulty_scale.difficulty(count_in(task, "digits"))
