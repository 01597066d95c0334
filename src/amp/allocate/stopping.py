"""Rules that take sample after sample and count the votes: what a policy has to beat.

They ignore the complexity and differ in when they stop. All decide between rounds, on `Evidence`,
so they run in the same loop and on the same recorded samples as every allocator. The planner's
`max_rounds` has to allow their rounds, and the temperature has to be above 0, as greedy samples are
all equal. Rules that look at more than the votes are in `amp.allocate.confidence`;
`amp.simulate.tuning` finds the parameters of all on training tasks.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from amp.allocate.base import Allocator
from amp.errors import InvalidInputError
from amp.types import STOP, Allocation, Complexity, Decision, Evidence, StepContext
from amp.votes import of_last_model


@dataclass(frozen=True, slots=True)
class InOrder(Allocator):
    """Samples in a fixed order until the step is settled, or the sequence is at its end.

    The rounds of the sequence can use different tools in turn: an error that the model repeats with
    one tool is less likely with another. There is at least one round.

    Attributes:
        sequence: the allocations of the first, second, ... round.
    """

    sequence: tuple[Allocation, ...]

    uses_complexity = False

    def __post_init__(self) -> None:
        check_count("length of the sequence", len(self.sequence))

    @abstractmethod
    def settled(self, evidence: Evidence) -> bool:
        """Whether the candidates so far, at least one, decide the step."""

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        evidence = context.evidence
        if evidence.rounds >= len(self.sequence):
            return STOP
        if evidence.candidates and self.settled(evidence):
            return STOP
        return Decision(self.sequence[evidence.rounds])

    def with_overrides(self, fields: Mapping[str, Any]) -> InOrder:
        """Ignores beam width and tools, which the sequence itself decides."""
        kept = {
            name: value for name, value in fields.items() if name not in ("beam_width", "tools")
        }
        return replace(self, sequence=tuple(replace(each, **kept) for each in self.sequence))


@dataclass(frozen=True, slots=True)
class UntilAgreement(InOrder):
    """Samples until `agree` candidates have the same answer.

    Attributes:
        sequence: see `InOrder`.
        agree: votes for one answer that end a step.
    """

    agree: int = 2

    def __post_init__(self) -> None:
        InOrder.__post_init__(self)  # `super` finds no way through dataclasses with slots
        check_count("agree", self.agree)

    def settled(self, evidence: Evidence) -> bool:
        return leaders(evidence)[0] >= self.agree


@dataclass(frozen=True, slots=True)
class Cascade(InOrder):
    """Asks model after model, a round of several samples each, until one agrees with itself.

    A cascade (FrugalGPT, Chen et al. 2023, arXiv 2305.05176, section 3) whose score is how many of
    a model's samples agree (Yue et al. 2023, arXiv 2310.03094). Models that failed are left out.

    Attributes:
        sequence: the allocation of each model's round, the cheapest model first.
        agreement: share of a model's samples that have to give the same answer, above 0, at most 1.

    Raises:
        InvalidInputError: if a round has samples that agree whatever is asked: one, or equal ones.
    """

    agreement: float = 0.75

    def __post_init__(self) -> None:
        InOrder.__post_init__(self)
        if not 0.0 < self.agreement <= 1.0:
            raise InvalidInputError(
                f"agreement is {self.agreement}, expected above 0 and at most 1"
            )
        for each in self.sequence:
            if each.beam_width < 2 or each.temperature == 0.0:
                raise InvalidInputError(
                    f"a cascade of {each.beam_width} samples at temperature {each.temperature:g}"
                    " agrees with itself whatever is asked; set beam_width to 2 or more, and a"
                    " temperature"
                )

    @property
    def models(self) -> frozenset[str]:
        return frozenset(each.model for each in self.sequence if each.model is not None)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        left = tuple(each for each in self.sequence if each.model not in context.failed)
        of_those = replace(self, sequence=left or self.sequence[:1])
        return InOrder.allocate(of_those, context, complexity)

    def settled(self, evidence: Evidence) -> bool:
        last = Evidence(of_last_model(evidence.candidates))
        return (last.agreement or 0.0) >= self.agreement - _ROUNDING

    def with_overrides(self, fields: Mapping[str, Any]) -> Cascade:
        return replace(self, sequence=tuple(replace(each, **fields) for each in self.sequence))


@dataclass(frozen=True, slots=True)
class AdaptiveConsistency(Allocator):
    """Adaptive-Consistency (Aggarwal et al. 2023, arXiv 2305.11860, section 3, Beta criterion).

    Takes one sample per round. Stops when the posterior probability that the leading answer has
    the majority against the runner-up exceeds the threshold, or after `max_samples` samples.
    Candidates without an answer have no vote but count as samples.

    Attributes:
        allocation: of one sample; its beam width is not used.
        threshold: the paper's 0.95.
        max_samples: the paper's 40.
    """

    allocation: Allocation = Allocation()
    threshold: float = 0.95
    max_samples: int = 40

    uses_complexity = False

    def __post_init__(self) -> None:
        if not 0.5 <= self.threshold < 1.0:
            raise InvalidInputError(f"threshold is {self.threshold}, expected 0.5 to below 1")
        check_count("max_samples", self.max_samples)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        evidence = context.evidence
        first, second = leaders(evidence)
        if evidence.rounds >= self.max_samples:
            return STOP
        if majority_probability(first, second) > self.threshold:
            return STOP
        return Decision(replace(self.allocation, beam_width=1))

    def with_overrides(self, fields: Mapping[str, Any]) -> AdaptiveConsistency:
        return replace(self, allocation=replace(self.allocation, **fields))


def majority_probability(first: int, second: int) -> float:
    """P(p > 1/2) for p ~ Beta(first + 1, second + 1): the leading answer stays ahead.

    The posterior of the leader's share against the runner-up under a uniform prior (Aggarwal et al.
    2023, section 3). With whole numbers the Beta's distribution function is a sum of binomials:
    P(p > 1/2) = P(X <= first) for X ~ Binomial(first + second + 1, 1/2).

    Args:
        first: votes of the leading answer.
        second: votes of the runner-up.
    """
    n = first + second + 1
    return sum(math.comb(n, k) for k in range(first + 1)) / (1 << n)


@dataclass(frozen=True, slots=True)
class EarlyStopping(Allocator):
    """Early-stopping self-consistency (Li et al. 2024, arXiv 2401.10480, section 3).

    Takes a window of samples per round. Stops when all samples of the last window give the same
    answer (the entropy of its answers is zero), or after `max_samples` samples. A window with a
    sample that has no answer is not unanimous.

    Attributes:
        allocation: of one sample; its beam width is not used.
        window: samples per round, w in the paper.
        max_samples: most samples of a step, L in the paper.
    """

    allocation: Allocation = Allocation()
    window: int = 5
    max_samples: int = 40

    uses_complexity = False

    def __post_init__(self) -> None:
        check_count("window", self.window)
        check_count("max_samples", self.max_samples)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        evidence = context.evidence
        left = self.max_samples - evidence.rounds * self.window
        if left <= 0 or self._unanimous(evidence):
            return STOP
        return Decision(replace(self.allocation, beam_width=min(self.window, left)))

    def with_overrides(self, fields: Mapping[str, Any]) -> EarlyStopping:
        return replace(self, allocation=replace(self.allocation, **fields))

    def _unanimous(self, evidence: Evidence) -> bool:
        answers = {candidate.action for candidate in evidence.candidates[-self.window :]}
        return len(answers) == 1 and None not in answers


@dataclass(frozen=True, slots=True)
class Shape:
    """How probable the model's answers to one task are, whichever answers they be.

    Attributes:
        first: probability of the likeliest answer, the mode.
        second: of the next one.
        others: how many answers share the rest equally.
    """

    first: float
    second: float
    others: int

    def __post_init__(self) -> None:
        rest = 1.0 - self.first - self.second
        share = rest / self.others if self.others else 0.0
        fine = self.first >= self.second >= share - _ROUNDING and share >= 0.0
        if not fine or (not self.others and rest > _ROUNDING):
            raise InvalidInputError(
                f"{self} is no shape, expected first >= second >= what each other has, 1 in sum"
            )

    def likelihood(self, first: int, second: int, rest: int) -> tuple[float, float]:
        """The probability of a tally together with "its leader is the mode", and that of the tally.

        Up to a factor that is the same for all shapes: the number of orders of the samples.

        Args:
            first: votes of the leading answer, at least 1.
            second: votes of the runner-up.
            rest: all other votes.
        """
        share = max(0.0, 1.0 - self.first - self.second) / self.others if self.others else 0.0
        kinds = ((self.first, 1), (self.second, 1), (share, self.others))
        of_mode = total = 0.0
        for i, (p, many) in enumerate(kinds):
            chance = p**first
            if second:
                chance *= sum(
                    (number - (i == j)) * q**second * max(0.0, 1.0 - p - q) ** rest
                    for j, (q, number) in enumerate(kinds)
                    if number > (i == j)
                )
            total += many * chance
            if i == 0:
                of_mode = chance
        return of_mode, total


Prior = tuple[tuple[Shape, float], ...]
"""Shapes and their weights: how often tasks have which."""

Tally = tuple[int, int, int]
"""Votes of the leading answer, of the runner-up, and of all others."""

_ROUNDING = 1e-9


def flat_prior() -> Prior:
    """All shapes of a grid, equally often: for tasks of which nothing is recorded."""
    shapes = dict[Shape, None]()
    for first in (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
        rest = 1.0 - first
        for part in (1.0, 0.5, 0.25, 0.1):
            second = min(first, part * rest)
            left = 1.0 - first - second
            others = math.ceil(left / second - _ROUNDING) if left > _ROUNDING else 0
            shapes[Shape(first, second, others)] = None
    return tuple((shape, 1.0 / len(shapes)) for shape in shapes)


_PASSES = 100
"""Of the expectation maximisation."""


def learn_prior(tallies: Sequence[Tally]) -> Prior:
    """The weights of the shapes of `flat_prior` that explain recorded tallies best.

    Expectation maximisation from equal weights. One tally in all is shared out equally among the
    shapes, so that none is impossible.

    Args:
        tallies: one of each task; those without a vote tell nothing.
    """
    flat = flat_prior()
    voted = [tally for tally in tallies if tally[0]]
    fits = [[shape.likelihood(*tally)[1] for shape, _ in flat] for tally in voted]
    weights = [weight for _, weight in flat]
    for _ in range(_PASSES):
        sums = [1.0 / len(flat)] * len(flat)
        for fit in fits:
            total = math.fsum(w * f for w, f in zip(weights, fit, strict=True))
            for index, each in enumerate(fit):
                sums[index] += weights[index] * each / total
        weights = [one / (len(fits) + 1) for one in sums]
    return tuple((shape, w) for (shape, _), w in zip(flat, weights, strict=True))


@dataclass(frozen=True, slots=True)
class BayesianStop(InOrder):
    """Optimal Bayesian stop with a learned prior (Huang et al. 2026, arXiv 2602.05395, L = 3).

    Keeps the votes of the leading answer, of the runner-up and of the rest. Stops when the leader
    is the mode of the model's answers with probability 1 - `delta`. Candidates without an answer
    tell nothing of it.

    Attributes:
        sequence: see `InOrder`.
        delta: the error that is allowed, above 0 and below 1.
        prior: how often tasks have which distribution over answers; learned from recordings
            (`learn_prior`), which is what makes one sample enough where tasks are easy.
    """

    delta: float = 0.1
    prior: Prior = field(default_factory=flat_prior)

    def __post_init__(self) -> None:
        InOrder.__post_init__(self)
        check_share("delta", self.delta)
        if not math.isclose(math.fsum(weight for _, weight in self.prior), 1.0, rel_tol=1e-6):
            raise InvalidInputError(
                "the weights of the prior do not add up to 1; divide by the sum"
            )

    def settled(self, evidence: Evidence) -> bool:
        return mode_probability(self.prior, tally_of(evidence.votes)) >= 1.0 - self.delta


def tally_of(votes: Mapping[str, int]) -> Tally:
    """What the rules keep of the votes."""
    first, second, *rest = [*sorted(votes.values(), reverse=True), 0, 0]
    return first, second, sum(rest)


@lru_cache(maxsize=4096)
def mode_probability(prior: Prior, tally: Tally) -> float:
    """P(the leading answer is the mode of the model's answers); 0 without a vote."""
    if not tally[0]:
        return 0.0
    found = [(weight, *shape.likelihood(*tally)) for shape, weight in prior]
    total = math.fsum(weight * both for weight, _, both in found)
    return math.fsum(weight * mode for weight, mode, _ in found) / total if total else 0.0


# --------------------------------------------------------------------------- shared


def leaders(evidence: Evidence) -> tuple[int, int]:
    """Votes of the leading answer and of the runner-up; 0 where there is none."""
    first, second, *_ = [*sorted(evidence.votes.values(), reverse=True), 0, 0]
    return first, second


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raises an error if a number is below the least that makes sense."""
    if value < least:
        raise InvalidInputError(f"{name} is {value}, expected at least {least}")


def check_share(name: str, value: float) -> None:
    """Raises an error unless a number lies between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise InvalidInputError(f"{name} is {value}, expected above 0 and below 1")
