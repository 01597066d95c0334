"""The weighted sum of spec 2.2: C = alpha * H + beta * I + gamma * D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from amp.assess.features import Observed, observe
from amp.assess.text import Parser, structural
from amp.errors import InvalidInputError
from amp.types import Complexity, ProbeKind, StepContext

TERMS = ("uncertainty", "indicators", "distance")
"""The features H, I and D that alpha, beta and gamma weigh, each in [0, 1]."""


@dataclass(frozen=True, slots=True)
class WeightedAssessor:
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
        probes: what it wants to see before the first round.
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

    def __post_init__(self) -> None:
        least = 0.0 if self.typical is None else -math.inf
        weights = {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= least):
                wanted = "at least 0" if self.typical is None else "a finite number"
                raise InvalidInputError(f"weight {name} is {weight}, expected {wanted}")
        if not math.isfinite(self.bias):
            raise InvalidInputError(f"bias is {self.bias}, expected a finite number")
        if not any(weights.values()):
            raise InvalidInputError("all weights are 0, expected at least one above 0")
        if self.typical is not None and set(self.typical) != set(TERMS):
            named = ", ".join(self.typical) or "nothing"
            raise InvalidInputError(f"typical names {named}, expected {', '.join(TERMS)}")

    def assess(self, context: StepContext) -> Complexity:
        """Returns the weighted sum, all features by name, and what stood in for what."""
        observed = self.observe(context)
        return Complexity(self.score(observed.values), dict(observed.values), observed.substitutes)

    def observe(self, context: StepContext) -> Observed:
        """The features of a step."""
        return observe(context, self.parse)

    def score(self, values: Mapping[str, float]) -> float:
        """The weighted sum of the terms among these features, cut to [0, 1]; 0.5 without any."""
        weights = dict(zip(TERMS, (self.alpha, self.beta, self.gamma), strict=True))
        values = {**(self.typical or {}), **values}
        known = {name: weight for name, weight in weights.items() if name in values}
        total = math.fsum(weight * values[name] for name, weight in known.items())
        if self.typical is None:
            scale = math.fsum(known.values())
            total = total / scale if scale else 0.5
        return min(1.0, max(0.0, self.bias + total))
