"""The weighted sum of spec 2.2: C = alpha * H + beta * I + gamma * D."""

from __future__ import annotations

import math
from dataclasses import dataclass

from amp.assess.goal import goal_distance
from amp.assess.language import reasoning_indicators
from amp.assess.uncertainty import uncertainty
from amp.errors import InvalidInputError
from amp.types import Complexity, StepContext


@dataclass(frozen=True, slots=True)
class WeightedAssessor:
    """C(s, p) in [0, 1] from uncertainty, indicators and goal distance, each in [0, 1].

    Where a feature is missing, the weights of the others are scaled up in proportion. The initial
    weights are no claim about any model: which sign and size helps is a matter of learning.

    Attributes:
        alpha: weight of uncertainty H.
        beta: weight of reasoning indicators I.
        gamma: weight of goal-state distance D.
        looks: whether to look at the next-token distribution before the first round.

    Raises:
        InvalidInputError: if a weight is negative or not finite, or all are 0.
    """

    alpha: float = 0.7
    beta: float = 0.15
    gamma: float = 0.15
    looks: bool = True

    def __post_init__(self) -> None:
        weights = {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0.0):
                raise InvalidInputError(f"weight {name} is {weight}, expected at least 0")
        if not any(weights.values()):
            raise InvalidInputError("all weights are 0, expected at least one above 0")

    def assess(self, context: StepContext) -> Complexity:
        """Returns the weighted sum, its features by name, and what stood in for what."""
        distance, substitute = goal_distance(context)
        substitutes = [substitute] if substitute else []
        features = {
            "indicators": reasoning_indicators(f"{context.task.goal} {context.observation.state}"),
            "distance": distance,
        }
        terms = [(self.beta, features["indicators"]), (self.gamma, features["distance"])]
        if (known := uncertainty(context.evidence)) is not None:
            features["uncertainty"], source = known
            terms.append((self.alpha, features["uncertainty"]))
            if source != "next-token entropy":
                substitutes.append(f"{source} for next-token entropy")
        if (agreement := context.evidence.agreement) is not None:
            features["agreement"] = agreement
        total = math.fsum(weight for weight, _ in terms)
        score = math.fsum(weight * value for weight, value in terms) / total if total else 0.5
        return Complexity(score, features, tuple(substitutes))
