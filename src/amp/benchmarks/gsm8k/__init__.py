"""GSM8K: grade school word problems (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from amp.allocate.space import Space
from amp.benchmarks.base import Defaults, Difficulty, DifficultyScale, Requirements, count_in
from amp.benchmarks.download import find_data
from amp.benchmarks.gsm8k.environment import GSM8KEnvironment, GSM8KJudge, StepKind
from amp.benchmarks.gsm8k.plausibility import plausibility
from amp.benchmarks.gsm8k.problems import (
    Problem,
    fetch_problems,
    own_problems,
    read_problems,
    split_training,
)
from amp.benchmarks.gsm8k.prompts import GSM8KPrompts
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean
from amp.execute.base import Tool
from amp.execute.tools import TOOLS
from amp.latency import Lengths
from amp.types import Allocation, Task

__all__ = ["GSM8K", "GSM8KEnvironment", "GSM8KPrompts"]

_STEPS: dict[str, StepKind] = {"solution": "solution", "reasoning": "reasoning"}
_MAX_STEPS: dict[StepKind, int] = {"solution": 1, "reasoning": 12}

_PROGRAMS = Allocation(
    temperature=0.7, top_p=0.95, beam_width=4, tools=frozenset({"python"}), verification=1
)
_OF_STEPS = Defaults(
    fixed=_PROGRAMS,
    # Temperature and top_p are those of the fixed allocation: both draw the same samples. Plans
    # before the programs made them longer and not better, on training problems.
    space=Space(
        depth=(0, 0),
        temperature=(0.7, 0.7),
        top_p=(0.95, 0.95),
        beam_width=(1, 2),
        verification=(1, 1),
        tools=frozenset({"python"}),
    ),
    lengths=Lengths(prompt_tokens=110, answer_tokens=112, thought_tokens=32),
    allocator="heuristic",
)
# The arms are allocations to prompt for a whole solution.
_OF_SOLUTIONS = replace(
    _OF_STEPS,
    plausibility=plausibility,
    arms={
        "program": replace(_PROGRAMS, beam_width=1),
        "chain": Allocation(depth=4, temperature=0.7, top_p=0.95, verification=1),
    },
    policy_space=Space(
        depth=(4, 4),
        temperature=(0.7, 0.7),
        top_p=(0.95, 0.95),
        beam_width=(1, 4),
        verification=(1, 1),
        tools=frozenset({"python"}),
        depth_with_tools=(0, 0),
    ),
)


class GSM8K:
    """Word problems with a number as the answer.

    Splits: ``test`` is ``test.jsonl``, or where that is absent the one ``test*.jsonl`` that is
    there; ``train`` and ``dev`` part ``train.jsonl`` (`amp.benchmarks.gsm8k.problems` states the
    rule); ``demo`` are six problems that ship with amp and need no data. A task's id holds the
    number of its line, counted from 0: ``gsm8k/test/17``.

    Args:
        data: directory of the benchmarks' data, in which the folder ``gsm8k`` is looked for; None
            for the usual places (`amp.benchmarks.download`).
        step: what one plan step is: ``solution``, the whole way to the answer, or ``reasoning``,
            one piece of reasoning, so that every piece gets its own allocation.

    Raises:
        InvalidInputError: if `step` is neither.
    """

    about = "grade school word problems"
    difficulty_scale = DifficultyScale("steps of the human solution", (2, 3))
    requirements = Requirements(find=lambda data: find_data("gsm8k", data), fetch=fetch_problems)

    def __init__(self, data: Path | None = None, step: str = "solution") -> None:
        if step not in _STEPS:
            raise InvalidInputError(
                f"unknown step {step!r} of gsm8k{did_you_mean(step, tuple(_STEPS))} "
                f"(steps: {', '.join(_STEPS)})"
            )
        self._data = data
        self._step = _STEPS[step]
        self._prompts = GSM8KPrompts(self._step)
        self._tools: dict[str, Tool] = {name: tool() for name, tool in TOOLS.items()}

    @classmethod
    def load(cls, data: Path | None, level: str | None, step: str | None) -> GSM8K:
        """Makes it from what the command line names; see `Benchmark.load`."""
        if level is not None:
            raise InvalidInputError(f"level is {level!r}, but gsm8k has no levels; leave it out")
        return cls(data) if step is None else cls(data, step)

    @property
    def name(self) -> str:
        return "gsm8k"

    @property
    def splits(self) -> tuple[str, ...]:
        return ("test", "train", "dev", "demo")

    @property
    def levels(self) -> tuple[str, ...]:
        return ()

    @property
    def prompts(self) -> GSM8KPrompts:
        return self._prompts

    @property
    def tools(self) -> Mapping[str, Tool]:
        return self._tools

    @property
    def environment_tools(self) -> tuple[str, ...]:
        return ()

    @property
    def max_steps(self) -> int:
        return _MAX_STEPS[self._step]

    @property
    def defaults(self) -> Defaults:
        return _OF_SOLUTIONS if self._step == "solution" else _OF_STEPS

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Returns the problems of a split in the order of their file; see `Benchmark.tasks`."""
        if limit is not None and limit < 0:
            raise InvalidInputError(f"limit is {limit}, expected 0 or more")
        return [
            Task(
                f"gsm8k/{split}/{problem.number}",
                problem.question,
                {"answer": problem.answer, "steps": problem.steps},
                seed,
            )
            for problem in self._problems(split)[:limit]
        ]

    def size(self, split: str) -> int:
        return len(self._problems(split))

    def environment(self, task: Task) -> GSM8KEnvironment:
        return GSM8KEnvironment(self._step)

    def judge(self, task: Task) -> GSM8KJudge:
        """Returns a judge at the start of one of its tasks; it gives the official verdict."""
        return GSM8KJudge(task, self._step)

    def difficulty(self, task: Task) -> Difficulty:
        return self.difficulty_scale.difficulty(count_in(task, "steps"))

    def _problems(self, split: str) -> list[Problem]:
        if split not in self.splits:
            raise InvalidInputError(
                f"unknown split {split!r} of gsm8k{did_you_mean(split, self.splits)} "
                f"(splits: {', '.join(self.splits)})"
            )
        if split == "demo":
            return own_problems()
        folder = find_data("gsm8k", self._data)
        if split == "test":
            return read_problems(_test_file(folder))
        parts = split_training(read_problems(folder / "train.jsonl"))
        return parts.train if split == "train" else parts.dev


def _test_file(folder: Path) -> Path:
    """The file of the test split: the full one if it is there, else the only other one.

    Raises:
        MissingDependencyError: if there is none.
        InvalidInputError: if several could be meant.
    """
    full = folder / "test.jsonl"
    files = [full] if full.is_file() else sorted(folder.glob("test*.jsonl"))
    if not files:
        raise MissingDependencyError(
            f"no test problems of gsm8k: {folder} holds no test*.jsonl; get test.jsonl from "
            "github.com/openai/grade-school-math and put it there"
        )
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise InvalidInputError(f"{folder} holds {names}; name the one to use test.jsonl")
    return files[0]
