"""Learns a router from a pool of the gateway's traffic, and says what to expect of it.

Of a call it is known how one arm did, drawn by chance, and what a policy would have chosen may be
another one. So a value is what the router itself expects of the chosen arm, and where that is the
arm of which something is known, as much more as the truth differs, weighted by how rarely that is
so (the doubly robust estimate of Dudik, Langford and Li 2011). What the router expects comes of
routers that were learned on the other four fifths of the episodes.

NOT covered: outcomes of a gateway whose policy decided are not drawn by chance. Among calls of one
kind they are taken as if they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from amp.allocate.policy_file import CurvePoint
from amp.allocate.router import Router
from amp.errors import InvalidInputError
from amp.learn.priors import describe
from amp.learn.routing import RoutingSettings, folds, learn_router
from amp.mlp import Floats, Ints
from amp.pools.pool import Pool
from amp.report.curves import IntervalEstimate
from amp.report.stats import RESAMPLES, Array, bootstrap
from amp.serve.decide.learned import worth_alone
from amp.serve.traffic.pool import TrafficPool

MAY_LOSE = 0.02
"""Success that a policy may lose for less cost, unless the client wishes otherwise."""

SURE = 0.8
"""How surely it is to lose no more."""

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """What comes of an arm, or of the policy at a trade-off, if it answers every call.

    Attributes:
        name: of the arm; the trade-off.
        judged: calls of which it is known how the arm did; of those that the policy would choose,
            how the chosen one did.
        success: how often it does what the call needs.
        saves: share of the cost that the dear arm would have.
        loses: success that is lost at most beside the dear arm, with a probability of `SURE`.
        point: as the policy's file has it.
    """

    name: str
    judged: int
    success: IntervalEstimate
    saves: IntervalEstimate
    loses: float
    point: CurvePoint


@dataclass(frozen=True, slots=True, eq=False)
class TrafficStudy:
    """What traffic teaches.

    Attributes:
        traffic: what was learned on.
        router: learned on all of it.
        arms: each alone, by price, the dear one last.
        expected: the policy by trade-off, on calls that it was not learned from.
    """

    traffic: TrafficPool
    router: Router
    arms: tuple[Expected, ...]
    expected: tuple[Expected, ...]

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """What is expected by trade-off."""
        return tuple(each.point for each in self.expected)

    def chosen(self, may_lose: float = MAY_LOSE) -> Expected | None:
        """Where the policy runs unless it is told otherwise: the cheapest that is good enough.

        Args:
            may_lose: success beside the dear arm; None comes back if nothing is known to lose as
                little.
        """
        good = [each for each in self.expected if each.loses <= may_lose + 1e-9]
        return max(good, key=lambda each: each.saves.value, default=None)


def study_traffic(
    traffic: TrafficPool,
    cost: str | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> TrafficStudy:
    """Learns a router on a pool of traffic, and says by cross-validation what to expect of it.

    Args:
        traffic: of `amp.serve.traffic.pool.pool_of`, without questions.
        cost: what is paid; None for dollars where anything has a price, else tokens.
        on_stage: called with what is done now.

    Raises:
        InvalidInputError: if there is no such cost, or the calls are of too few episodes.
    """
    if cost not in (None, "dollars", "tokens"):
        raise InvalidInputError(f"cost is {cost!r}, expected dollars or tokens of traffic")
    pool = traffic.pool
    priced = cost == "dollars" or (cost is None and np.nansum(pool.dollars) > 0.0)
    unit: Literal["dollars", "tokens"] = "dollars" if priced else "tokens"
    settings = RoutingSettings(cost=unit, depth=1, samples=1, orders=1, folds=_FOLDS)
    on_stage("learning on all calls")
    router = learn_router(pool, settings)
    settings = replace(settings, reference_cost=router.reference)
    held = _held_out(traffic, settings, on_stage)
    on_stage("intervals")
    trade_offs = settings.trade_offs
    alone = np.repeat(np.arange(len(pool.arms))[:, None], len(pool.tasks), 1)
    return TrafficStudy(
        traffic,
        router,
        _expected(traffic, held, alone, [(arm.name, 0.0) for arm in pool.arms], unit),
        _expected(traffic, held, held.chosen, [(f"{at:g}", at) for at in trade_offs], unit),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _HeldOut:
    """What routers expect of calls that they were not learned from.

    Attributes:
        chances: shape (tasks, arms), of success.
        tokens: shape (tasks, arms).
        dollars: likewise.
        chosen: shape (trade-offs, tasks), the arm.
    """

    chances: Floats
    tokens: Floats
    dollars: Floats
    chosen: Ints


def _held_out(
    traffic: TrafficPool, settings: RoutingSettings, on_stage: Callable[[str], None]
) -> _HeldOut:
    pool = traffic.pool
    fold, shape = folds(pool, _FOLDS), (len(pool.tasks), len(pool.arms))
    chances, tokens, dollars = (np.zeros(shape) for _ in range(3))
    chosen = np.zeros((len(settings.trade_offs), shape[0]), np.intp)
    for each in range(_FOLDS):
        on_stage(f"learning without fifth {each + 1} of {_FOLDS}")
        rest, out = pool.part(np.flatnonzero(fold != each)), np.flatnonzero(fold == each)
        router = learn_router(rest, settings)
        known = router.begin(*describe(pool.part(out), router.descriptors))
        chances[out] = known.chances
        tokens[out], dollars[out] = (_means(rest, unit) for unit in ("tokens", "dollars"))
        expected = known.prices * router.reference
        (tokens if settings.cost == "tokens" else dollars)[out] = expected
        for at, trade_off in enumerate(settings.trade_offs):
            chosen[at, out] = worth_alone(router.with_trade_off(trade_off), known).argmax(1)
    return _HeldOut(chances, tokens, dollars, chosen)


def _paid(pool: Pool, unit: str) -> Floats:
    """Shape (tasks, arms), NaN where an arm was not judged."""
    found = pool.dollars if unit == "dollars" else pool.prompt_tokens + pool.completion_tokens
    return np.asarray(found[:, :, 0])


def _means(pool: Pool, unit: str) -> Floats:
    """Shape (arms,)."""
    return np.asarray(np.nanmean(_paid(pool, unit), 0))


def _expected(
    traffic: TrafficPool,
    held: _HeldOut,
    chosen: Ints,
    names: Sequence[tuple[str, float]],
    unit: str,
) -> tuple[Expected, ...]:
    """What comes of choices, shape (choices, tasks), each on all calls.

    Args:
        traffic: the calls.
        held: what is expected of them.
        chosen: the arm by choice and call.
        names: of the choices, and their trade-offs.
        unit: of the cost.
    """
    pool, groups = traffic.pool, [task.group for task in traffic.pool.tasks]
    success = _values(traffic, held.chances, pool.right[:, :, 0].astype(float), chosen)
    costs = {
        "tokens": _values(traffic, held.tokens, _paid(pool, "tokens"), chosen),
        "dollars": _values(traffic, held.dollars, _paid(pool, "dollars"), chosen),
    }
    last = np.full((1, len(groups)), len(pool.arms) - 1)
    best = _values(traffic, held.chances, pool.right[:, :, 0].astype(float), last)
    dear = traffic.dear_dollars if unit == "dollars" else traffic.dear_tokens
    if np.isnan(dear).any():  # then that is an estimate, too
        expected = held.dollars if unit == "dollars" else held.tokens
        (dear,) = _values(traffic, expected, _paid(pool, unit), last)

    def statistic(weights: Array) -> Array:
        both = np.concatenate([success, best])
        means = np.clip((weights @ both.T) / weights.sum(1)[:, None], 0.0, 1.0)
        saved = 1.0 - (weights @ costs[unit].T) / np.maximum(weights @ dear, 1e-30)[:, None]
        return np.concatenate([means[:, :-1], saved, means[:, -1:] - means[:, :-1]], 1)

    (found,) = statistic(np.ones((1, len(groups))))
    resampled = bootstrap(groups, statistic, RESAMPLES, 0)
    estimates = [
        IntervalEstimate.of(v, c) for v, c in zip(found.tolist(), resampled.T, strict=True)
    ]
    lost = np.quantile(resampled[:, 2 * len(names) :], SURE, 0)
    rows = []
    for at, (name, trade_off) in enumerate(names):
        rate, saves = estimates[at], estimates[len(names) + at]
        dollars = float(costs["dollars"][at].mean()) if unit == "dollars" else None
        point = CurvePoint(trade_off, float(costs["tokens"][at].mean()), rate.value, dollars)
        judged = int((chosen[at] == traffic.arm).sum())
        rows.append(Expected(name, judged, rate, saves, float(lost[at]), point))
    return tuple(rows)


def _values(traffic: TrafficPool, expected: Floats, true: Floats, chosen: Ints) -> Floats:
    """Shape (choices, tasks), the doubly robust value of each choice on each call."""
    tasks, own = np.arange(len(traffic.arm)), traffic.arm
    surprise = (true[tasks, own] - expected[tasks, own]) / _shares(traffic)
    return np.asarray(expected[tasks, chosen] + (chosen == own) * surprise)


def _shares(traffic: TrafficPool) -> Floats:
    """Shape (tasks,), how often the arm that is known of a call is known of calls of its kind."""
    kinds = [task.kind for task in traffic.pool.tasks]
    pairs = list(zip(kinds, traffic.arm.tolist(), strict=True))
    of_pair, of_kind = Counter(pairs), Counter(kinds)
    return np.array([of_pair[pair] / of_kind[pair[0]] for pair in pairs])
