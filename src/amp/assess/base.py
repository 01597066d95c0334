"""The complexity assessment module (CAM, spec 2.2): its protocol, and the ablation of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from amp.assess.features import FeatureVector
from amp.assess.text import INDICATORS
from amp.types import Complexity, ProbeKind, StepContext

if TYPE_CHECKING:
    from amp.assess.neural import NeuralAssessor


class Assessor(Protocol):
    """Says how hard a plan step is, before its first round and again after each.

    Makes no model call of its own: what needs the model is in `StepContext.evidence`.
    """

    @property
    def probes(self) -> frozenset[ProbeKind]:
        """What it wants to know of a step before the first round; nothing costs nothing."""
        return frozenset()

    @property
    def network(self) -> NeuralAssessor | None:
        """The network behind its scores, for training and for examining it; None without one."""
        return None

    def observe(self, context: StepContext) -> FeatureVector:
        """Returns the features of the step at hand."""
        ...

    def score(self, features: FeatureVector) -> Complexity:
        """Returns the complexity that features stand for; what is missing may be any of them."""
        ...

    def assess(self, context: StepContext) -> Complexity:
        """Returns C(s, p) of the step at hand, in well under a millisecond."""
        return self.score(self.observe(context))


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


def ablate(features: FeatureVector, exclude: frozenset[Group]) -> FeatureVector:
    """Returns the features without those of some groups: what each contributes (spec 2.7, 3.2)."""
    values = {n: v for n, v in features.values.items() if group_of(n) not in exclude}
    return replace(features, values=values, substituted=features.substituted & values.keys())


@dataclass(frozen=True, slots=True)
class AblatedAssessor(Assessor):
    """An assessor to which some features are always missing.

    A network takes them as it takes what could not be had. The weighted sum leaves their weight to
    the other terms in proportion, or puts what is typical in their place if it was learned. Nor are
    they among the features that an allocator sees.

    Attributes:
        inner: the assessor.
        exclude: groups of features.
    """

    inner: Assessor
    exclude: frozenset[Group]

    @property
    def probes(self) -> frozenset[ProbeKind]:
        """What the inner assessor wants to know, but for what only serves excluded groups."""
        return frozenset(p for p in self.inner.probes if _PROBES[p] not in self.exclude)

    def observe(self, context: StepContext) -> FeatureVector:
        return ablate(self.inner.observe(context), self.exclude)

    def score(self, features: FeatureVector) -> Complexity:
        return self.inner.score(features)
