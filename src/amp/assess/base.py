"""The complexity assessment module (CAM, spec 2.2): its protocol, the weighted sum, and ablation.

The weighted sum is C = alpha * H + beta * I + gamma * D.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from amp.assess.features import FeatureVector, observe
from amp.assess.text import INDICATORS, Parser, structural
from amp.errors import InvalidInputError
from amp.types import Complexity, ProbeKind, StepContext

if TYPE_CHECKING:
    from amp.assess.neural import NeuralAssessor
    from amp.mlp import Floats


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


TERMS = ("uncertainty", "indicators", "distance")
"""The features H, I and D that alpha, beta and gamma weigh, each in [0, 1]."""


@dataclass(frozen=True, slots=True)
class WeightedAssessor(Assessor):
    """C(s, p) in [0, 1] from uncertainty H, reasoning indicators I and goal distance D.

    The initial weights are no claim about any model: which sign and size helps is learned per model
    and environment (`amp.learn.pretrain`), and a learned weight may be negative.

    Attributes:
        alpha: weight of uncertainty H.
        beta: weight of reasoning indicators I.
        gamma: weight of goal-state distance D.
        bias: what is added to the sum. Spec 2.2 has none; learned weights need one, since H, I and
            D have means of their own.
        typical: what stands for a missing term, by its name: its mean in training. Without it the
            weights of the others are scaled up in proportion, so none may be negative then.
        probes: what it wants to know before the first round.
        parse: how the structure of text is found; the score does not depend on it.

    Raises:
        InvalidInputError: if a weight is not finite, all are 0, or one is negative without
            `typical`.
    """

    alpha: float = 0.7
    beta: float = 0.15
    gamma: float = 0.15
    bias: float = 0.0
    typical: Mapping[str, float] | None = None
    probes: frozenset[ProbeKind] = frozenset({"options"})
    parse: Parser = structural

    kind: ClassVar[str] = "weighted"
    names: ClassVar[tuple[str, ...]] = TERMS

    def __post_init__(self) -> None:
        low = 0.0 if self.typical is None else -math.inf
        weights = {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= low):
                expected = "at least 0" if self.typical is None else "a finite number"
                raise InvalidInputError(f"weight {name} is {weight}, expected {expected}")
        if not math.isfinite(self.bias):
            raise InvalidInputError(f"bias is {self.bias}, expected a finite number")
        if not any(weights.values()):
            raise InvalidInputError("all weights are 0, expected at least one above 0")
        if self.typical is not None and set(self.typical) != set(TERMS):
            named = ", ".join(self.typical) or "nothing"
            raise InvalidInputError(f"typical names {named}, expected {', '.join(TERMS)}")

    def observe(self, context: StepContext) -> FeatureVector:
        return observe(context, self.parse)

    def score(self, features: FeatureVector) -> Complexity:
        """Returns the weighted sum of the terms among these features, cut to [0, 1].

        Without any of the terms it is 0.5.
        """
        weights = dict(zip(TERMS, (self.alpha, self.beta, self.gamma), strict=True))
        values = {**(self.typical or {}), **features.values}
        known = {name: weight for name, weight in weights.items() if name in values}
        total = math.fsum(weight * values[name] for name, weight in known.items())
        if self.typical is None:
            scale = math.fsum(known.values())
            total = total / scale if scale else 0.5
        return features.complexity(min(1.0, max(0.0, self.bias + total)))

    def to_tensors(self) -> dict[str, Sequence[float]]:
        """The parameters by name, for `amp.assess.assessor_file`."""
        tensors: dict[str, Sequence[float]] = {
            "weights": (self.alpha, self.beta, self.gamma),
            "bias": (self.bias,),
        }
        if self.typical is not None:
            tensors["typical"] = [self.typical[name] for name in TERMS]
        return tensors

    @classmethod
    def from_tensors(
        cls,
        names: tuple[str, ...],
        tensors: Mapping[str, Floats],
        probes: frozenset[ProbeKind],
        parse: Parser,
    ) -> WeightedAssessor:
        """Makes what `to_tensors` took apart.

        Raises:
            InvalidInputError: if the names are not `TERMS`.
            KeyError: if a parameter is missing.
        """
        if names != TERMS:
            raise InvalidInputError(f"it weighs {', '.join(names)}, expected {', '.join(TERMS)}")
        alpha, beta, gamma = tensors["weights"].tolist()
        typical = tensors.get("typical")
        return cls(
            alpha,
            beta,
            gamma,
            bias=float(tensors["bias"][0]),
            typical=None if typical is None else dict(zip(TERMS, typical.tolist(), strict=True)),
            probes=probes,
            parse=parse,
        )
