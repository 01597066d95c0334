"""Model uncertainty H: how spread the model's next tokens, choices or answers are (spec 2.2, 3.2).

Entropies and divergences are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from amp.models.base import entropy as entropy_of_top
from amp.types import Evidence

_TOLERANCE = 1e-6
_SMOOTHING = 0.01

MAX_DIVERGENCE = math.log(1.0 / _SMOOTHING + 1.0)
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
    if (error := fault(probabilities)) is not None:
        raise ValueError(f"{error}, expected numbers from 0 to 1 that add up to 1")
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
    limit = math.log(vocabulary)
    return min(lower, limit), min(upper, limit)


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
        A number from 0 to `MAX_DIVERGENCE`; exactly 0 where both say the same.

    Raises:
        ValueError: if a value is negative or not finite, or all of one side are 0.
    """
    outcomes = list(dict.fromkeys((*posterior, *prior)))
    after, before = (_smoothed(side, outcomes) for side in (posterior, prior))
    total = math.fsum(p * math.log(p / q) for p, q in zip(after, before, strict=True))
    return min(MAX_DIVERGENCE, max(0.0, total))


def _smoothed(values: Mapping[Outcome, float], outcomes: Sequence[Outcome]) -> list[float]:
    for value in values.values():
        if not 0.0 <= value < math.inf:
            raise ValueError(f"count or probability is {value}, expected 0 or a positive number")
    total = math.fsum(values.values())
    if total == 0.0:
        raise ValueError("all counts or probabilities are 0, expected one above 0")
    mass = 1.0 + _SMOOTHING * len(outcomes)
    return [(values.get(outcome, 0.0) / total + _SMOOTHING) / mass for outcome in outcomes]


MAX_ENTROPY = math.log(2**20)
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
    """Mean entropy of the candidates' tokens, squashed into [0, 1); None if it is not known."""
    known = _known((c.entropy for c in evidence.candidates), MAX_ENTROPY)
    return saturating(_mean(known), _TYPICAL_TOKEN_ENTROPY) if known else None


def choice_entropy(evidence: Evidence) -> float | None:
    """1 - the mean probability of the chosen actions, in [0, 1]; None where none was read."""
    known = _known((c.probability for c in evidence.candidates), 1.0)
    return 1.0 - _mean(known) if known else None


def probe_entropy(evidence: Evidence) -> float | None:
    """Entropy of the options before the first round relative to the largest possible, in [0, 1].

    None if the options were not probed, or their probabilities are no distribution.
    """
    options = evidence.probe.options.values() if evidence.probe else ()
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
        ("next-token entropy", probe_entropy),
    ):
        if (value := source(evidence)) is not None:
            return value, name
    return None


def _known(values: Iterable[float | None], limit: float) -> list[float]:
    return [value for value in values if value is not None and 0.0 <= value <= limit]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
