"""THE loop (spec 3.1). Read this file first. (Environment protocol; loop follows.)"""

from __future__ import annotations

from typing import Protocol

from amp.types import Observation, Task, Transition


class Environment(Protocol):
    """Where a plan is carried out. Two methods are all that a new kind of task needs."""

    def reset(self, task: Task) -> Observation:
        """Starts a task and returns the state s0."""
        ...

    def step(self, action: str) -> Transition:
        """Carries one action out.

        Raises:
            InvalidInputError: if the action is not admissible, or the episode is over.
        """
        ...
