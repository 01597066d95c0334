"""Selecting among candidates: by vote, or by log-probability."""

from __future__ import annotations

import math
from collections.abc import Sequence

from amp.types import Candidate


def vote(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the candidate that stands for the winning action, or None if none names an action.

    Each candidate has one vote, weighted by its self-check where one was made. Candidates that
    break a rule vote only if no other names an action. Ties go to the action whose best candidate
    has the higher log-probability, then to the earlier one, so the vote never depends on chance.
    """
    voters = [c for c in candidates if c.valid] or [c for c in candidates if c.action is not None]
    if not voters:
        return None
    weights: dict[str, float] = {}
    champions: dict[str, Candidate] = {}
    for candidate in voters:
        action = candidate.action
        assert action is not None
        weights[action] = weights.get(action, 0.0) + (
            1.0 if candidate.p_correct is None else candidate.p_correct
        )
        if action not in champions or _likelihood(candidate) > _likelihood(champions[action]):
            champions[action] = candidate
    winner = max(weights, key=lambda action: (weights[action], _likelihood(champions[action])))
    return champions[winner]


def most_likely(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the candidate of the highest log-probability, as best-of-n does; the first of equals.

    Candidates that break a rule count only if no other names an action. None if none does.
    """
    voters = [c for c in candidates if c.valid] or [c for c in candidates if c.action is not None]
    return max(voters, key=_likelihood, default=None)


def _likelihood(candidate: Candidate) -> float:
    """Log-probability of the choice, or else of the text; least of all if unknown."""
    if candidate.probability is not None:
        return math.log(candidate.probability) if candidate.probability > 0.0 else -math.inf
    return -math.inf if candidate.log_prob is None else candidate.log_prob
