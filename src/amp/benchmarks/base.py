"""What a benchmark is: tasks with an environment for each, and everything that running them takes.

One class states it all, so that adding a benchmark touches one folder, or one package of somebody
else: what it is run with, what makes its tasks hard, which packages and data it needs.
"""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from amp.allocate.space import Space
from amp.environment import Environment
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean
from amp.execute.base import Prompts, Tool
from amp.execute.tools import LargerModelTool, plugin_tools
from amp.latency import Lengths
from amp.models.download import Progress
from amp.types import Allocation, Task

Tercile = Literal[0, 1, 2]
"""The easiest third, the middle one, the hardest."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a task is, known before it is tried.

    Attributes:
        score: a count, of what `DifficultyScale.counts` says; more is harder. Infinite where
            nothing that is counted reaches the goal.
        tercile: the third of the benchmark's tasks that it belongs to.
    """

    score: float
    tercile: Tercile


@dataclass(frozen=True, slots=True)
class DifficultyScale:
    """What makes the tasks of a benchmark hard, for curricula and to pick the complex ones.

    The boundaries are fixed, so that a task's third does not depend on which other tasks are run.
    They are measured once (`even_thirds`), on tasks that are trained on and never on a test split.
    How hard a task is for one model is another question, which only trying answers.

    Attributes:
        counts: what the score counts, in words.
        boundaries: the largest score of the easiest third, and of the middle one.
    """

    counts: str
    boundaries: tuple[float, float]

    def difficulty(self, score: float) -> Difficulty:
        """Returns a score with the third that it lies in."""
        easy, middle = self.boundaries
        return Difficulty(score, 0 if score <= easy else 1 if score <= middle else 2)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a benchmark is run with unless told otherwise; chosen on training tasks only.

    Attributes:
        fixed: the best fixed allocation that we know.
        space: where adaptive allocations move.
        lengths: typical lengths of its prompts and answers, for telling what will fit the limits.
        arms: the allocations that `amp record` asks for and policies learn to choose from, one
            sample each, by name. Without any, the corners of `space` are recorded.
        policy_space: what a policy decides that learns from recorded arms: which one, and how
            often. None where none can, since a task takes several steps or there are no arms.
    """

    fixed: Allocation
    space: Space
    lengths: Lengths
    arms: Mapping[str, Allocation] = field(default_factory=dict)
    policy_space: Space | None = None

    def overridden(self, overrides: Mapping[str, Any], benchmark: Benchmark) -> Defaults:
        """Returns them with what the user set, which always wins.

        Args:
            overrides: fields of `Allocation` by name; None leaves a field as it is.
            benchmark: whose defaults they are; its tools are those that can be named.

        Raises:
            InvalidInputError: if a value is out of range or a tool does not exist here.
        """
        fixed: dict[str, Any] = {}
        bounds: dict[str, Any] = {}
        for name, value in overrides.items():
            if value is None:
                continue
            if name == "tools":
                _check_tools(value, benchmark)
                fixed[name] = bounds[name] = frozenset(value)
            else:
                fixed[name], bounds[name] = value, (value, value)
        try:
            return replace(
                self, fixed=replace(self.fixed, **fixed), space=replace(self.space, **bounds)
            )
        except ValueError as error:
            raise InvalidInputError(str(error)) from None


def _check_tools(names: Iterable[str], benchmark: Benchmark) -> None:
    known = sorted(
        {*benchmark.tools, *benchmark.environment_tools, *plugin_tools(), LargerModelTool.name}
    )
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"unknown tool {name!r}{did_you_mean(name, known)} "
                f"(tools of {benchmark.name}: {', '.join(known)})"
            )


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a benchmark needs besides amp. Told without importing any of it.

    Attributes:
        modules: modules of the packages that its environments import.
        install: the command that installs them.
        find: returns the folder of its data, given the directory that the user named or None;
            raises `MissingDependencyError` where it is not. None if it needs no data.
        fetch: brings its data into a folder that is there, unless it is in it; raises
            `MissingDependencyError` where only a person can. None if it needs no data, or brings
            its own.
    """

    modules: tuple[str, ...] = ()
    install: str = ""
    find: Callable[[Path | None], Path] | None = None
    fetch: Callable[[Path, Progress], None] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed. None is imported: some take seconds."""
        return tuple(name for name in self.modules if importlib.util.find_spec(name) is None)

    def check(self, benchmark: str) -> None:
        """Sees to it that the packages are installed.

        Raises:
            MissingDependencyError: if one is not; says how to install it.
        """
        if missing := self.missing:
            raise MissingDependencyError(
                f"{benchmark} needs the package {', '.join(missing)}; install it: {self.install}"
            )


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
    """A source of tasks, with all that running them takes.

    amp's own are listed in `amp.benchmarks.BENCHMARKS`. Other packages name theirs as an entry
    point of the group ``amp.benchmarks``: the class. One that derives from this class has to state
    only what is abstract here.
    """

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def about(self) -> str:
        """What its tasks are, in a few words."""
        ...

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, the usual one first."""
        ...

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of its levels; empty if it has none."""
        return ()

    @property
    @abstractmethod
    def prompts(self) -> Prompts: ...

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Tools that the executor runs here, by name."""
        return {}

    @property
    def environment_tools(self) -> tuple[str, ...]:
        """Tools that the environment itself carries out, through `Observation.tool_actions`."""
        return ()

    @property
    @abstractmethod
    def max_steps(self) -> int:
        """Plan steps after which an episode is over."""
        ...

    @property
    @abstractmethod
    def defaults(self) -> Defaults:
        """What it is run with unless told otherwise."""
        ...

    @property
    @abstractmethod
    def difficulty_scale(self) -> DifficultyScale:
        """What the difficulty of its tasks counts."""
        ...

    @property
    def requirements(self) -> Requirements:
        """Packages and data that it needs besides amp."""
        return Requirements()

    @classmethod
    def load(cls, data: Path | None, level: str | None, step: str | None) -> Self:
        """Makes it from what the command line names; needs no data and no simulator.

        Args:
            data: directory of the benchmarks' data; None to look in the usual places.
            level: one of `levels`; None for the usual one.
            step: what a plan step is, where it offers several; None for the usual one.

        Raises:
            InvalidInputError: for a level or step that it does not have.
        """
        if level is not None:
            raise InvalidInputError(
                f"level is {level!r}, but {cls.__name__} has no levels; leave --level out"
            )
        if step is not None:
            raise InvalidInputError(
                f"step is {step!r}, but {cls.__name__} has one kind of step; leave it out"
            )
        return cls()

    @abstractmethod
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

    def size(self, split: str) -> int:
        """Returns how many tasks a split has, without a simulator; raises as `tasks` does."""
        return len(self.tasks(split))

    @abstractmethod
    def environment(self, task: Task) -> Environment:
        """Returns a fresh environment for one of its tasks."""
        ...

    @abstractmethod
    def judge(self, task: Task) -> Judge:
        """Returns a judge at the start of one of its tasks."""
        ...

    @abstractmethod
    def difficulty(self, task: Task) -> Difficulty:
        """Returns how hard a task is; the same for a task that was read from a trace.

        Raises:
            InvalidInputError: if the task is not one of its tasks.
            MissingDependencyError: if a package that it takes is not installed.
        """
        ...


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


def count_in(task: Task, name: str) -> int:
    """Returns a count that a task's data holds, for its difficulty.

    Raises:
        InvalidInputError: if it holds none.
    """
    value = task.data.get(name)
    if isinstance(value, int) and value >= 0:
        return value
    raise InvalidInputError(
        f"how hard task {task.id!r} is can't be told: its data holds {name} {value!r}, expected a "
        "whole number"
    )
