"""What a study of a pool says: the learned policy beside single arms, votes and the rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amp.learn.pool_study import LEARNED, TEST_SEED, TRAINING_SEED, PoolStudy
from amp.report.curve_pages import CurveReport, PartReport, Shown
from amp.report.curves import Curve, Versus, chosen, versus

_OF_PARTS = (LEARNED, "cascade")
"""Policies that are shown on parts of the tasks."""


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


def _shown(curve: Curve) -> tuple[Shown, ...]:
    return tuple(
        Shown(
            point.name,
            *(float(values.mean()) for values in (point.training.success, point.training.cost)),
            *(float(values.mean()) for values in (point.test.success, point.test.cost)),
        )
        for point in curve.points
    )


def _part(
    study: PoolStudy, name: str, kinds: Sequence[str] | None, others: Sequence[Versus] = ()
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
        beside += versus(learned, Curve(goal.name, (goal,)), (), groups)
    return PartReport(
        name,
        int(masks[0].sum()),
        int(masks[1].sum()),
        len(set(groups)),
        tuple(choices),
        tuple(beside),
        tuple(others),
    )
