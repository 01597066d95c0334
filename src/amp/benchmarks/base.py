"""What a benchmark is: tasks, an environment for each, prompts and tools that fit.

How hard a task is, known before it is tried: for curricula, and to pick the complex tasks.

A score is a count that the benchmark itself supplies, and the boundaries between thirds are fixed,
so that a task's third does not depend on which other tasks are run. They were measured once on
tasks that are trained on (tests/benchmarks/test_difficulty.py measures them again) and never on a
test split. Not covered: how hard a task is for one model, which only trying tells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, Protocol

from amp.environment import Environment
from amp.errors import InvalidInputError, did_you_mean
from amp.execute.base import Prompts, Tool
from amp.types import Task


class Judge(Protocol):
    """Follows one plan and says which actions would be mistakes, with all that a simulator knows.

    For labelling steps after the fact; no planner ever asks it.
    """

    def mistaken(self, action: str | None) -> bool | None:
        """Whether doing this now would be a mistake; None where nobody can tell.

        To name no action (None) is one. Asking changes nothing.
        """
        ...

    def advance(self, action: str) -> None:
        """Carries an action of the plan out."""
        ...


class Benchmark(Protocol):
    """A source of tasks. One file or folder a benchmark; `amp.benchmarks.BENCHMARKS` lists them."""

    @property
    def name(self) -> str: ...

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, the usual one first."""
        ...

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of its levels; empty if it has none."""
        ...

    @property
    def prompts(self) -> Prompts: ...

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Tools that the executor runs here, by name."""
        ...

    @property
    def environment_tools(self) -> tuple[str, ...]:
        """Tools that the environment itself carries out, through `Observation.tool_actions`."""
        ...

    @property
    def max_steps(self) -> int:
        """Plan steps after which an episode is over."""
        ...

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Returns the tasks of a split, the first `limit` of them, always in the same order.

        Args:
            split: one of `splits`.
            limit: how many at most; None for all.
            seed: becomes `Task.seed`, so that repeated runs draw other samples.

        Raises:
            InvalidInputError: if the split is unknown.
            MissingDependencyError: if data or packages are missing; says how to get them.
        """
        ...

    def environment(self, task: Task) -> Environment:
        """Returns a fresh environment for one of its tasks."""
        ...

    def judge(self, task: Task) -> Judge:
        """Returns a judge at the start of one of its tasks."""
        ...


Tercile = Literal[0, 1, 2]
"""The easiest third, the middle one, the hardest."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a task is.

    Attributes:
        score: a count, of what `Measure.counts` says; more is harder. Infinite where BabyAI's
            expert does not reach the goal.
        tercile: the third of the benchmark's tasks that it belongs to.
    """

    score: float
    tercile: Tercile


@dataclass(frozen=True, slots=True)
class Measure:
    """What makes a task of one benchmark hard.

    Attributes:
        counts: what the score counts, in words.
        boundaries: the largest score of the easiest third, and of the middle one.
        score: counts it.
    """

    counts: str
    boundaries: tuple[float, float]
    score: Callable[[Task], float]

    def tercile(self, score: float) -> Tercile:
        """Returns the third that a score lies in."""
        easy, middle = self.boundaries
        return 0 if score <= easy else 1 if score <= middle else 2


def difficulty(benchmark: str, task: Task) -> Difficulty:
    """Returns how hard a task is; the same for a task that was read from a trace.

    Takes no time but in BabyAI, where the level is generated and its expert led to the goal.

    Args:
        benchmark: a key of `MEASURES`, which are the names of all benchmarks.
        task: one of its tasks, as `Benchmark.tasks` gives it.

    Raises:
        InvalidInputError: if there is no such benchmark, or the task is not one of its tasks.
        MissingDependencyError: if BabyAI's minigrid is not installed.
    """
    if benchmark not in MEASURES:
        known = tuple(MEASURES)
        raise InvalidInputError(
            f"unknown benchmark {benchmark!r}{did_you_mean(benchmark, known)} "
            f"(benchmarks: {', '.join(known)})"
        )
    measure = MEASURES[benchmark]
    score = measure.score(task)
    return Difficulty(score, measure.tercile(score))


def even_thirds(scores: Iterable[float]) -> tuple[float, float]:
    """Returns the boundaries that part scores into thirds as even as equal scores permit.

    Even means that the squares of what the shares lack to a third have the smallest sum; of equally
    even ones the lower boundaries are taken.

    Raises:
        ValueError: if there are fewer than three different scores.
    """
    counts = sorted(Counter(scores).items())
    if len(counts) < 3:
        raise ValueError(f"{len(counts)} different scores do not make thirds, expected at least 3")
    upto: dict[float, int] = {}
    total = 0
    for score, count in counts:
        upto[score] = total = total + count

    def unevenness(pair: tuple[float, float]) -> float:
        easy, middle = upto[pair[0]], upto[pair[1]] - upto[pair[0]]
        return sum((3 * part - total) ** 2 for part in (easy, middle, total - easy - middle))

    return min(combinations(list(upto)[:-1], 2), key=unevenness)


# --------------------------------------------------------------------------- the benchmarks


def _steps_of_gsm8k(task: Task) -> float:
    return _count(task, "steps")


def _commands_of_alfworld(task: Task) -> float:
    return _count(task, "expert_steps")


def _conditions_of_webshop(task: Task) -> float:
    limited = task.data.get("price_limit") is not None
    return _count(task, "attributes") + _count(task, "options") + limited


def _actions_of_babyai(task: Task) -> float:
    from amp.benchmarks.babyai import BabyAI

    level = task.data.get("level")
    if not isinstance(level, str):
        raise InvalidInputError(f"task {task.id!r} is no BabyAI task: data lacks level")
    plan = BabyAI(level).expert(task)
    return math.inf if plan is None else len(plan)


def _count(task: Task, name: str) -> int:
    value = task.data.get(name)
    if isinstance(value, int) and value >= 0:
        return value
    raise InvalidInputError(
        f"how hard task {task.id!r} is can't be told: its data holds {name} {value!r}, expected a "
        "whole number"
    )


MEASURES: Mapping[str, Measure] = {
    "alfworld": Measure(
        "commands of the solution that the game brings", (4, 6), _commands_of_alfworld
    ),
    "babyai": Measure("primitive actions of the expert", (6, 18), _actions_of_babyai),
    "gsm8k": Measure("steps of the human solution", (2, 3), _steps_of_gsm8k),
    "webshop": Measure(
        "conditions of a purchase: attributes, options and the price limit",
        (5, 7),
        _conditions_of_webshop,
    ),
}
"""How hard tasks are, by benchmark."""
