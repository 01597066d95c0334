"""Entropy and divergence of distributions, in nats (spec 2.2 and 3.2)."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

from amp.models.entropy import entropy as entropy_of_top

_TOLERANCE = 1e-6
_SMOOTHING = 0.01

MOST_DIVERGENCE = math.log(1.0 / _SMOOTHING + 1.0)
"""Nats; no `divergence` is larger."""

Outcome = TypeVar("Outcome", bound=Hashable)


def fault(probabilities: Collection[float]) -> str | None:
    """What keeps these numbers from being a distribution that is complete to 1e-6, or None."""
    for probability in probabilities:
        if not 0.0 <= probability <= 1.0 + _TOLERANCE:
            return f"a probability of {probability:.6g}"
    total = math.fsum(probabilities)
    if abs(total - 1.0) > _TOLERANCE:
        return f"probabilities that add up to {total:.6g}"
    return None


def entropy(probabilities: Collection[float]) -> float:
    """Entropy of a complete distribution: H = -sum of p log p, in nats (spec 3.2).

    Returns:
        A number from 0 to the logarithm of the number of outcomes.

    Raises:
        ValueError: if a probability is NaN or outside [0, 1], or they do not add up to 1 within
            1e-6.
    """
    if (found := fault(probabilities)) is not None:
        raise ValueError(f"{found}, expected numbers from 0 to 1 that add up to 1")
    spread = -math.fsum(p * math.log(p) for p in probabilities if p > 0.0)
    return min(math.log(len(probabilities)), max(0.0, spread))


def entropy_bounds(log_probs: Sequence[float], vocabulary: int) -> tuple[float, float]:
    """Least and largest entropy, in nats, of a next-token distribution of which the top is known.

    The mass that the known tokens leave out raises the entropy least as one single token and most
    when it is spread evenly over all the others.

    Args:
        log_probs: natural log-probabilities of some tokens, in any order.
        vocabulary: tokens that the model knows, V.

    Returns:
        The lower and the upper bound, both from 0 to log V.

    Raises:
        ValueError: if a log-probability is positive or NaN, the masses add up to more than
            1 + 1e-6 or, with every token known, to less than 1 - 1e-6, or there are more of them
            than tokens.
    """
    unknown = vocabulary - len(log_probs)
    if unknown < 0 or vocabulary < 1:
        raise ValueError(
            f"vocabulary is {vocabulary}, expected at least 1 and the {len(log_probs)} tokens known"
        )
    lower = entropy_of_top(log_probs)
    tail = max(0.0, 1.0 - math.fsum(math.exp(value) for value in log_probs))
    if unknown == 0 and tail > _TOLERANCE:
        raise ValueError(f"probabilities of all tokens add up to {1.0 - tail:.7f}, expected 1")
    upper = lower + (tail * math.log(unknown) if unknown else 0.0)
    most = math.log(vocabulary)
    return min(lower, most), min(upper, most)


def entropy_share(probabilities: Collection[float]) -> float:
    """Entropy of a distribution relative to the largest possible, in [0, 1]; 0 for one option."""
    if len(probabilities) < 2:
        return 0.0
    spread = -math.fsum(p * math.log(p) for p in probabilities if p > 0.0)
    return min(1.0, max(0.0, spread / math.log(len(probabilities))))


def divergence(posterior: Mapping[Outcome, float], prior: Mapping[Outcome, float]) -> float:
    """KL(posterior || prior) = sum of p log(p / q), in nats (spec 3.2).

    An outcome that the prior has never seen would make it infinite. So both become shares of
    their totals, every outcome that either of them names gets 0.01 more, and what comes out is
    made to add up to 1 again.

    Args:
        posterior: counts or probabilities by outcome, as it is now.
        prior: the same, as it was.

    Returns:
        A number from 0 to `MOST_DIVERGENCE`; exactly 0 where both say the same.

    Raises:
        ValueError: if a value is negative or not finite, or all of one side are 0.
    """
    outcomes = list(dict.fromkeys((*posterior, *prior)))
    after, before = (_smoothed(side, outcomes) for side in (posterior, prior))
    total = math.fsum(p * math.log(p / q) for p, q in zip(after, before, strict=True))
    return min(MOST_DIVERGENCE, max(0.0, total))


def _smoothed(values: Mapping[Outcome, float], outcomes: Sequence[Outcome]) -> list[float]:
    for value in values.values():
        if not 0.0 <= value < math.inf:
            raise ValueError(f"count or probability is {value}, expected 0 or a positive number")
    total = math.fsum(values.values())
    if total == 0.0:
        raise ValueError("all counts or probabilities are 0, expected one above 0")
    mass = 1.0 + _SMOOTHING * len(outcomes)
    return [(values.get(outcome, 0.0) / total + _SMOOTHING) / mass for outcome in outcomes]
