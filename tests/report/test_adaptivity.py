"""Adaptivity: known policies, coverage over tasks, and reasons where nothing varies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from amp.errors import InvalidInputError
from amp.report.adaptivity import AllocatedAmount, rank_correlations


def make(
    rng: np.random.Generator, tasks: int, effect: float, each: int = 1
) -> list[AllocatedAmount]:
    """Tasks of even difficulty, of which eight samples tell; more is spent on harder ones."""
    rows = []
    for task in range(tasks):
        difficulty = rng.random()
        for _ in range(each):
            spent = 100 * round(float(np.exp(effect * difficulty + rng.normal(0, 0.5))))
            rows.append(AllocatedAmount(str(task), spent, rng.binomial(8, difficulty) / 8))
    return rows


def test_to_spend_by_difficulty_is_perfect_and_against_it_is_the_opposite() -> None:
    rates = [0.0, 0.125, 0.5, 0.5, 1.0]
    with_it = rank_correlations(
        [AllocatedAmount(f"t{i}", 100 * rate, rate) for i, rate in enumerate(rates)]
    )
    against = rank_correlations(
        [AllocatedAmount(f"t{i}", -100 * rate, rate) for i, rate in enumerate(rates)]
    )
    for found, expected in ((with_it, 1.0), (against, -1.0)):
        assert found.spearman.value == pytest.approx(expected)
        assert found.kendall.value == pytest.approx(expected)
        assert found.kendall.interval is not None
        assert found.kendall.interval.low == pytest.approx(expected)


def test_the_values_are_the_rank_correlations_of_the_columns() -> None:
    rows = make(np.random.default_rng(0), 60, effect=1.5, each=2)
    found = rank_correlations(rows)
    amounts, rates = [row.amount for row in rows], [row.failure_rate for row in rows]
    assert found.spearman.value == pytest.approx(stats.spearmanr(amounts, rates).statistic)
    assert found.kendall.value == pytest.approx(stats.kendalltau(amounts, rates).statistic)
    assert found.spearman.rows == 120


@pytest.mark.slow
def test_the_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    truth = rank_correlations(make(rng, 20_000, effect=1.5), resamples=1)
    held = {"spearman": 0, "kendall": 0}
    for seed in range(400):
        found = rank_correlations(make(rng, 40, effect=1.5), resamples=500, seed=seed)
        for name in held:
            interval, value = getattr(found, name).interval, getattr(truth, name).value
            held[name] += interval.low <= value <= interval.high
    for count in held.values():
        assert abs(count / 400 - 0.95) <= 3 * math.sqrt(0.95 * 0.05 / 400)


def test_a_useless_policy_is_called_adaptive_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(2)
    called = 0
    for seed in range(200):
        found = rank_correlations(
            make(rng, 40, effect=0.0, each=2), resamples=500, seed=seed
        ).spearman
        assert found.interval is not None
        called += not found.interval.low <= 0.0 <= found.interval.high
    assert 0 < called / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_what_does_not_vary_has_no_correlation_but_a_reason() -> None:
    for rows, note in (
        ([], "not defined: no rows"),
        (
            [AllocatedAmount("a", 4, 0.1), AllocatedAmount("b", 4, 0.9)],
            "not defined: all were given 4",
        ),
        (
            [AllocatedAmount("a", 1, 0.5), AllocatedAmount("b", 4, 0.5)],
            "not defined: all have the failure rate 0.5",
        ),
    ):
        for estimate in (rank_correlations(rows).spearman, rank_correlations(rows).kendall):
            assert (estimate.value, estimate.interval, estimate.note) == (None, None, note)


def test_one_task_has_a_correlation_but_no_interval() -> None:
    found = rank_correlations([AllocatedAmount("a", 1, 0.1), AllocatedAmount("a", 4, 0.9)]).kendall
    assert found.value == pytest.approx(1.0)
    assert (found.interval, found.note) == (None, "no interval: one task")


def test_what_is_no_amount_or_no_rate_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="amount of task a is nan"):
        AllocatedAmount("a", math.nan, 0.5)
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(InvalidInputError, match=f"failure rate of task a is {rate}"):
            AllocatedAmount("a", 1.0, rate)
