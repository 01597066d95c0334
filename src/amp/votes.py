"""From candidates to one action: votes, weighted votes, and how sure they make us.

Each answer is a hypothesis about what is right. A candidate that is right with probability p speaks
for its answer and against all others, so the posterior over the answers is the product of what the
candidates say (CGES, arXiv 2511.02603, section 3):

    score(a) = log q + sum over the candidates i with answer a of (logit p_i - log q)

where q is the probability that a wrong candidate has one given wrong answer, and score(none of the
answers seen) = 0. With one candidate the posterior of its answer is p itself, and with the same p
for all the leading answer is that of the plain vote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter

from amp.types import Candidate, Decision, StepRecord

COINCIDENCE = 0.1
"""q, the probability that two wrong candidates have the same wrong answer.

Of the pairs of wrong answers to one of 267 training problems of GSM8K 0.18 were equal (n = 2,036).
A smaller one, which believes an agreement more, stops better: of 0.05, 0.1 and 0.2 it was chosen by
cross-validation on these problems.
"""

_UNSURE = 0.5
_SURE = 1.0 - 1e-4


def vote(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the candidate that stands for the winning action, or None if none names an action.

    Each candidate has one vote, weighted by its self-check where one was made. Candidates that
    break a rule vote only if no other names an action. Ties go to the action whose best candidate
    has the higher log-probability, then to the earlier one, so the vote never depends on chance.
    """
    weights: dict[str, float] = {}
    for action, candidate in ballots(candidates):
        checked = candidate.p_correct
        weights[action] = weights.get(action, 0.0) + (1.0 if checked is None else checked)
    return _champion(candidates, weights)


def weighted_vote(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the candidate that stands for the action that is most probably right.

    Each vote weighs what its `Candidate.p_right` says (`Posterior`). Where no candidate has one,
    this is `vote`. Which candidates vote and who wins a tie is the same in both.
    """
    if all(candidate.p_right is None for candidate in candidates):
        return vote(candidates)
    return _champion(candidates, posterior(candidates).scores)


def last_model_vote(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns what the model that was asked last votes for, as a cascade does.

    Where none of its candidates names an action, all vote.
    """
    chosen = weighted_vote(of_last_model(candidates))
    return weighted_vote(candidates) if chosen is None else chosen


def of_last_model(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The last candidates, as far back as one model made them."""
    last = takewhile(lambda one: one.model == candidates[-1].model, reversed(candidates))
    return tuple(last)[::-1]


def chooser(stop: Decision | None) -> Callable[[Sequence[Candidate]], Candidate | None]:
    """How a step is settled: by the winner that a decision to stop names, else by weighted vote."""
    if stop is None or stop.winner is None:
        return weighted_vote
    return itemgetter(stop.winner)


def most_likely(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the candidate of the highest log-probability, as best-of-n does; the first of equals.

    Candidates that break a rule count only if no other names an action. None if none does.
    """
    voters = (candidate for _, candidate in ballots(candidates))
    return max(voters, key=likelihood, default=None)


@dataclass(frozen=True, slots=True)
class Posterior:
    """What the candidates of a step say about its answers.

    Attributes:
        scores: by action, the logarithm of its weight; that of "none of these" is 0.
        shares: by action, the probability that it is right; they add up to less than 1.
    """

    scores: Mapping[str, float]
    shares: Mapping[str, float]

    @property
    def leader(self) -> float:
        """The probability that the leading action is right; 0 without candidates."""
        return max(self.shares.values(), default=0.0)

    @property
    def runner_up(self) -> float:
        """The probability of the action after the leading one; 0 where there is none."""
        return sorted((0.0, 0.0, *self.shares.values()))[-2]

    def gain(self, p_right: float) -> float:
        """How much more probably the leading action will be right after one more candidate.

        The mean over what the candidate may answer: the right answer with probability `p_right`,
        another one that was seen with probability q each, or one that is new. At least 0.

        Args:
            p_right: the probability that the next candidate is right, in [0, 1].
        """
        p = min(max(p_right, 1.0 - _SURE), _SURE)
        q, voice = COINCIDENCE, _logit(p) - math.log(COINCIDENCE)
        shares, unseen = dict(self.shares), 1.0 - math.fsum(self.shares.values())
        expected = 0.0
        for action, share in self.shares.items():
            says = share * p + (1.0 - share) * (1.0 - p) * q
            # It adds `voice` to the score of its answer, which changes all shares alike but one.
            raised = share * math.exp(voice)
            total = 1.0 - share + raised
            others = max((s for a, s in shares.items() if a != action), default=0.0)
            expected += says * max(raised, others) / total
        new = 1.0 - math.fsum(s * p + (1.0 - s) * (1.0 - p) * q for s in self.shares.values())
        fresh = max(unseen, 0.0) * math.exp(_logit(p))
        expected += max(new, 0.0) * max(fresh, self.leader) / (1.0 + fresh)
        return max(0.0, expected - self.leader)


def posterior(candidates: Sequence[Candidate]) -> Posterior:
    """The posterior over the answers of some candidates.

    A candidate whose `p_right` is not known counts as right with the mean probability of the
    others, or with 1/2 where none is known.
    """
    known = [c.p_right for c in candidates if c.p_right is not None]
    usual = math.fsum(known) / len(known) if known else _UNSURE
    scores: dict[str, float] = {}
    for action, candidate in ballots(candidates):
        p = usual if candidate.p_right is None else candidate.p_right
        p = min(max(p, 1.0 - _SURE), _SURE)
        before = scores.setdefault(action, math.log(COINCIDENCE))
        scores[action] = before + _logit(p) - math.log(COINCIDENCE)
    top = max((0.0, *scores.values()))
    weights = {action: math.exp(score - top) for action, score in scores.items()}
    total = math.fsum(weights.values()) + math.exp(-top)
    return Posterior(scores, {action: weight / total for action, weight in weights.items()})


def p_chosen(step: StepRecord) -> float | None:
    """How probably the action of a step is right; None without one, or if no candidate is rated."""
    if step.action is None or all(candidate.p_right is None for candidate in step.candidates):
        return None
    return posterior(step.candidates).shares.get(step.action)


def ballots(candidates: Sequence[Candidate]) -> list[tuple[str, Candidate]]:
    """The actions that are voted for: of valid candidates, or where none is valid of all."""
    named = [(c.action, c) for c in candidates if c.action is not None]
    return [(action, candidate) for action, candidate in named if candidate.valid] or named


def _champion(candidates: Sequence[Candidate], weights: Mapping[str, float]) -> Candidate | None:
    """The likeliest candidate of the action of the highest weight."""
    best: dict[str, Candidate] = {}
    for action, candidate in ballots(candidates):
        if action not in best or likelihood(candidate) > likelihood(best[action]):
            best[action] = candidate
    if not best:
        return None
    return best[max(best, key=lambda action: (weights[action], likelihood(best[action])))]


def likelihood(candidate: Candidate) -> float:
    """Log-probability of the choice, or else of the text; least of all if unknown."""
    if candidate.probability is not None:
        return math.log(candidate.probability) if candidate.probability > 0.0 else -math.inf
    return -math.inf if candidate.log_prob is None else candidate.log_prob


def _logit(p: float) -> float:
    return math.log(p) - math.log1p(-p)
