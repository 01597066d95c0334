"""Curves of success over cost, a point each setting of a policy, and how one compares with another.

Between two settings a curve is straight: whoever gives each task to one of them by chance gets
what lies between. Asking nothing, which costs nothing and is never right, is a setting of every
curve. A setting that costs more and is right less often than another one is not used.

Intervals are of 95 %, by drawing whole groups of tasks with all that was played on them, so both
sides of a comparison always have the same tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amp.mlp import Mask
from amp.report.stats import Array, bootstrap

RESAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class ByTask:
    """What came of a setting, one value each task.

    Attributes:
        success: share of its runs that were right.
        cost: mean of its runs.
    """

    success: Array
    cost: Array


@dataclass(frozen=True, slots=True, eq=False)
class SettingPoint:
    """A setting of a policy.

    Attributes:
        name: of the setting.
        training: on the tasks that settings are chosen on.
        test: on the others.
    """

    name: str
    training: ByTask
    test: ByTask

    def part(self, training: Mask, test: Mask) -> SettingPoint:
        """On some of the tasks."""
        halves = (self.training, training), (self.test, test)
        one, two = (ByTask(half.success[of], half.cost[of]) for half, of in halves)
        return SettingPoint(self.name, one, two)


@dataclass(frozen=True, slots=True, eq=False)
class PolicyCurve:
    """A policy at all of its settings."""

    name: str
    points: tuple[SettingPoint, ...]

    def part(self, training: Mask, test: Mask) -> PolicyCurve:
        """On some of the tasks."""
        return PolicyCurve(self.name, tuple(point.part(training, test) for point in self.points))

    def lines(self, weights: Array) -> list[CostLine]:
        """The line on test tasks under each row of weights."""
        share = weights / weights.sum(1, keepdims=True)
        success = share @ np.stack([point.test.success for point in self.points], 1)
        cost = share @ np.stack([point.test.cost for point in self.points], 1)
        return [CostLine.through(*both) for both in zip(success, cost, strict=True)]

    def choice(self, success: float) -> tuple[SettingPoint, bool]:
        """The cheapest setting that reaches a success on training tasks, and whether any does.

        If none does, the one that comes nearest.
        """
        reached = [p for p in self.points if p.training.success.mean() >= success - 1e-12]
        if reached:
            return min(reached, key=lambda point: point.training.cost.mean()), True
        return max(self.points, key=lambda point: point.training.success.mean()), False


@dataclass(frozen=True, slots=True, eq=False)
class CostLine:
    """Best success by cost; both ascend from 0."""

    success: Array
    cost: Array

    @classmethod
    def through(cls, success: Array, cost: Array) -> CostLine:
        """The line of some settings."""
        order = np.argsort(cost, kind="stable")
        best = np.maximum.accumulate(success[order])
        return cls(np.concatenate([[0.0], best]), np.concatenate([[0.0], cost[order]]))

    def success_for(self, cost: float) -> float:
        """The success that so much buys."""
        return float(np.interp(cost, self.cost, self.success))

    def cost_of(self, success: float) -> float:
        """What a success costs; infinite if it is out of reach."""
        at = int(np.searchsorted(self.success, success - 1e-12))
        if at == len(self.success):
            return float("inf")
        if at == 0:
            return float(self.cost[0])
        low, high = self.success[at - 1 : at + 1]
        share = min(1.0, (success - low) / (high - low))
        return float(self.cost[at - 1] + share * (self.cost[at] - self.cost[at - 1]))


@dataclass(frozen=True, slots=True)
class IntervalEstimate:
    """A figure and its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, resampled: Array) -> IntervalEstimate:
        """The figure of the data, and percentiles of those of its resamples."""
        # No interpolation: some resamples may be infinite.
        low, high = np.quantile(resampled, (0.025, 0.975), method="inverted_cdf")
        return cls(float(value), float(low), float(high))


@dataclass(frozen=True, slots=True)
class CurveComparison:
    """One curve beside another one.

    Attributes:
        against: name of the other.
        cost: where they are compared; None for all places together.
        success: of the other there; None likewise.
        gain: success of the one, less that of the other, at equal cost; the mean of all places.
        ratio: cost of the one by that of the other, at equal success; the geometric mean of all
            places. Infinite where the one never reaches it.
    """

    against: str
    cost: float | None
    success: float | None
    gain: IntervalEstimate
    ratio: IntervalEstimate


def versus(
    one: PolicyCurve,
    other: PolicyCurve,
    costs: Sequence[float],
    groups: Sequence[str],
) -> list[CurveComparison]:
    """Compares two curves on test tasks.

    Args:
        one: the one.
        other: the other.
        costs: where: at these costs, and at what the other reaches for them. None given: where
            the other, a single point, is.
        groups: of the test tasks.
    """

    def statistic(weights: Array) -> Array:
        found = []
        for mine, its in zip(one.lines(weights), other.lines(weights), strict=True):
            places = list(costs) or [float(its.cost[-1])]
            levels = [its.success_for(cost) for cost in places]
            gains = [mine.success_for(c) - s for c, s in zip(places, levels, strict=True)]
            ratios = [_ratio(mine.cost_of(level), its.cost_of(level)) for level in levels]
            found.append([*gains, np.mean(gains), *ratios, np.exp(np.mean(np.log(ratios)))])
        return np.array(found)

    (line,) = other.lines(np.ones((1, len(groups))))
    (value,) = statistic(np.ones((1, len(groups))))
    resampled = bootstrap(groups, statistic, RESAMPLES, 0)
    estimates = [
        IntervalEstimate.of(v, column) for v, column in zip(value, resampled.T, strict=True)
    ]
    places: list[float | None] = [*(costs or [float(line.cost[-1])]), None]
    rows = [
        CurveComparison(
            other.name,
            place,
            None if place is None else line.success_for(place),
            gain,
            ratio,
        )
        for place, gain, ratio in zip(
            places, estimates[: len(places)], estimates[len(places) :], strict=True
        )
    ]
    return rows if len(costs) > 1 else rows[:1]


def _ratio(mine: float, its: float) -> float:
    """Of two costs; something that both have for nothing costs the same."""
    if its == 0.0:
        return 1.0 if mine == 0.0 else float("inf")
    return mine / its


@dataclass(frozen=True, slots=True)
class ChosenSetting:
    """The setting of a curve that training tasks choose to reach a goal, on test tasks.

    Attributes:
        goal: name of the goal.
        curve: name of the curve.
        setting: name of the setting.
        reached: whether it reaches the goal's success on training tasks; else it comes nearest.
        success: on test tasks.
        cost: likewise.
        gain: its success less the goal's, on test tasks.
        ratio: its cost by the goal's.
    """

    goal: str
    curve: str
    setting: str
    reached: bool
    success: float
    cost: float
    gain: IntervalEstimate
    ratio: IntervalEstimate


def chosen(
    curve: PolicyCurve,
    goal: SettingPoint,
    groups: Sequence[str],
    choose: tuple[PolicyCurve, SettingPoint] | None = None,
) -> ChosenSetting:
    """What comes of the setting that training tasks choose to be as good as a goal there.

    Args:
        curve: on the tasks to show.
        goal: likewise.
        groups: of these test tasks.
        choose: curve and goal on the tasks that choose, if they are others.
    """
    own, aim = choose or (curve, goal)
    setting, reached = own.choice(float(aim.training.success.mean()))
    point = next(one for one in curve.points if one.name == setting.name)
    better = point.test.success - goal.test.success

    def statistic(weights: Array) -> Array:
        gains = (weights @ better) / weights.sum(1)
        ratios = (weights @ point.test.cost) / np.maximum(weights @ goal.test.cost, 1e-30)
        return np.stack([gains, ratios], 1)

    (value,) = statistic(np.ones((1, len(groups))))
    resampled = bootstrap(groups, statistic, RESAMPLES, 0)
    gain, ratio = (
        IntervalEstimate.of(v, column) for v, column in zip(value, resampled.T, strict=True)
    )
    return ChosenSetting(
        goal.name,
        curve.name,
        point.name,
        reached,
        float(point.test.success.mean()),
        float(point.test.cost.mean()),
        gain,
        ratio,
    )
