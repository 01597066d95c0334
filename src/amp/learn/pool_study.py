"""A study of one pool: a router learned on half of the tasks, beside rules tuned on the same half.

Nothing is chosen on the other half. Of the rules, what they reach on the training half decides
which settings are kept (`amp.simulate.pool_rules.envelope`); of the router, what routers learned on
three quarters of it reach on the last quarter, since what it reaches on tasks that it has learned
from says little. The rules' estimates of P(right) come of other quarters for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from amp.allocate.router import Router
from amp.errors import InvalidInputError
from amp.learn.pool_config import PoolStudyConfig
from amp.learn.priors import describe
from amp.learn.routing import RoutingSettings, begun, folds, learn_router
from amp.mlp import Floats, Ints, Mask
from amp.pools.pool import Pool
from amp.report.curve_pages import CurveReport, PartReport, Shown
from amp.report.curves import ByTask, CurveComparison, PolicyCurve, SettingPoint, chosen, versus
from amp.simulate.pool_draws import Draws, Outcome, draw, follow
from amp.simulate.pool_rules import (
    RouteByChance,
    Rows,
    Rule,
    Vote,
    cascades,
    chains,
    envelope,
    neighbours,
    oracle,
    rates_by_kind,
    split_half,
)

LEARNED = "learned"
"""Name of the router's curve."""
_OF_PARTS = (LEARNED, "cascade")
"""Policies that are shown on parts of the tasks."""
QUARTERS = 4
TEST_SEED, TRAINING_SEED = 99, 7
"""Of the orders of samples."""
_MOST_VOTES = 9
_PLACES = 6
_BOUNDS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
"""Trade-offs of the split-half oracle."""


@dataclass(frozen=True, slots=True, eq=False)
class PoolStudy:
    """What a study finds.

    Attributes:
        config: how it was made.
        training: the tasks that everything was learned, tuned and chosen on.
        test: the others.
        router: the learned policy.
        curves: that of the router (`LEARNED`), then those of the rules.
        singles: one sample of each arm.
        votes: so many samples of the dear arm as the configuration says.
        bounds: what no policy can reach: the oracle, and where arms have several samples what
            knowing each task's best arm is worth (`amp.simulate.pool_rules.split_half`).
    """

    config: PoolStudyConfig
    training: Pool
    test: Pool
    router: Router
    curves: tuple[PolicyCurve, ...]
    singles: tuple[SettingPoint, ...]
    votes: SettingPoint
    bounds: tuple[PolicyCurve, ...]

    @property
    def best_single(self) -> SettingPoint:
        """The arm that is right most often on training tasks."""
        return max(self.singles, key=lambda point: point.training.success.mean())

    @property
    def places(self) -> list[float]:
        """Costs at which curves are compared: from the cheapest arm to the dearest or its votes.

        In equal steps of the logarithm, both ends left out; costs on training tasks.
        """
        costs = [point.training.cost.mean() for point in (*self.singles, self.votes)]
        low, high = min(cost for cost in costs if cost > 0.0), max(costs)
        return [float(cost) for cost in np.geomspace(low, high, _PLACES + 2)[1:-1]]


Learn = Callable[[Pool, RoutingSettings], Router]
"""Learns a router from tasks."""


def study_pool(
    config: PoolStudyConfig,
    pool: Pool,
    on_stage: Callable[[str], None] = lambda stage: None,
    learn: Learn | None = None,
) -> PoolStudy:
    """Learns, tunes, and plays everything on both halves.

    Args:
        config: how.
        pool: of `amp.learn.pool_config.load_studied_pool`.
        on_stage: called with what is done now.
        learn: how the router is learned; None for `learn_router` with the configuration's check.

    Raises:
        InvalidInputError: if there are too few tasks, or no samples of an arm in a half.
    """
    one, two = pool.halves()
    if not len(two):
        raise InvalidInputError(f"pool {pool.name} has no tasks to test on; it needs more groups")
    training, test = pool.part(one), pool.part(two)
    learn = learn or partial(learn_router, check=config.exact)
    on_stage("learning the router")
    router = learn(training, config.routing)
    halves, followed = _halves(config, router, learn, training, test, on_stage)
    names = [arm.name for arm in pool.arms]
    settings = zip(config.routing.trade_offs, followed, strict=True)
    outside = halves.test
    points = [
        SettingPoint(
            f"trade-off {trade_off:g}",
            played,
            _by_task(
                follow(router.with_trade_off(trade_off), outside.draws, outside.begun),
                outside.draws,
            ),
        )
        for trade_off, played in settings
    ]
    curves = [PolicyCurve(LEARNED, tuple(points))]
    for name, rules in _families(config, names, halves.training).items():
        on_stage(f"tuning: {name}")
        kept = envelope(rules, halves.training)
        curves.append(PolicyCurve(name, tuple(halves.point(one.rule) for one in kept)))
    return PoolStudy(
        config,
        training,
        test,
        router,
        tuple(curves),
        tuple(halves.point(_Answered(Vote(arm, name, 1))) for arm, name in enumerate(names)),
        halves.point(_Answered(Vote(names.index(config.dear), config.dear, config.votes))),
        tuple(_bounds(halves, router.reference)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Halves:
    """What rules are played on, of training and of test tasks."""

    training: Rows
    test: Rows

    def point(self, rule: Rule) -> SettingPoint:
        both = (self.training, self.test)
        one, two = (_by_task(rule.play(rows), rows.draws) for rows in both)
        return SettingPoint(rule.name, one, two)


def _by_task(outcome: Outcome, draws: Draws) -> ByTask:
    """Means of the rows of each task."""
    count = np.maximum(1, np.bincount(draws.task, minlength=len(draws.pool.tasks)))
    right, cost = (
        np.bincount(draws.task, values, minlength=len(count)) / count
        for values in (outcome.right.astype(float), outcome.cost)
    )
    return ByTask(right, cost)


def _halves(
    config: PoolStudyConfig,
    router: Router,
    learn: Learn,
    training: Pool,
    test: Pool,
    on_stage: Callable[[str], None],
) -> tuple[_Halves, list[ByTask]]:
    """What rules are played on, and what routers of other quarters reach on training tasks."""
    cost, check = config.routing.cost, config.exact
    inside = draw(training, config.training_orders, TRAINING_SEED, cost, check)
    outside = draw(test, config.orders, TEST_SEED, cost, check)
    settings = replace(config.routing, reference_cost=router.reference)
    quarter = folds(training, QUARTERS)
    known, told = begun(router, training, inside), begun(router, test, outside)
    found = {"logistic": (known.chances.copy(), told.chances)}
    outcomes = [
        Outcome(
            np.zeros(len(inside.task), np.bool_),
            np.zeros(len(inside.task)),
            np.zeros(known.taken.shape, np.intp),
        )
        for _ in settings.trade_offs
    ]
    for each in range(QUARTERS):
        on_stage(f"learning without quarter {each + 1} of {QUARTERS}")
        other = learn(training.part(np.flatnonzero(quarter != each)), settings)
        rows = np.flatnonzero(quarter[inside.task] == each)
        part = inside.part(rows)
        start = begun(other, training, part)
        found["logistic"][0][rows] = start.chances
        for outcome, trade_off in zip(outcomes, settings.trade_offs, strict=True):
            followed = follow(other.with_trade_off(trade_off), part, start)
            outcome.right[rows], outcome.cost[rows] = followed.right, followed.cost
            outcome.taken[rows] = followed.taken
    on_stage("estimates of the rules")
    for name, (one, two) in _estimates(config, router, training, test, quarter).items():
        found[name] = one[inside.task], two[outside.task]
    known = replace(known, chances=found["logistic"][0])
    halves = _Halves(
        Rows(inside, known, router.voices, {name: both[0] for name, both in found.items()}),
        Rows(outside, told, router.voices, {name: both[1] for name, both in found.items()}),
    )
    return halves, [_by_task(outcome, inside) for outcome in outcomes]


def _estimates(
    config: PoolStudyConfig, router: Router, training: Pool, test: Pool, quarter: Ints
) -> Mapping[str, tuple[Floats, Floats]]:
    """P(right) of each arm by task, of training tasks (by the other quarters) and of test tasks."""
    there: Mask = np.asarray(training.there.any(2))
    rates = (training.right & training.there).sum(2) / np.maximum(1, training.there.sum(2))
    found = {}
    if "neighbours" in config.rules:
        one, two = (describe(pool, router.descriptors)[0][:, 1:] for pool in (training, test))
        held = np.zeros(rates.shape)
        for each in range(QUARTERS):
            out = quarter == each
            held[out] = neighbours(one[~out], rates[~out], there[~out], one[out])
        found["neighbours"] = held, neighbours(one, rates, there, two)
    if "kind" in config.rules:
        names, asked = ([task.kind for task in pool.tasks] for pool in (training, test))
        held = np.zeros(rates.shape)
        for each in range(QUARTERS):
            inside, outside = np.flatnonzero(quarter != each), np.flatnonzero(quarter == each)
            held[outside] = rates_by_kind(
                [names[at] for at in inside],
                rates[inside],
                there[inside],
                [names[at] for at in outside],
            )
        found["kind"] = held, rates_by_kind(names, rates, there, asked)
    return found


def _families(
    config: PoolStudyConfig, names: list[str], rows: Rows
) -> Mapping[str, Iterable[Rule]]:
    """The rules to tune, by family."""
    samples, prices = rows.draws.samples, rows.begun.prices.mean(0)
    votes = [
        Vote(arm, name, count)
        for arm, name in enumerate(names)
        for count in range(1, min(_MOST_VOTES, samples[arm]) + 1)
    ]
    made: dict[str, Iterable[Rule]] = {
        "votes": votes,
        # One arm alone is a cascade, too: no worse than votes where nothing can agree.
        "cascade": [*votes, *cascades(names, samples, prices)],
        "chain": chains(names, samples, prices),
    }
    for estimate in ("logistic", "neighbours", "kind"):
        made[estimate] = [RouteByChance(estimate, each) for each in config.routing.trade_offs]
    return {name: [_Answered(rule) for rule in made[name]] for name in config.rules}


@dataclass(frozen=True, slots=True)
class _Answered:
    """A rule that has to answer: where its arms were never asked, the cheapest that was does.

    A router asks somebody, too; else a rule would leave out, for nothing, tasks of its choice.
    """

    rule: Rule

    @property
    def name(self) -> str:
        return self.rule.name

    def play(self, rows: Rows) -> Outcome:
        draws, outcome = rows.draws, self.rule.play(rows)
        silent = np.flatnonzero(outcome.taken.sum(1) == 0)
        if not len(silent):
            return outcome
        arm = np.where(draws.there.any(2), rows.begun.prices, np.inf).argmin(1)[silent]
        right, cost, taken = outcome.right.copy(), outcome.cost.copy(), outcome.taken.copy()
        right[silent] = draws.right[silent, arm, 0]
        cost[silent] = draws.cost[silent, arm, 0]
        taken[silent, arm] = 1
        return Outcome(right, cost, taken)


@dataclass(frozen=True, slots=True)
class _Oracle:
    name: str = "cheapest right sample"

    def play(self, rows: Rows) -> Outcome:
        return oracle(rows.draws)


@dataclass(frozen=True, slots=True)
class _SplitHalf:
    trade_off: float
    reference: float

    @property
    def name(self) -> str:
        return f"trade-off {self.trade_off:g}"

    def play(self, rows: Rows) -> Outcome:
        return split_half(rows.draws, self.trade_off, self.reference)


def _bounds(halves: _Halves, reference: float) -> list[PolicyCurve]:
    found = [PolicyCurve("oracle", (halves.point(_Oracle()),))]
    if min(*halves.training.draws.samples, *halves.test.draws.samples) > 1:
        points = [halves.point(_SplitHalf(each, reference)) for each in _BOUNDS]
        found.append(PolicyCurve("split-half oracle", tuple(points)))
    return found


def compare_study(study: PoolStudy) -> CurveReport:
    """Compares the learned policy with single arms, votes and the rules, on test tasks."""
    config, costs = study.config, study.places
    groups = [task.group for task in study.test.tasks]
    learned, *rules = study.curves
    every = np.ones((1, len(groups)))
    others = [row for rule in rules for row in versus(learned, rule, costs, groups)]
    reached = {c.name: c.lines(every)[0] for c in (*study.curves, *study.bounds)}
    settings = config.routing
    dollars = settings.cost == "dollars"
    return CurveReport(
        study.test.name,
        "µ$" if dollars else "tokens",
        1e-6 if dollars else 1.0,
        config.orders,
        (TRAINING_SEED, TEST_SEED, settings.seed),
        tuple(costs),
        {curve.name: _shown(curve) for curve in study.curves},
        {name: tuple(map(line.success_for, costs)) for name, line in reached.items()},
        {curve.name: _shown(curve) for curve in study.bounds},
        (
            _part(study, "all tasks", None, others),
            *(_part(study, name, kinds) for name, kinds in config.parts.items()),
        ),
    )


def _shown(curve: PolicyCurve) -> tuple[Shown, ...]:
    return tuple(
        Shown(
            point.name,
            *(float(values.mean()) for values in (point.training.success, point.training.cost)),
            *(float(values.mean()) for values in (point.test.success, point.test.cost)),
        )
        for point in curve.points
    )


def _part(
    study: PoolStudy, name: str, kinds: Sequence[str] | None, others: Sequence[CurveComparison] = ()
) -> PartReport:
    """What was found on the tasks of some kinds; None for all."""
    masks = [
        np.array([kinds is None or task.kind in kinds for task in pool.tasks])
        for pool in (study.training, study.test)
    ]
    groups = [task.group for task in study.test.tasks if kinds is None or task.kind in kinds]
    goals = {goal.name: goal for goal in (study.best_single, study.votes)}
    choices, beside = [], []
    for whole in goals.values():
        goal = whole.part(*masks)
        for curve in study.curves:
            if kinds is None or curve.name in _OF_PARTS:
                own = curve.part(*masks)
                choices.append(chosen(own, goal, groups, (curve, whole)))
        learned = study.curves[0].part(*masks)
        beside += versus(learned, PolicyCurve(goal.name, (goal,)), (), groups)
    return PartReport(
        name,
        int(masks[0].sum()),
        int(masks[1].sum()),
        len(set(groups)),
        tuple(choices),
        tuple(beside),
        tuple(others),
    )
