"""What a router is said to be worth: laws of playing tasks that it has not learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.learn.test_routing import made_pool

from amp.allocate.router import Known
from amp.cost import Cost
from amp.learn import router_training
from amp.learn.router_training import HeldOut, play_held_out
from amp.learn.routing import RoutingSettings, begun, learn_from
from amp.simulate.pool_draws import Draws, draw
from amp.types import Allocation

SETTINGS = RoutingSettings(depth=3, samples=2, orders=2, trade_offs=(0.1, 0.5, 0.9, 0.99))
UNITS: tuple[Cost, ...] = ("tokens", "dollars")


def played(tasks: int = 60, **changes: Any) -> HeldOut:
    pool = made_pool(tasks, samples=2)
    arms = {arm.name: Allocation(model=arm.name) for arm in pool.arms}
    by_unit = {unit: draw(pool, 2, 1, unit) for unit in UNITS}
    return play_held_out(draw(pool, 2, 0), by_unit, arms, replace(SETTINGS, **changes))


def test_no_task_is_played_by_a_router_that_has_learned_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: list[set[str]] = []
    played_by: list[set[str]] = []

    def learning(draws: Draws, arms: Mapping[str, Allocation], settings: RoutingSettings) -> Any:
        learned.append({task.id for task in draws.pool.tasks})
        return learn_from(draws, arms, settings)

    def beginning(router: Any, pool: Any, draws: Draws) -> Known:
        played_by.append({draws.pool.tasks[at].id for at in draws.task.tolist()})
        return begun(router, pool, draws)

    monkeypatch.setattr(router_training, "learn_from", learning)
    monkeypatch.setattr(router_training, "begun", beginning)
    played()
    folds = played_by[:: len(UNITS)]
    assert len(learned) == len(folds) == SETTINGS.folds
    assert all(not one & other for one, other in zip(learned, folds, strict=True))
    assert set.union(*folds) == {f"t{i}" for i in range(60)}
    assert sum(map(len, folds)) == 60


def test_a_curve_has_every_trade_off_and_both_units() -> None:
    found = played()
    assert [point.trade_off for point in found.curve] == list(SETTINGS.trade_offs)
    assert all(point.dollars is not None and point.tokens > 0.0 for point in found.curve)
    assert found.curve[0].dollars == pytest.approx(float(found.costs["dollars"][0]))
    # Both arms with two samples each, of which one is right nine times in ten.
    assert 0.5 < found.fixed <= 1.0
    assert found.success.max() > found.success.min()


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 10.0)), min_size=1, max_size=6),
    st.floats(0.0, 1.0),
)
def test_the_cheapest_that_is_right_often_enough_is_taken(
    points: list[tuple[float, float]], fixed: float
) -> None:
    success, cost = (np.array(column) for column in zip(*points, strict=True))
    trade_offs = np.linspace(0.1, 0.9, len(points))
    found = HeldOut(trade_offs, success, {"tokens": cost}, fixed)
    at = int(np.flatnonzero(trade_offs == found.cheapest("tokens"))[0])
    enough = success >= fixed
    if enough.any():
        assert enough[at]
        assert cost[at] == cost[enough].min()
    else:
        assert success[at] == success.max()


def test_rows_of_some_tasks_are_those_of_a_pool_of_these_alone() -> None:
    draws = draw(made_pool(30), 3, 0)
    wanted = np.array([3, 4, 17])
    part = draws.of_tasks(wanted)
    assert [task.id for task in part.pool.tasks] == ["t3", "t4", "t17"]
    rows = np.flatnonzero(np.isin(draws.task, wanted))
    assert (wanted[part.task] == draws.task[rows]).all()
    assert (part.answer == draws.answer[rows]).all()
    assert (part.cost == draws.cost[rows]).all()
