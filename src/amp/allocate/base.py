"""The protocol of the resource allocation controller (RAC, spec 2.3)."""

from __future__ import annotations

from typing import Protocol

from amp.types import Complexity, Decision, StepContext


class Allocator(Protocol):
    """Decides what the next round of a plan step may spend, or that the step is settled.

    `context.evidence.rounds` says how many rounds the step has had. An allocator that stops after
    the first one is the algorithm of spec 3.1 to the letter.
    """

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        """Returns an allocation with its log-probability, or `STOP`.

        The same context and complexity give the same decision: chance is drawn from the task's
        seed, the step and the round.
        """
        ...
