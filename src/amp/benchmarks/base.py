"""The protocol of a benchmark: tasks, an environment for each, and everything to run them.

One class has it all: default allocations, the difficulty of its tasks, the packages and the data
that it needs. So a benchmark is one folder here, or one class of another package.
"""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from amp.allocate.space import Space
from amp.environment import Environment
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean
from amp.execute.base import Plausibility, Prompts, Tool
from amp.execute.choice_step import choice_looks
from amp.execute.plans import PLAN_TOOLS, PlainPlans, PlanPrompts
from amp.execute.tools import TOOLS, LargerModelTool, plugin_tools
from amp.latency import Lengths
from amp.models.download import Progress
from amp.plugins import note_shadowed
from amp.types import Allocation, Task

Tercile = Literal[0, 1, 2]
"""The easiest third, the middle one, the hardest."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a task is, known without trying it.

    Attributes:
        score: a count of the units that `DifficultyScale.counts` names; more is harder. Infinite if
            the goal cannot be reached.
        tercile: the third of the benchmark's tasks that it belongs to.
    """

    score: float
    tercile: Tercile


@dataclass(frozen=True, slots=True)
class DifficultyScale:
    """What makes the tasks of a benchmark hard, for curricula and to select the hardest ones.

    The boundaries are fixed, so that a task's third does not depend on which other tasks are run.
    They are measured once (`even_thirds`), on training tasks and never on a test split. The scale
    is independent of the model; how hard a task is for one model shows only in a run.

    Attributes:
        counts: what the score counts, in words.
        boundaries: the largest score of the easiest third, and of the middle one.
    """

    counts: str
    boundaries: tuple[float, float]

    def difficulty(self, score: float) -> Difficulty:
        """Returns a score with its third."""
        easy, middle = self.boundaries
        return Difficulty(score, 0 if score <= easy else 1 if score <= middle else 2)


@dataclass(frozen=True, slots=True)
class Defaults:
    """The default settings of a benchmark, chosen on training tasks only.

    Attributes:
        fixed: the best fixed allocation that we found.
        space: bounds of adaptive allocations.
        lengths: typical lengths of its prompts and answers, to predict what fits the limits.
        arms: by name, the allocations of one sample that `amp record` records and from which a
            policy learns to choose. If empty, the corners of `space` are recorded.
        policy_space: the space of a policy that learns from recorded arms: which arm, and how
            often. None if that is impossible, as a task takes several steps or there are no arms.
        allocator: what ``auto`` is where no policy was trained for the model. The default acts at
            once and assumes nothing of `space`, which ``heuristic`` goes through with the
            complexity.
        plausibility: what candidates look like against what a step asks; the default knows of
            listed actions what the plan shows of them.
        plans: how plans of several actions are asked for and read, where an allocation has them.
    """

    fixed: Allocation
    space: Space
    lengths: Lengths
    arms: Mapping[str, Allocation] = field(default_factory=dict)
    policy_space: Space | None = None
    allocator: str = "escalating"
    plausibility: Plausibility = choice_looks
    plans: PlanPrompts = field(default_factory=PlainPlans)

    def overridden(self, overrides: Mapping[str, Any], benchmark: Benchmark) -> Defaults:
        """Returns the defaults with the user's settings in place of their own.

        Args:
            overrides: fields of `Allocation` by name; None keeps the default.
            benchmark: the benchmark of these defaults; its tools are those that can be named.

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
    own = {*benchmark.tools, *benchmark.environment_tools, *PLAN_TOOLS}
    known = sorted({*own, *plugin_tools(), LargerModelTool.name})
    for name in names:
        if name in (*TOOLS, LargerModelTool.name):
            note_shadowed("amp.tools", name)
        if name not in known:
            raise InvalidInputError(
                f"unknown tool {name!r}{did_you_mean(name, known)} "
                f"(tools of {benchmark.name}: {', '.join(known)})"
            )


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a benchmark needs besides amp; nothing of it is imported to find out.

    Attributes:
        modules: modules of the packages that its environments import.
        install: the command that installs them.
        find: returns the folder of its data, given the directory that the user named or None;
            raises `MissingDependencyError` if there is none. None if it needs no data.
        fetch: downloads its data into an existing folder, unless they are there already; raises
            `MissingDependencyError` if the user has to do it by hand. None if it needs no data, or
            contains them.
    """

    modules: tuple[str, ...] = ()
    install: str = ""
    find: Callable[[Path | None], Path] | None = None
    fetch: Callable[[Path, Progress], None] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed. None is imported, as that can take seconds."""
        return tuple(name for name in self.modules if importlib.util.find_spec(name) is None)

    def check(self, benchmark: str) -> None:
        """Checks that the packages are installed.

        Raises:
            MissingDependencyError: if one is not, with the command that installs it.
        """
        if missing := self.missing:
            raise MissingDependencyError(
                f"{benchmark} needs the package {', '.join(missing)}; install it: {self.install}"
            )


class Judge(Protocol):
    """Replays one plan and decides which actions are mistakes, with the simulator's full knowledge.

    It labels steps of finished episodes, for training and reports; no planner uses it.
    """

    def mistaken(self, action: str | None) -> bool | None:
        """Whether this action would be a mistake now; None if that cannot be decided.

        No action (None) is a mistake. The judge's state does not change.
        """
        ...

    def advance(self, action: str) -> None:
        """Carries out an action of the plan."""
        ...


class Benchmark(Protocol):
    """A source of tasks, with everything to run them.

    amp's own are listed in `amp.benchmarks.BENCHMARKS`; other packages register a class as an entry
    point of the group ``amp.benchmarks``. A subclass has to define only what is abstract here.
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
        """Names of the splits, the default first."""
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
        """Its default settings."""
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
        """Makes it from options of the command line; needs no data and no simulator.

        Args:
            data: directory of the benchmarks' data; None to search the default places.
            level: one of `levels`; None for the default.
            step: what a plan step is, if there is a choice; None for the default.

        Raises:
            InvalidInputError: for a level or step that it does not have.
        """
        if level is not None:
            raise InvalidInputError(
                f"level is {level!r}, but {cls.__name__} has no levels; leave it out"
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
            MissingDependencyError: if data or packages are missing, with how to get them.
        """
        ...

    def size(self, split: str) -> int:
        """Returns the number of tasks of a split, without a simulator; raises as `tasks` does."""
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


def count_in(task: Task, name: str) -> int:
    """Returns a count from a task's data, for its difficulty.

    Raises:
        InvalidInputError: if there is none.
    """
    value = task.data.get(name)
    if isinstance(value, int) and value >= 0:
        return value
    raise InvalidInputError(
        f"task {task.id!r} has no difficulty: {name} in its data is {value!r}, expected a whole "
        "number of 0 or more"
    )
