"""What the log-probabilities of an answer's tokens tell, as a few figures that a trace can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenFigures:
    """What the tokens of one answer tell of the model's confidence; None where it tells nothing.

    Log-probabilities are in nats, before temperature. A window are `WINDOW` tokens in a row, or all
    tokens of a shorter answer.

    Attributes:
        least: lowest log-probability of a token.
        window: lowest mean log-probability over a window (group confidence, Fu et al. 2025).
        tail: mean log-probability of the last window.
        first: log-probability of the first token.
        doubtful: tokens of a probability below 0.8.
        unlikely: tokens of a probability below 0.5.
        highest: largest entropy of a token.
    """

    least: float | None = None
    window: float | None = None
    tail: float | None = None
    first: float | None = None
    doubtful: int | None = None
    unlikely: int | None = None
    highest: float | None = None

    @classmethod
    def of(cls, log_probs: Sequence[float], entropies: Sequence[float] = ()) -> TokenFigures | None:
        """The figures of an answer's tokens; None if the model tells of no token.

        Where one value cannot be, such as NaN or a positive log-probability, none of its kind tells
        anything.
        """
        known = all(0.0 <= entropy < math.inf for entropy in entropies)
        highest = max(entropies, default=None) if known else None
        if not log_probs or not all(-math.inf < value <= _ROUNDING for value in log_probs):
            return None if highest is None else cls(highest=highest)
        size = min(WINDOW, len(log_probs))
        total = math.fsum(log_probs[:size])
        lowest = total
        for old, new in zip(log_probs, log_probs[size:], strict=False):
            total += new - old
            lowest = min(lowest, total)
        return cls(
            least=min(log_probs),
            window=min(0.0, lowest / size),
            tail=math.fsum(log_probs[-size:]) / size,
            first=log_probs[0],
            doubtful=sum(value < _DOUBTFUL for value in log_probs),
            unlikely=sum(value < _UNLIKELY for value in log_probs),
            highest=highest,
        )


WINDOW = 16
"""Tokens over which a mean of `TokenFigures` is taken."""
_ROUNDING = 1e-6
_DOUBTFUL, _UNLIKELY = math.log(0.8), math.log(0.5)
