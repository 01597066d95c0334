"""The problem: a task, and the environment in which its plan is carried out.

Two methods are all that a new kind of task needs. Imports nothing of amp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Task:
    """One planning task T (spec 3.1).

    Attributes:
        id: unique within its benchmark, stable between runs.
        goal: the goal g in words, as the model reads it.
        data: what the environment needs to set the task up and to judge it; never shown to a model.
        seed: separates repeated runs of one task; part of every model request.
    """

    id: str
    goal: str
    data: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """The state s as the planner may see it.

    Attributes:
        state: the state in words; empty where the goal says everything.
        actions: the admissible actions, or None where an action is free text.
        tool_actions: actions that replace `actions` when the tool of that name is allocated, such
            as subgoals that a path finder carries out.
        distance: the environment's estimate of the goal-state distance D in [0, 1] from what is
            visible, or None where it offers none.
        symbols: the state and the goal for the symbolic planner: a STRIPS problem
            (`amp.execute.tools.symbolic_planner`), or facts of which the benchmark's own planner
            tool makes one; None where the environment offers none.
    """

    state: str = ""
    actions: tuple[str, ...] | None = None
    tool_actions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    distance: float | None = None
    symbols: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """The result of one action.

    Attributes:
        observation: the state after it.
        done: whether the task is over.
        success: whether the goal is reached; None where it is not known.
        score: quality of the plan so far in [0, 1]; 1.0 for plain success.
        feedback: the environment's answer to the action, for the history that the model reads.
    """

    observation: Observation
    done: bool
    success: bool | None = None
    score: float = 0.0
    feedback: str = ""


class Environment(Protocol):
    """Where a plan is carried out."""

    def reset(self, task: Task) -> Observation:
        """Starts a task and returns the state s0."""
        ...

    def step(self, action: str) -> Transition:
        """Carries one action out.

        Raises:
            InvalidInputError: if the action is not admissible, or the episode is over.
        """
        ...


class AsyncEnvironment(Protocol):
    """An environment whose methods are async; a planner takes one like any other."""

    async def reset(self, task: Task) -> Observation:
        """Starts a task and returns the state s0."""
        ...

    async def step(self, action: str) -> Transition:
        """Carries one action out, as `Environment.step`."""
        ...


@runtime_checkable
class Forkable(Environment, Protocol):
    """An environment that can be copied in its current state."""

    def fork(self) -> Forkable:
        """Returns a copy; actions in one do not change the other."""
        ...


@runtime_checkable
class Recognisable(Environment, Protocol):
    """An environment that can tell its states apart, also those that look the same."""

    def fingerprint(self) -> str:
        """Returns the same for two states of a task only if every plan goes on alike from both."""
        ...
