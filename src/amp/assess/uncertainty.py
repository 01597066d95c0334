"""Model uncertainty H: how spread the model's next tokens, choices or answers are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from amp.assess.information import entropy_share, fault
from amp.types import Evidence

MOST_ENTROPY = math.log(2**20)
"""Nats; of a token. No model has a vocabulary larger than 2^20, so more is no entropy."""

_TYPICAL_TOKEN_ENTROPY = 0.25
"""Nats; the median over 144 programs of a 1.5B model on training problems. It gives one half."""


def saturating(value: float, half: float) -> float:
    """Maps [0, inf) to [0, 1); `half` is the value that gives one half."""
    return value / (value + half)


def answer_counts(evidence: Evidence) -> dict[str | int, int]:
    """How many candidates stand behind each answer.

    A candidate without a vote counts as an answer of its own, named by a number.
    """
    votes = evidence.votes
    silent = len(evidence.candidates) - votes.total()
    counts: dict[str | int, int] = dict.fromkeys(range(silent), 1)
    counts.update(votes.items())
    return counts


def answer_entropy(evidence: Evidence) -> float | None:
    """Entropy of the candidates' actions relative to the largest possible, in [0, 1].

    A candidate without an action counts as an answer of its own. None for fewer than two
    candidates. This is the black-box substitute for next-token entropy, and the sharper signal
    where both exist.
    """
    total = len(evidence.candidates)
    if total < 2:
        return None
    counts = answer_counts(evidence).values()
    entropy = -math.fsum(n / total * math.log(n / total) for n in counts)
    return min(1.0, max(0.0, entropy / math.log(total)))


def token_entropy(evidence: Evidence) -> float | None:
    """Mean entropy of the candidates' tokens, squashed into [0, 1); None if nobody tells it."""
    known = _known((c.entropy for c in evidence.candidates), MOST_ENTROPY)
    return saturating(_mean(known), _TYPICAL_TOKEN_ENTROPY) if known else None


def choice_entropy(evidence: Evidence) -> float | None:
    """1 - the mean probability of the chosen actions, in [0, 1]; None where none was read."""
    known = _known((c.probability for c in evidence.candidates), 1.0)
    return 1.0 - _mean(known) if known else None


def look_entropy(evidence: Evidence) -> float | None:
    """Entropy of the options before the first round relative to the largest possible, in [0, 1].

    None where nobody looked at options, or what the model told of them is no distribution.
    """
    options = evidence.look.options.values() if evidence.look else ()
    return None if not options or fault(options) else entropy_share(options)


def uncertainty(evidence: Evidence) -> tuple[float, str] | None:
    """H in [0, 1] by the best source there is, and the name of the source.

    In this order: entropy of two or more answers; probability of one choice; token entropy of one
    answer; the look before acting. A single candidate without an action is as uncertain as can be.
    A number that cannot be an entropy or a probability, such as NaN, is not looked at. None before
    anything is known.
    """
    if len(evidence.candidates) == 1 and evidence.candidates[0].action is None:
        return 1.0, "no answer"
    for name, source in (
        ("entropy of the answers", answer_entropy),
        ("probability of the choice", choice_entropy),
        ("entropy of the answer's tokens", token_entropy),
        ("next-token entropy", look_entropy),
    ):
        if (value := source(evidence)) is not None:
            return value, name
    return None


def _known(values: Iterable[float | None], most: float) -> list[float]:
    return [value for value in values if value is not None and 0.0 <= value <= most]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
