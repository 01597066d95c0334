"""The weighted sum of spec 2.2: C = alpha * H + beta * I + gamma * D."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from amp.assess.base import Assessor
from amp.assess.features import FeatureVector, observe
from amp.assess.text import Parser, structural
from amp.errors import InvalidInputError
from amp.types import Complexity, ProbeKind, StepContext

if TYPE_CHECKING:
    from amp.mlp import Floats

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
