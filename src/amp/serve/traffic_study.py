"""Learns a router from a pool of the gateway's traffic, and says what to expect of it.

What is expected comes of routers that were learned on four fifths of the episodes and played on the
last one, each fifth in turn; it is of the calls that the dear arm and another one answered, since
on others nobody knows what would have been saved.

NOT covered: an arm that was not asked on a call can't be chosen there, so with three arms or more,
of which shadows ask one, what is expected is less than what the policy does once it is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from amp.allocate.policy_file import CurvePoint
from amp.allocate.router import Router
from amp.errors import InvalidInputError
from amp.learn.routing import RoutingSettings, begun, folds, learn_router
from amp.pools.pool import Ints, Mask, Pool
from amp.report.curves import Estimate
from amp.report.metrics import wilson
from amp.report.stats import RESAMPLES, Array, bootstrap
from amp.serve.learned import cheapest_of
from amp.serve.traffic_pool import LEAST_CALLS, require_calls
from amp.simulate.draws import draw, follow

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class ArmReport:
    """What is known of one arm.

    Attributes:
        name: of the arm.
        calls: that it answered, among those of which something is known.
        right: share of its answers that are right.
        compared: of them, those that the dear arm answered as well.
        saves: share of the dear arm's cost that it saves on these; None for the dear arm itself.
    """

    name: str
    calls: int
    right: Estimate
    compared: int
    saves: Estimate | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What routers reach on calls that they have not learned from, at a trade-off.

    Attributes:
        point: as the policy's file has it.
        success: share of right answers.
        saves: share of the dear arm's cost.
    """

    point: CurvePoint
    success: Estimate
    saves: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class TrafficStudy:
    """What traffic teaches.

    Attributes:
        pool: what was learned on.
        router: learned on all of it.
        compared: calls that the dear arm and another one answered; what is expected is of these.
        arms: by price, the dear one last.
        expected: by trade-off.
    """

    pool: Pool
    router: Router
    compared: int
    arms: tuple[ArmReport, ...]
    expected: tuple[Expected, ...]

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """What is expected by trade-off."""
        return tuple(each.point for each in self.expected)

    @property
    def chosen(self) -> Expected:
        """Where the policy runs unless it is told otherwise."""
        point = cheapest_of(self.curve)
        return next(each for each in self.expected if each.point == point)


def study_traffic(
    pool: Pool,
    cost: str | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> TrafficStudy:
    """Learns a router on a pool of traffic, and says by cross-validation what to expect of it.

    Args:
        pool: of `amp.serve.traffic_pool.pool_of`, without questions.
        cost: what is paid; None for dollars where anything has a price, else tokens.
        on_stage: called with what is done now.

    Raises:
        InvalidInputError: if there is no such cost, too few calls were answered by two arms, or
            they are of too few episodes.
    """
    if cost not in (None, "dollars", "tokens"):
        raise InvalidInputError(f"cost is {cost!r}, expected dollars or tokens of traffic")
    priced = cost == "dollars" or (cost is None and np.nansum(pool.dollars) > 0.0)
    unit: Literal["dollars", "tokens"] = "dollars" if priced else "tokens"
    settings = RoutingSettings(cost=unit, depth=1, samples=1, orders=1, folds=_FOLDS)
    there = pool.there[:, :, 0]
    pairs: Mask = there[:, -1] & (there.sum(1) > 1)
    require_calls(int(pairs.sum()), LEAST_CALLS // 2, f"{pool.name}, where two arms answered,")
    on_stage("learning on all calls")
    router = learn_router(pool, settings)
    chosen = _held_out(pool, replace(settings, reference_cost=router.reference), on_stage)
    on_stage("intervals")
    rows = np.flatnonzero(pairs)
    return TrafficStudy(
        pool,
        router,
        len(rows),
        tuple(_arm_report(pool, arm, unit) for arm in range(len(pool.arms))),
        tuple(_expected(pool, rows, settings, chosen[:, rows])),
    )


def _held_out(pool: Pool, settings: RoutingSettings, on_stage: Callable[[str], None]) -> Ints:
    """Shape (trade-offs, tasks), the arm that routers of the other episodes ask."""
    fold = folds(pool, _FOLDS)
    chosen = np.zeros((len(settings.trade_offs), len(pool.tasks)), np.intp)
    for each in range(_FOLDS):
        on_stage(f"learning without fifth {each + 1} of {_FOLDS}")
        other = learn_router(pool.part(np.flatnonzero(fold != each)), settings)
        out = np.flatnonzero(fold == each)
        part = pool.part(out)
        draws = draw(part, 1, 0, settings.cost)
        start = begun(other, part, draws)
        for at, trade_off in enumerate(settings.trade_offs):
            taken = follow(other.with_trade_off(trade_off), draws, start).taken
            chosen[at, out] = taken.argmax(1)
    return chosen


def _paid(pool: Pool, cost: str) -> Array:
    """Shape (tasks, arms), NaN where an arm was not asked."""
    found = pool.dollars if cost == "dollars" else pool.prompt_tokens + pool.completion_tokens
    return np.asarray(found[:, :, 0])


def _arm_report(pool: Pool, arm: int, cost: str) -> ArmReport:
    there = pool.there[:, arm, 0]
    groups = [task.group for task in pool.tasks]
    rows = np.flatnonzero(there)
    both = np.flatnonzero(there & pool.there[:, -1, 0])
    paid = _paid(pool, cost)
    saves = None
    if arm < len(pool.arms) - 1 and len(both):
        (saves,) = _savings([groups[row] for row in both], paid[both, -1], paid[both, arm][None])
    right = _rate([groups[row] for row in rows], pool.right[rows, arm, 0])
    return ArmReport(pool.arms[arm].name, len(rows), right, len(both), saves)


def _expected(
    pool: Pool, rows: Ints, settings: RoutingSettings, chosen: Ints
) -> Iterator[Expected]:
    """What came of the arms that were chosen on some tasks at each trade-off."""
    groups = [pool.tasks[row].group for row in rows]
    dollars, tokens = (_paid(pool, unit)[rows] for unit in ("dollars", "tokens"))
    paid = dollars if settings.cost == "dollars" else tokens
    each = np.arange(len(rows))
    savings = _savings(groups, paid[:, -1], np.stack([paid[each, arm] for arm in chosen]))
    for trade_off, arm, saves in zip(settings.trade_offs, chosen, savings, strict=True):
        right = pool.right[rows, arm, 0]
        price = float(dollars[each, arm].mean()) if dollars.any() else None
        point = CurvePoint(trade_off, float(tokens[each, arm].mean()), float(right.mean()), price)
        yield Expected(point, _rate(groups, right), saves)


def _rate(groups: Sequence[str], right: Mask) -> Estimate:
    """A share, and Wilson's interval as if each episode were one call.

    That is too wide rather than too narrow, and says something where all calls agree.
    """
    rate, count = float(right.mean()), len(set(groups))
    interval = wilson(rate * count, count)
    return Estimate(rate, interval.low, interval.high)


def _savings(groups: Sequence[str], dear: Array, own: Array) -> list[Estimate]:
    """The share of a cost that each of others saves, over resamples of the episodes.

    Args:
        groups: the episode of each call.
        dear: shape (calls,).
        own: shape (others, calls).
    """

    def saved(weights: Array) -> Array:
        return np.asarray(1.0 - (weights @ own.T) / np.maximum(weights @ dear, 1e-30)[:, None])

    (values,) = saved(np.ones((1, len(groups))))
    resampled = bootstrap(groups, saved, RESAMPLES, 0)
    return [
        Estimate.of(value, column)
        for value, column in zip(values.tolist(), resampled.T, strict=True)
    ]
