"""Rules that stop by how sure the candidates make us, and one that weighs that against the cost.

Like those of `amp.allocate.stopping` they ignore the complexity. Most read `Candidate.p_right`,
which is there if something was trained to tell it; where it is not known, they fall back on the
votes, or on the model's own probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amp.allocate.base import Allocator
from amp.allocate.stopping import InOrder, check_count, check_share
from amp.errors import InvalidInputError
from amp.types import STOP, Allocation, Candidate, Complexity, Decision, Evidence, StepContext
from amp.votes import ballots, posterior


@dataclass(frozen=True, slots=True)
class UntilSure(InOrder):
    """Samples until the leading answer is right with a probability above the threshold.

    That is the posterior of `amp.votes`, by which a weighted vote is decided, too: agreement among
    candidates that look right ends a step early, one that looks surely right at once. Where nothing
    rates the candidates, the default ends it when two agree and at most one differs.

    Attributes:
        sequence: see `InOrder`.
        threshold: above 0 and below 1.
    """

    threshold: float = 0.7

    def __post_init__(self) -> None:
        InOrder.__post_init__(self)
        check_share("threshold", self.threshold)

    def settled(self, evidence: Evidence) -> bool:
        return posterior(evidence.candidates).leader > self.threshold


@dataclass(frozen=True, slots=True)
class ConfidenceStop(InOrder):
    """Confidence-guided early stopping, CGES (Aghazadeh et al. 2025, arXiv 2511.02603).

    One of K answers is right, each as probably beforehand. A candidate of confidence c is right
    with probability c, or has each other answer with (1 - c) / (K - 1). Stops when the posterior of
    an answer exceeds the threshold. With equal confidences that is a function of the votes alone.

    The confidence is `Candidate.p_right`, or else the geometric mean of its tokens' probabilities,
    which is not calibrated; 1/2 where the model gives none.

    Attributes:
        sequence: see `InOrder`.
        threshold: above 0 and below 1.
        answers: K, at least 2; those beyond the ones seen are there to be seen.
    """

    threshold: float = 0.9
    answers: int = 6

    def __post_init__(self) -> None:
        InOrder.__post_init__(self)
        check_share("threshold", self.threshold)
        check_count("answers", self.answers, 2)

    def settled(self, evidence: Evidence) -> bool:
        return self.leader(evidence.candidates) > self.threshold

    def leader(self, candidates: Sequence[Candidate]) -> float:
        """The posterior of the leading answer; 0 without one."""
        scores: dict[str, float] = {}
        for action, candidate in ballots(candidates):
            c = min(max(_confidence(candidate), 1e-4), 1.0 - 1e-4)
            voice = math.log(c) - math.log1p(-c) + math.log(self.answers - 1)
            scores[action] = scores.get(action, 0.0) + voice
        if not scores:
            return 0.0
        unseen = max(0, self.answers - len(scores))  # their score is 0
        top = max(0.0, *scores.values())
        total = math.fsum(math.exp(s - top) for s in scores.values()) + unseen * math.exp(-top)
        return math.exp(max(scores.values()) - top) / total


def _confidence(candidate: Candidate) -> float:
    if candidate.p_right is not None:
        return candidate.p_right
    if candidate.log_prob is None or not candidate.completion_tokens:
        return 0.5
    return math.exp(candidate.log_prob / candidate.completion_tokens)


@dataclass(frozen=True, slots=True)
class ReliabilityStop(InOrder):
    """Reliability-aware adaptive self-consistency, ReASC (Kim et al. 2026, arXiv 2601.02970).

    Two stages. A first candidate whose least sure stretch of tokens is as sure as the gate is taken
    at once. Else candidates are sampled until the leader is ahead of the runner-up with a
    probability above the threshold, by a Beta to which each adds its confidence in place of 1.

    The confidence of a candidate is the geometric mean of the probabilities of its least sure
    window of tokens (`TokenFigures.window`), and one at the gate counts as a whole vote; the paper
    takes the lowest tenth of all windows. Where the model gives no probabilities, this is
    `AdaptiveConsistency`.

    Attributes:
        sequence: see `InOrder`.
        gate: above 0; 1 or more opens for no candidate.
        threshold: 0.5 to below 1.
    """

    gate: float = 0.9
    threshold: float = 0.95

    def __post_init__(self) -> None:
        InOrder.__post_init__(self)
        if not 0.0 < self.gate < math.inf:
            raise InvalidInputError(f"gate is {self.gate}, expected a number above 0")
        if not 0.5 <= self.threshold < 1.0:
            raise InvalidInputError(f"threshold is {self.threshold}, expected 0.5 to below 1")

    def settled(self, evidence: Evidence) -> bool:
        candidates = evidence.candidates
        if len(candidates) == 1:
            sure = _least_sure(candidates[0])
            if candidates[0].valid and sure is not None and sure >= self.gate:
                return True
        mass: dict[str, float] = {}
        for action, candidate in ballots(candidates):
            sure = _least_sure(candidate)
            mass[action] = mass.get(action, 0.0) + (1.0 if sure is None else sure / self.gate)
        first, second, *_ = [*sorted(mass.values(), reverse=True), 0.0, 0.0]
        return lead_probability(first, second) > self.threshold


def _least_sure(candidate: Candidate) -> float | None:
    """Geometric mean of the token probabilities in the least sure window; None if not known."""
    if candidate.tokens is None or candidate.tokens.window is None:
        return None
    return math.exp(min(0.0, candidate.tokens.window))


def lead_probability(first: float, second: float) -> float:
    """P(p > 1/2) for p ~ Beta(first + 1, second + 1), as `majority_probability`, for any masses.

    By the series of the incomplete beta function at 1/2, whose terms are all positive.

    Args:
        first: mass of the leading answer, at least 0.
        second: of the runner-up, at least 0.
    """
    a, b = second + 1.0, first + 1.0  # P(1 - p < 1/2)
    beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    term = math.exp(-(a + b) * math.log(2.0) - math.log(a) - beta)
    total, n = term, 0
    while term > 1e-15 * total:
        term *= 0.5 * (a + b + n) / (a + 1.0 + n)
        total, n = total + term, n + 1
    return min(1.0, total)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to take a sample.

    Attributes:
        allocation: of one sample.
        samples: most of a step.
        cost: of one, above 0, in any unit that all ways share.
        chances: P(right) of such samples, in [0, 1], each of equal weight. Their spread matters: a
            sample that may look surely right is worth more than one that is always in doubt. The
            default is about that of GSM8K's training problems.
    """

    allocation: Allocation
    samples: int = 4
    cost: float = 1.0
    chances: tuple[float, ...] = (0.1, 0.4, 0.7, 0.9)

    def __post_init__(self) -> None:
        check_count("samples", self.samples)
        if not 0.0 < self.cost < math.inf:
            raise InvalidInputError(f"cost is {self.cost}, expected a number above 0")
        if not self.chances or not all(0.0 <= p <= 1.0 for p in self.chances):
            raise InvalidInputError(f"chances are {self.chances}, expected numbers in [0, 1]")


def expected_gain(candidates: Sequence[Candidate], way: Way) -> float:
    """By how much one more sample is expected to raise P(the leading answer is right).

    The mean over the chances of what the posterior lets expect (`amp.votes.Posterior.gain`).
    """
    now = posterior(candidates)
    return math.fsum(map(now.gain, way.chances)) / len(way.chances)


@dataclass(frozen=True, slots=True)
class ByGain(Allocator):
    """Takes the sample of the highest expected gain for its cost; stops when none is worth it.

    The greedy rule of optimal stopping, one sample ahead. Evidence tells samples with tools from
    those without, so there is at most one way of each kind.

    Attributes:
        ways: to choose from; of equal ones the cheaper, then the first.
        worth: least gain for a cost of 1, below which it stops; 0 or less takes all samples,
            infinity one.
        max_samples: most samples of a step, of all ways together.
    """

    ways: tuple[Way, ...]
    worth: float = 0.02
    max_samples: int = 40

    uses_complexity = False

    def __post_init__(self) -> None:
        kinds = [bool(way.allocation.tools) for way in self.ways]
        if not kinds or len(set(kinds)) < len(kinds):
            raise InvalidInputError(
                f"ways are {len(kinds)}, {sum(kinds)} of them with tools; expected one with, one"
                " without, or both, since candidates tell no other ways apart"
            )
        check_count("max_samples", self.max_samples)
        if math.isnan(self.worth):
            raise InvalidInputError("worth is nan, expected a number")

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        evidence = context.evidence
        left = [way for way in self.ways if self._taken(evidence, way) < way.samples]
        if not left or len(evidence.candidates) >= self.max_samples:
            return STOP
        worth = {way: expected_gain(evidence.candidates, way) / way.cost for way in left}
        best = max(left, key=lambda way: (worth[way], -way.cost))
        if evidence.rounds and worth[best] < self.worth:
            return STOP
        return Decision(replace(best.allocation, beam_width=1))

    def with_overrides(self, fields: Mapping[str, Any]) -> ByGain:
        """Ignores beam width and tools, which the rule itself decides."""
        kept = {
            name: value for name, value in fields.items() if name not in ("beam_width", "tools")
        }
        ways = (replace(way, allocation=replace(way.allocation, **kept)) for way in self.ways)
        return replace(self, ways=tuple(ways))

    def _taken(self, evidence: Evidence, way: Way) -> int:
        with_tools = evidence.with_tools
        return with_tools if way.allocation.tools else len(evidence.candidates) - with_tools
