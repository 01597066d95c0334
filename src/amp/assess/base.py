"""The protocol of the complexity assessment module (CAM, spec 2.2)."""

from __future__ import annotations

from typing import Protocol

from amp.types import Complexity, LookKind, StepContext


class Assessor(Protocol):
    """Says how hard a plan step is, before its first round and again after each.

    Makes no model call of its own: what needs the model is in `StepContext.evidence`.
    """

    @property
    def looks(self) -> frozenset[LookKind]:
        """What it wants to see of a step before the first round; nothing costs nothing."""
        ...

    def assess(self, context: StepContext) -> Complexity:
        """Returns C(s, p) of the step at hand, in well under a millisecond."""
        ...
