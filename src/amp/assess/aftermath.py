"""What the rounds of a step have brought so far, each as one number; None where nobody can tell.

Means run over the candidates that tell the value. A told value that cannot be, such as NaN or a
positive log-probability, is returned as it stands: no mean with it would say anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from amp.assess.goal import remaining_quantities
from amp.assess.information import divergence
from amp.assess.language import numbers
from amp.assess.uncertainty import MOST_ENTROPY, answer_counts
from amp.models.entropy import perplexity
from amp.types import Evidence

_CACHED_TEXTS = 4096


def margin(evidence: Evidence) -> float | None:
    """Share of the candidates that back the leading action less the runner-up's, in [0, 1]."""
    if not evidence.candidates:
        return None
    first, second, *_ = [*sorted(evidence.votes.values(), reverse=True), 0, 0]
    return (first - second) / len(evidence.candidates)


def answer_nats(evidence: Evidence) -> float | None:
    """Entropy of the answers in nats, from 0 to log of the number of candidates.

    The same as `uncertainty.answer_entropy`, which is relative to the largest possible.
    """
    total = len(evidence.candidates)
    if total < 2:
        return None
    shares = [n / total for n in answer_counts(evidence).values()]
    return max(0.0, -math.fsum(share * math.log(share) for share in shares))


def answer_divergence(evidence: Evidence) -> float | None:
    """KL of the answers with the last candidate from the answers without it, in nats.

    How much one more candidate moved the distribution over the answers; `information.divergence`
    says how it is smoothed. None for fewer than two candidates.
    """
    if len(evidence.candidates) < 2:
        return None
    before = Evidence(evidence.candidates[:-1])
    return divergence(answer_counts(evidence), answer_counts(before))


def log_prob(evidence: Evidence) -> float | None:
    """Mean log-probability of a candidate's whole text, in nats, at most 0."""
    return _mean((c.log_prob for c in evidence.candidates), -math.inf, 0.0)


def first_entropy(evidence: Evidence) -> float | None:
    """Entropy of the first token of an answer in nats: that of the next token before acting.

    The first round shows for nothing what a look would have shown. A mean, since candidates of
    different prompts begin differently; those of one prompt agree.
    """
    return _mean((c.first_entropy for c in evidence.candidates), 0.0, MOST_ENTROPY)


def token_entropy(evidence: Evidence) -> float | None:
    """Mean entropy of the candidates' tokens in nats."""
    return _mean((c.entropy for c in evidence.candidates), 0.0, MOST_ENTROPY)


def answer_perplexity(evidence: Evidence) -> float | None:
    """Perplexity of the candidates' own tokens, at least 1; NaN where one is no log-probability.

    None where none of them has tokens with log-probabilities.
    """
    tokens, total = 0, 0.0
    for candidate in evidence.candidates:
        if candidate.log_prob is not None and candidate.completion_tokens > 0:
            tokens += candidate.completion_tokens
            total += candidate.log_prob if candidate.log_prob <= 0.0 else math.nan
    if not tokens:
        return None
    return math.nan if math.isnan(total) else perplexity([total / tokens])


def answer_tokens(evidence: Evidence) -> float | None:
    """Mean length of a candidate in tokens."""
    return _mean(c.completion_tokens for c in evidence.candidates)


def cut_off(evidence: Evidence) -> float | None:
    """Share of the candidates that the token cap ended, in [0, 1]."""
    return _mean(c.cut_off for c in evidence.candidates)


def unread(evidence: Evidence) -> float | None:
    """Share of the candidates without a valid action, in [0, 1]."""
    return _mean(not c.valid for c in evidence.candidates)


def unused(evidence: Evidence, goal: str) -> float | None:
    """Share of the goal's numbers that a candidate's text does not name, mean, in [0, 1].

    None for a goal without numbers or candidates without text.
    """
    texts = [c.text for c in evidence.candidates if c.text.strip()]
    return _mean(_share_unused(goal, text) for text in texts)


def p_correct(evidence: Evidence) -> float | None:
    """Mean probability of "yes" in the self-check, in [0, 1]."""
    return _mean((c.p_correct for c in evidence.candidates), 0.0, 1.0)


@lru_cache(maxsize=_CACHED_TEXTS)
def _share_unused(goal: str, text: str) -> float | None:
    total = len(numbers(goal))
    return len(remaining_quantities(goal, text)) / total if total else None


def _mean(values: Iterable[float | None], low: float = 0.0, high: float = math.inf) -> float | None:
    known = [value for value in values if value is not None]
    for value in known:
        if not low <= value <= high:
            return value
    return sum(known) / len(known) if known else None
