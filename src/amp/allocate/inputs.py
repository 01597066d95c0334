"""What `MlpPolicy` sees of a step: a named, versioned vector of numbers.

The values are the complexity's features by name, as the policy was trained on them, then `EXTRAS`.
`amp.network.encode` makes the network's input of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from amp.allocate.consistency import leaders
from amp.errors import InvalidInputError
from amp.types import Complexity, StepContext

VERSION = 2
"""Of `EXTRAS`, their meaning and their encoding; a policy saved with another version is refused."""

EXTRAS = (
    "score",  # c
    "trade_off",  # lambda, the weight of success against cost
    "budget_share",  # of the scarcest limited resource, 1 without limits
    "rounds",  # log(1 + rounds of this step)
    "candidates",  # log(1 + candidates of this step)
    "tooled",  # log(1 + those that were allocated a tool)
    "agreement",  # share of the candidates that back the leading action
    "margin",  # that share less the share of the runner-up
)
"""What every `MlpPolicy` sees besides the features; the last two are missing before a round."""


def observe(
    features: Sequence[str],
    context: StepContext,
    complexity: Complexity,
    trade_off: float,
    budget_share: float,
) -> list[float | None]:
    """The values before normalisation, None where one is missing: `features`, then `EXTRAS`.

    Features of the complexity that are not among `features` are not looked at.

    Raises:
        InvalidInputError: if a value is not finite; the message names it.
    """
    evidence = context.evidence
    candidates = len(evidence.candidates)
    agreement = margin = None
    if candidates:
        first, second = leaders(evidence)
        agreement, margin = first / candidates, (first - second) / candidates
    values = [
        *map(complexity.features.get, features),
        complexity.score,
        trade_off,
        budget_share,
        math.log1p(evidence.rounds),
        math.log1p(candidates),
        math.log1p(evidence.with_tools),
        agreement,
        margin,
    ]
    for name, value in zip((*features, *EXTRAS), values, strict=True):
        if value is not None and not math.isfinite(value):
            raise InvalidInputError(f"complexity {name} is {value}, expected a finite number")
    return values
