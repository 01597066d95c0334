"""The protocol of the complexity assessment module (CAM, spec 2.2).

An assessor without whole groups of its features: what each contributes (spec 2.7, 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from amp.assess.text import INDICATORS
from amp.assess.weighted import WeightedAssessor
from amp.types import Complexity, ProbeKind, StepContext

if TYPE_CHECKING:
    from amp.assess.neural import NeuralAssessor


class Assessor(Protocol):
    """Says how hard a plan step is, before its first round and again after each.

    Makes no model call of its own: what needs the model is in `StepContext.evidence`.
    """

    @property
    def probes(self) -> frozenset[ProbeKind]:
        """What it wants to see of a step before the first round; nothing costs nothing."""
        ...

    def assess(self, context: StepContext) -> Complexity:
        """Returns C(s, p) of the step at hand, in well under a millisecond."""
        ...


Group = Literal["uncertainty", "indicators", "structure", "distance", "evidence", "hidden"]

GROUPS: Mapping[Group, frozenset[str]] = {
    "uncertainty": frozenset(
        {"entropy", "choice_entropy", "choice_margin", "perplexity", "divergence"}
        | {"token_entropy", "log_prob", "uncertainty"}
    ),
    "indicators": frozenset({*INDICATORS, "indicators"}),
    "structure": frozenset({"words", "quantities", "entities", "relations", "syntactic_depth"}),
    "distance": frozenset({"distance", "options", "plan_steps", "revisits"}),
    "evidence": frozenset(
        {"candidates", "agreement", "margin", "answer_entropy", "answer_tokens", "cut_off"}
        | {"unread", "unused", "p_correct"}
    ),
    "hidden": frozenset(),
}
"""The features of each group; ``hidden`` has the coordinates of the hidden state, by any name.
Uncertainty H belongs to its group wherever it comes from, such as from disagreement."""

_PROBES: Mapping[ProbeKind, Group] = {
    "options": "uncertainty",
    "next_token": "uncertainty",
    "perplexity": "uncertainty",
    "hidden": "hidden",
}


def group_of(feature: str) -> Group:
    """The group of a feature."""
    for group, names in GROUPS.items():
        if feature in names:
            return group
    return "hidden"


@dataclass(frozen=True, slots=True)
class Ablated:
    """An assessor to which some features are always missing.

    The network takes them as it takes what could not be had. The weighted sum leaves their weight
    to the other terms in proportion, or puts what is typical in their place if it was learned.
    Nor are they among the features that an allocator sees.

    Attributes:
        inner: the assessor.
        left_out: groups of features.
    """

    inner: WeightedAssessor | NeuralAssessor
    left_out: frozenset[Group]

    @property
    def probes(self) -> frozenset[ProbeKind]:
        """What the inner assessor wants to see, but for what only serves groups left out."""
        return frozenset(
            probe for probe in self.inner.probes if _PROBES[probe] not in self.left_out
        )

    def assess(self, context: StepContext) -> Complexity:
        """Returns the score of what is left, and those features by name."""
        observed = self.inner.observe(context)
        values = {n: v for n, v in observed.values.items() if group_of(n) not in self.left_out}
        left = replace(observed, values=values, substituted=observed.substituted & values.keys())
        if isinstance(self.inner, WeightedAssessor):
            score = self.inner.score(values)
        else:
            score = float(self.inner.predict(self.inner.encode(left)[None])[0])
        return Complexity(score, values, observed.substitutes)
