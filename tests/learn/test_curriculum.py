"""Easy tasks first, then all; success first, then efficiency."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amp.learn.config import PPOConfig
from amp.learn.curriculum import Curriculum, success_by_tercile, terciles_of
from amp.learn.rollout import Rollout
from amp.mlp import Floats, Ints

SETTINGS = PPOConfig(opens_at=0.6, patience=3, min_trade_off=0.2, max_trade_off=0.8)
TERCILES = np.array([0, 0, 1, 1, 2, 2])


def outcome(tasks: Ints, success: Floats, tokens: float = 1000.0) -> Rollout:
    none = np.zeros(0)
    return Rollout(
        *(none, none, none, none, none.astype(bool), none, none, tasks, tasks),
        tasks=tasks,
        trade_offs=none,
        success=success,
        cost=np.full(len(tasks), tokens),
    )


EASY_SOLVED = outcome(np.array([0, 1]), np.array([1.0, 1.0]))
EASY_FAILED = outcome(np.array([0, 1]), np.array([1.0, 0.0]))


@given(arrays(float, st.integers(1, 50), elements=st.floats(0, 1)))
def test_terciles_are_equally_large_and_no_task_is_harder_than_one_of_a_later_tercile(
    difficulties: Floats,
) -> None:
    terciles = terciles_of(difficulties)
    counts = np.bincount(terciles, minlength=3)
    assert counts.max() - counts.min() <= 1
    for early in range(2):
        easier, harder = (difficulties[terciles == part] for part in (early, early + 1))
        if len(easier) and len(harder):
            assert easier.max() <= harder.min()


def test_the_next_tercile_opens_by_success_and_each_is_played_with_those_before() -> None:
    now = Curriculum.beginning(SETTINGS)
    assert now.tasks(TERCILES).tolist() == [0, 1]
    assert now.after(EASY_FAILED, TERCILES, SETTINGS).opened == 1
    now = now.after(EASY_SOLVED, TERCILES, SETTINGS)
    assert now.tasks(TERCILES).tolist() == [0, 1, 2, 3]
    # What opens the third is success in the second.
    assert now.after(EASY_SOLVED, TERCILES, SETTINGS).opened == 2
    now = now.after(outcome(np.array([0, 2]), np.array([0.0, 1.0])), TERCILES, SETTINGS)
    assert now.tasks(TERCILES).tolist() == list(range(6))
    assert now.after(EASY_SOLVED, TERCILES, SETTINGS).opened == 3


def test_a_tercile_that_is_too_hard_to_solve_does_not_hold_up_the_training() -> None:
    now = Curriculum.beginning(SETTINGS)
    opened = []
    for _ in range(7):
        now = now.after(EASY_FAILED, TERCILES, SETTINGS)
        opened.append(now.opened)
    assert opened == [1, 1, 2, 2, 2, 3, 3]


def test_without_a_curriculum_all_tasks_are_open() -> None:
    now = Curriculum.beginning(SETTINGS.replace(curriculum=False))
    assert now.tasks(TERCILES).tolist() == list(range(6))


def test_the_trade_off_moves_towards_efficiency_and_keeps_success() -> None:
    now = Curriculum.beginning(SETTINGS)
    ranges = [now.trade_offs(SETTINGS, progress) for progress in (0.0, 0.15, 0.3, 1.0)]
    assert [low for low, _ in ranges] == pytest.approx([0.8, 0.5, 0.2, 0.2])
    assert {high for _, high in ranges} == {0.8}
    at_once = SETTINGS.replace(efficiency_from=0.0)
    assert now.trade_offs(at_once, 0.0) == pytest.approx((0.2, 0.8))


def test_dual_ascent_holds_one_trade_off_and_moves_it_by_the_cost() -> None:
    settings = SETTINGS.replace(dual_rate=0.1, reference_cost=1000.0)
    now = Curriculum.beginning(settings)
    assert now.trade_offs(settings, 0.5) == (0.8, 0.8)
    dear = now.after(replace(EASY_SOLVED, cost=np.full(2, 2000.0)), TERCILES, settings)
    cheap = now.after(replace(EASY_SOLVED, cost=np.full(2, 500.0)), TERCILES, settings)
    assert dear.trade_off < now.trade_off < cheap.trade_off


def test_success_is_told_by_tercile() -> None:
    rollout = outcome(np.array([0, 1, 4]), np.array([1.0, 0.0, 0.5]))
    assert success_by_tercile(rollout, TERCILES) == [0.5, None, 0.5]
