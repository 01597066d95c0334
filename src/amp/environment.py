"""Where plans are carried out: two methods are all that a new kind of task needs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from amp.types import Observation, Task, Transition


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


@runtime_checkable
class Forkable(Environment, Protocol):
    """An environment of which a second one in the same state can be made."""

    def fork(self) -> Forkable:
        """Returns it; what is done in one leaves the other as it is."""
        ...
