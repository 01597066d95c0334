"""Paired comparisons: laws, textbook values, null comparisons, and what they could have seen."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from amp.errors import InvalidInputError, MissingDependencyError
from amp.report.paired import (
    compare,
    detectable_mean_difference,
    detectable_success_difference,
    exact_mcnemar,
    paired_saving,
    saving_deviation,
)
from amp.report.stats import sign_flip_test
from amp.types import Episode, Task, Usage

costs = st.lists(st.floats(0.1, 100), min_size=2, max_size=20)


def episode(task: str, success: bool, tokens: int, seed: int = 0) -> Episode:
    usage = Usage(prompt_tokens=tokens)
    return Episode(Task(task, "g", seed=seed), (), success, float(success), usage, "done")


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(won: int, lost: int) -> None:
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert exact_mcnemar(won, lost) == pytest.approx(expected)


def test_mcnemar_of_known_values() -> None:
    assert exact_mcnemar(0, 0) == exact_mcnemar(3, 3) == 1.0
    assert exact_mcnemar(0, 5) == pytest.approx(2 / 32)
    assert exact_mcnemar(1, 8) == pytest.approx(2 * (1 + 9) / 512)
    with pytest.raises(InvalidInputError, match="-1 won and 3 lost"):
        exact_mcnemar(-1, 3)


def test_mcnemar_of_thousands_of_pairs_does_not_overflow() -> None:
    assert exact_mcnemar(900, 1100) == pytest.approx(stats.binomtest(900, 2000).pvalue)


@settings(max_examples=30)
@given(costs, st.floats(0.1, 3))
def test_a_proportional_cost_saves_exactly_that_share(first: list[float], factor: float) -> None:
    saving = paired_saving(first, [factor * cost for cost in first])
    assert saving.interval is not None
    assert saving.share == pytest.approx(1 - factor)
    assert saving.interval.low == pytest.approx(1 - factor)
    assert saving.interval.high == pytest.approx(1 - factor)


def test_the_interval_holds_the_share_and_shrinks_with_more_tasks() -> None:
    few, many = ([1.0, 2.0, 4.0] * n for n in (2, 40))
    half = [1.0, 0.5, 2.5]
    small, large = paired_saving(few, half * 2), paired_saving(many, half * 40)
    assert small.interval is not None
    assert large.interval is not None
    assert small.interval.low <= small.share <= small.interval.high
    assert large.interval.high - large.interval.low < small.interval.high - small.interval.low
    assert large.p_value < small.p_value == sign_flip_test([0.0, 1.5, 1.5] * 2)


def test_one_task_has_a_saving_but_no_interval() -> None:
    saving = paired_saving([4.0, 6.0], [1.0, 4.0], tasks=["a", "a"])
    assert (saving.share, saving.interval, saving.p_value) == (0.5, None, 1.0)


def test_a_comparison_counts_wins_losses_and_savings() -> None:
    first = [episode("a", True, 10), episode("b", False, 10), episode("c", True, 10)]
    second = [episode("c", True, 5), episode("b", True, 10), episode("a", False, 6)]
    result = compare(first, second)
    assert (result.tasks, result.pairs, result.won, result.lost) == (3, 3, 1, 1)
    assert (result.p_value, result.test) == (1.0, "exact McNemar")
    assert result.savings["tokens"].share == pytest.approx(0.3)
    assert "seconds" not in result.savings


def test_several_seeds_of_a_task_count_as_one_task() -> None:
    first = [episode(task, False, 10, seed) for task in "abcd" for seed in range(5)]
    second = [episode(task, True, 5, seed) for task in "abcd" for seed in range(5)]
    result = compare(first, second)
    assert (result.tasks, result.pairs, result.won, result.lost) == (4, 20, 20, 0)
    # Four tasks that all turned out one way: 2 of 16 assignments of signs are as extreme.
    assert (result.p_value, result.test) == (2 / 16, "sign flips over tasks")
    assert result.savings["tokens"].p_value == 2 / 16


def test_null_comparisons_are_significant_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(0)
    solved = saved = off = 0
    for _ in range(200):
        rates = rng.beta(2, 1, 40)
        tokens = rng.lognormal(6, 0.5, (2, 40)).astype(int).tolist()
        wins = (rng.random((2, 40)) < rates).tolist()
        runs = [
            [episode(str(i), wins[run][i], tokens[run][i]) for i in range(40)] for run in (0, 1)
        ]
        result = compare(*runs)
        cheaper = result.savings["tokens"]
        assert cheaper.interval is not None
        solved += result.p_value <= 0.05
        saved += cheaper.p_value <= 0.05
        off += not cheaper.interval.low <= 0.0 <= cheaper.interval.high
    most = 200 * (0.05 + 3 * math.sqrt(0.05 * 0.95 / 200))
    assert max(solved, saved, off) <= most
    assert min(solved, saved, off) > 0, "a test that never rejects keeps any word"


@pytest.mark.parametrize("other", [[], [episode("b", True, 1)]])
def test_runs_on_other_tasks_are_not_paired(other: list[Episode]) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot be paired.*only one of them did a"):
        compare([episode("a", True, 1)], other)


def test_a_run_that_did_a_task_twice_is_not_paired() -> None:
    once = [episode("a", True, 1)]
    with pytest.raises(InvalidInputError, match=r"one of them did a \(seed 0\) twice"):
        compare(once, once * 2)


def test_costs_of_which_no_share_can_be_saved_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="add up to nothing"):
        paired_saving([0.0], [1.0])
    with pytest.raises(InvalidInputError, match="add up to nothing"):
        paired_saving([], [])
    with pytest.raises(InvalidInputError, match=r"a cost is -1\.0, expected 0 or more"):
        paired_saving([2.0, 1.0], [1.0, -1.0])
    with pytest.raises(InvalidInputError, match="column 1: value 0 is nan"):
        paired_saving([math.nan, 1.0], [1.0, 1.0])
    with pytest.raises(InvalidInputError, match="column 2 has 1 values, but there are 2 rows"):
        paired_saving([2.0, 1.0], [1.0])


@pytest.mark.parametrize(("tasks", "discordance"), [(60, 0.3), (200, 0.2)])
def test_the_stated_difference_is_seen_in_four_of_five_simulations(
    tasks: int, discordance: float
) -> None:
    difference = detectable_success_difference(tasks, discordance)
    assert difference is not None
    rng = np.random.default_rng(0)
    rates = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    draws = rng.multinomial(tasks, rates, size=4000)
    pairs, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    seen = counts @ [exact_mcnemar(won, lost) <= 0.05 for won, lost in pairs.tolist()] / 4000
    assert seen == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / 4000))


def test_for_many_tasks_it_is_close_to_the_normal_approximation() -> None:
    # Connor 1987, Biometrics 43:207: n = (1.96 sqrt(psi) + 0.84 sqrt(psi - d^2))^2 / d^2.
    difference = detectable_success_difference(5000, 0.2)
    assert difference is not None
    z_alpha, z_power = stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    needed = (z_alpha * math.sqrt(0.2) + z_power * math.sqrt(0.2 - difference**2)) ** 2
    assert needed / difference**2 == pytest.approx(5000, rel=0.05)


@settings(max_examples=25)
@given(st.integers(30, 400), st.floats(0.2, 1.0))
def test_more_tasks_show_smaller_differences(tasks: int, discordance: float) -> None:
    few = detectable_success_difference(tasks, discordance)
    many = detectable_success_difference(4 * tasks, discordance)
    assert many is not None
    assert 0 < many <= discordance
    assert few is None or many < few


def test_too_few_discordant_tasks_can_show_nothing() -> None:
    # With five discordant tasks the smallest p-value is 2 / 32.
    assert detectable_success_difference(5, 1.0) is None
    assert detectable_success_difference(6, 1.0) is not None


@pytest.mark.parametrize("tasks", [5, 20, 200])
def test_a_mean_difference_has_its_power_by_the_noncentral_t(tasks: int) -> None:
    shift = detectable_mean_difference(tasks, 2.5) * math.sqrt(tasks) / 2.5
    critical = stats.t.ppf(0.975, tasks - 1)
    power = stats.nct.sf(critical, tasks - 1, shift) + stats.nct.cdf(-critical, tasks - 1, shift)
    assert power == pytest.approx(0.8, abs=0.02)


def test_the_deviation_behind_a_saving_tells_how_savings_scatter() -> None:
    rng = np.random.default_rng(1)
    size = rng.lognormal(0, 0.4, (3000, 100))
    first = size * rng.lognormal(0, 0.3, size.shape)
    second = size * rng.lognormal(-0.5, 0.3, size.shape)
    scatter = np.std(1 - second.sum(axis=1) / first.sum(axis=1))
    found = np.mean([saving_deviation(first[i].tolist(), second[i].tolist()) for i in range(200)])
    assert found / math.sqrt(100) == pytest.approx(scatter, rel=0.06)


def test_a_proportional_cost_scatters_not_at_all() -> None:
    assert saving_deviation([1.0, 2.0, 5.0], [0.5, 1.0, 2.5]) == pytest.approx(0.0)


def test_what_cannot_be_planned_is_refused() -> None:
    for tasks, discordance in ((0, 0.2), (9, 0.0), (9, 1.1), (9, math.nan)):
        with pytest.raises(InvalidInputError, match=f"{tasks} tasks and a discordance of"):
            detectable_success_difference(tasks, discordance)
    for power in (0.01, 1.0, math.nan):
        with pytest.raises(InvalidInputError, match=f"power {power}"):
            detectable_success_difference(9, 0.5, power=power)
    for tasks, deviation in ((1, 1.0), (5, -1.0), (5, math.nan)):
        with pytest.raises(InvalidInputError, match=f"{tasks} tasks and a deviation of"):
            detectable_mean_difference(tasks, deviation)
    with pytest.raises(InvalidInputError, match="at least 2 tasks"):
        saving_deviation([1.0], [1.0])


def test_without_scipy_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '.*\[report\]'"):
        detectable_success_difference(50, 0.3)
