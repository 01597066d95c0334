"""Giving up what is hopeless, at a share of the successes that is chosen beforehand.

A head estimates p_fail, the probability that the episode fails, from behaviour alone
(`amp.allocate.behaviour`). `GivingUp` puts it before any allocator. It gives an episode up when
p_fail is above a threshold, so low that no more than a share 1 - recall of the episodes that would
have succeeded ever reach it (recall-calibrated abort, arXiv 2607.06503). Heads are trained by
`amp.learn.giving_up`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from amp.allocate.base import Allocator
from amp.allocate.behaviour import (
    PLAN_FEATURES,
    ROUND_FEATURES,
    of_plan,
    of_rounds,
)
from amp.allocate.space import sigmoid
from amp.errors import InvalidInputError
from amp.latency import CostModel
from amp.types import Complexity, Decision, Limits, StepContext, Usage

When = Literal["steps", "rounds"]
"""When an episode can be given up: before a step of its plan, but the first, or between rounds."""

_FEATURES: Mapping[When, tuple[str, ...]] = {"steps": PLAN_FEATURES, "rounds": ROUND_FEATURES}
_FAR = 10.0
"""Standard deviations from the mean at which a value is cut."""


@dataclass(frozen=True, slots=True)
class FailureHead:
    """p_fail as a logistic regression on behaviour, and how the successes looked in training.

    Attributes:
        when: what its features are of.
        features: their names.
        mean: of each in training; a feature that is missing has it.
        std: likewise, more than 0.
        weights: of each in standard deviations from its mean.
        bias: log-odds at the mean.
        survived: the highest p_fail of each training episode that succeeded, told by heads that had
            not seen it; in order.
        benchmark: whose episodes it was learned from; empty if that is not known.

    Raises:
        InvalidInputError: if a feature is unknown, or the numbers are too few or not finite.
    """

    when: When
    features: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    survived: tuple[float, ...]
    benchmark: str = ""

    def __post_init__(self) -> None:
        if self.when not in get_args(When):
            raise InvalidInputError(f"when is {self.when!r}, expected steps or rounds")
        unknown = set(self.features) - set(_FEATURES[self.when])
        if unknown:
            raise InvalidInputError(f"unknown feature of {self.when}: {min(unknown)}")
        for name in ("mean", "std", "weights"):
            values = getattr(self, name)
            if len(values) != len(self.features) or not all(map(math.isfinite, values)):
                raise InvalidInputError(
                    f"{name} is {values}, expected {len(self.features)} finite numbers"
                )
        if not all(value > 0.0 for value in self.std):
            raise InvalidInputError(f"std is {self.std}, expected numbers above 0")
        if list(self.survived) != sorted(self.survived) or not math.isfinite(self.bias):
            raise InvalidInputError("survived is not in order, or the bias not finite")

    def p_fail(self, context: StepContext) -> float | None:
        """The probability that the episode fails; None where nothing can be told of it yet."""
        found = of_plan(context) if self.when == "steps" else of_rounds(context.evidence)
        if not found or (self.when == "steps" and context.evidence.rounds):
            return None
        return self.p_fail_of(found)

    def p_fail_of(self, features: Mapping[str, float]) -> float:
        """The same of features by name."""
        latent = self.bias
        for name, mean, std, weight in zip(
            self.features, self.mean, self.std, self.weights, strict=True
        ):
            if name in features:
                latent += weight * max(-_FAR, min(_FAR, (features[name] - mean) / std))
        return sigmoid(latent)

    def threshold(self, recall: float, confidence: float | None = None) -> float:
        """As `threshold` of the training episodes that succeeded."""
        return threshold(self.survived, recall, confidence)


def threshold(survived: Sequence[float], recall: float, confidence: float | None = None) -> float:
    """The lowest threshold that a share `recall` of the successes stay at or below in all steps.

    With a finite-sample correction: of n successes the k-th lowest is taken, with k the least for
    which a further success stays at or below

    - with a probability of at least `recall`, on average over sets of training episodes: k is at
      least recall * (n + 1) (split conformal prediction; Vovk et al. 2005), or,
    - with `confidence`, in at least that share of such sets: the lower Clopper-Pearson bound of k
      of n is at least `recall`.

    Where n is too small the threshold is infinite, and nothing is given up. In either case at least
    a share `recall` of these n stay.

    Args:
        survived: the highest p_fail of each success, told by heads that had not seen it.
        recall: share of the successes to keep.
        confidence: None for the first kind.

    Raises:
        InvalidInputError: if recall or confidence is no probability.
    """
    for name, value in (("recall", recall), ("confidence", confidence)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise InvalidInputError(f"{name} is {value}, expected 0 to 1")
    n = len(survived)
    k = max(1, _kept(n, recall, confidence))
    return sorted(survived)[k - 1] if k <= n else math.inf


def _kept(n: int, recall: float, confidence: float | None) -> int:
    """How many of n successes have to stay; n + 1 where not even all are enough."""
    if confidence is None or recall in (0.0, 1.0):
        return math.ceil(recall * (n + 1) - 1e-9)
    kept, tail = n + 1, 0.0
    for i in range(n, -1, -1):  # tail is P(X >= i) for X ~ Binomial(n, recall)
        ways = math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        tail += math.exp(ways + i * math.log(recall) + (n - i) * math.log1p(-recall))
        if tail > 1.0 - confidence:
            break
        kept = i
    return kept


@dataclass(frozen=True, slots=True)
class GivingUp(Allocator):
    """An allocator that gives the episode up where it looks hopeless, and else decides as `inner`.

    What an environment does not tell (see `amp.allocate.behaviour`) counts as average.

    Attributes:
        inner: decides the rest.
        head: tells p_fail; without one nothing is given up.
        recall: share of the would-be successes that are kept.
        confidence: of that; None to hold it on average (see `threshold`).

    Raises:
        InvalidInputError: if recall or confidence is no probability.
    """

    inner: Allocator
    head: FailureHead | None = None
    recall: float = 0.95
    confidence: float | None = None
    _threshold: float = math.inf

    def __post_init__(self) -> None:
        found = threshold(self.head.survived if self.head else (), self.recall, self.confidence)
        object.__setattr__(self, "_threshold", found)

    @property
    def uses_complexity(self) -> bool:
        return self.inner.uses_complexity

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        p_fail = None if self.head is None else self.head.p_fail(context)
        if p_fail is not None and p_fail > self._threshold:
            return Decision(
                None, give_up=f"p_fail is {p_fail:.4f}, more than {self._threshold:.4f}"
            )
        return self.inner.allocate(context, complexity)

    def with_overrides(self, fields: Mapping[str, Any]) -> GivingUp:
        return replace(self, inner=self.inner.with_overrides(fields))

    def with_limits(self, limits: Limits, costs: CostModel, tools: Mapping[str, Usage]) -> GivingUp:
        return replace(self, inner=self.inner.with_limits(limits, costs, tools))
