"""Entropy of a next-token distribution of which only the top is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LARGEST_EXPONENT = 700.0


def entropy(log_probs: Sequence[float]) -> float:
    """Entropy of the next-token distribution, in nats (spec 2.2, H).

    Args:
        log_probs: natural log-probabilities of the most likely tokens, any order. Mass that they
            leave out is taken as one further outcome, so the result is a lower bound of the entropy
            of the full distribution.

    Returns:
        A number from 0 to log(len(log_probs) + 1); 0 for an empty sequence, whose only outcome is
        the mass left out.

    Raises:
        ValueError: if a value is positive, NaN, or the masses add up to more than 1 + 1e-6.
    """
    for value in log_probs:
        if not value <= 0.0:
            raise ValueError(f"log-probability is {value}, expected a number of at most 0")
    masses = [math.exp(value) for value in log_probs]
    total = math.fsum(masses)
    if total > 1.0 + 1e-6:
        raise ValueError(f"probabilities add up to {total:.7f}, expected at most 1")
    masses.append(max(0.0, 1.0 - total))
    # max: a mass that rounding lifted above 1 must not make the entropy negative.
    return max(0.0, -math.fsum(mass * math.log(mass) for mass in masses if mass > 0.0))


def normalised(log_probs: Sequence[float]) -> list[float]:
    """Removes the rounding of 32-bit servers: no value above 0, no total mass above 1.

    Raises:
        ValueError: if the masses exceed 1 by more than 1e-3, which no rounding explains.
    """
    clipped = [min(0.0, value) for value in log_probs]
    total = math.fsum(math.exp(value) for value in clipped)
    if total > 1.0 + 1e-3:
        raise ValueError(f"probabilities add up to {total:.4f}, expected at most 1")
    excess = math.log(total) if total > 1.0 else 0.0
    return [value - excess for value in clipped]


def perplexity(log_probs: Sequence[float]) -> float | None:
    """Perplexity of a text: exp of the mean of its tokens' negative log-probabilities (spec 3.2).

    Args:
        log_probs: natural log-probability of each of its tokens.

    Returns:
        At least 1; infinite where it is beyond every number; None for a text without tokens.

    Raises:
        ValueError: if a value is positive or NaN.
    """
    for value in log_probs:
        if not value <= 0.0:
            raise ValueError(f"log-probability is {value}, expected a number of at most 0")
    if not log_probs:
        return None
    surprise = -math.fsum(log_probs) / len(log_probs)
    return math.exp(surprise) if surprise < _LARGEST_EXPONENT else math.inf
