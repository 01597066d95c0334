"""What a benchmark is: tasks, an environment for each, prompts and tools that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from amp.environment import Environment
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
