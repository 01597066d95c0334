"""Intervals cover as often as they say; tests and rank statistics are what they are defined as."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from amp.errors import InvalidInputError
from amp.report.metrics import Interval, wilson
from amp.report.paired import exact_mcnemar
from amp.report.stats import (
    Array,
    auroc,
    bootstrap,
    bootstrap_interval,
    clustered_rate_interval,
    holm,
    ratio,
    saving,
    sign_flip_test,
    weighted_auroc,
    weighted_kendall,
    weighted_spearman,
)

DATA_SETS = 400
ERROR = 3 * math.sqrt(0.95 * 0.05 / DATA_SETS)  # three standard errors of a coverage
probabilities = st.lists(st.floats(0, 1), max_size=6)


def correlation(
    weighted: Callable[[Array, Array, Array], Array], one: Sequence[float], two: Sequence[float]
) -> float | None:
    """A rank correlation of rows that count once each; None where it is not defined."""
    columns = np.array(one, dtype=np.float64), np.array(two, dtype=np.float64)
    value = float(weighted(*columns, np.ones((1, len(one))))[0])
    return None if math.isnan(value) else value


spearman = partial(correlation, weighted_spearman)
kendall = partial(correlation, weighted_kendall)


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def difference_of_ratios(totals: Array) -> Array:
    """Tokens a success of one policy, less those of another."""
    return np.asarray(totals[..., 0] / totals[..., 1] - totals[..., 2] / totals[..., 3])


def seeded_successes(rng: np.random.Generator, tasks: int) -> Array:
    """Successes of three runs a task, of which some are easy and some hard; the mean is 2/3."""
    return np.asarray(rng.random((tasks, 3)) < rng.beta(1, 0.5, (tasks, 1)), dtype=np.float64)


def test_the_bootstrap_has_the_quantiles_of_all_resamples() -> None:
    first, second = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0], [2.0, 1.2, 1.0, 2.0, 3.0, 4.0]
    every = np.array(list(product(range(6), repeat=6)))
    shares = 1 - np.array(second)[every].sum(axis=1) / np.array(first)[every].sum(axis=1)
    tail = stats.norm.cdf(stats.t.ppf(0.025, 5) * math.sqrt(6 / 5))
    low, high = np.quantile(shares, (tail, 1 - tail))
    interval = bootstrap_interval(range(6), (first, second), saving, resamples=100_000)
    assert interval.low == pytest.approx(low, abs=0.02)
    assert interval.high == pytest.approx(high, abs=0.02)


def test_a_task_in_several_rows_counts_as_one() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.lognormal(size=(2, 12))
    whole = bootstrap_interval(range(12), (first.tolist(), second.tolist()), saving, 1000)
    tasks = [task for task in range(12) for _ in range(3)]
    thirds = [np.repeat(column / 3, 3).tolist() for column in (first, second)]
    found = bootstrap_interval(tasks, thirds, saving, 1000)
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high))


def test_equal_policies_differ_by_exactly_nothing() -> None:
    columns = [[1.0, 2.0, 4.0], [1.0, 0.0, 1.0]] * 2
    found = bootstrap_interval("abcabc", [c * 2 for c in columns], difference_of_ratios, 5, 3)
    assert found == Interval(0.0, 0.0)


def test_the_interval_of_a_mean_over_seeds_and_tasks_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = naive = 0
    for seed in range(DATA_SETS):
        rows = seeded_successes(rng, 40)
        tasks = np.repeat(np.arange(40), 3).tolist()
        columns = (rows.ravel().tolist(), [1.0] * 120)
        held += covers(bootstrap_interval(tasks, columns, ratio, 1000, seed), 2 / 3)
        naive += covers(bootstrap_interval(range(120), columns, ratio, 1000, seed), 2 / 3)
    assert abs(held / DATA_SETS - 0.95) <= ERROR
    assert naive / DATA_SETS < 0.90


def test_the_intervals_of_a_saving_and_of_a_difference_of_ratios_cover() -> None:
    rng = np.random.default_rng(3)
    saved = differed = 0
    for seed in range(DATA_SETS):
        size = rng.lognormal(0, 0.5, 40)
        first, second = size * rng.lognormal(0, 0.3, 40), size * rng.lognormal(-0.5, 0.3, 40)
        costs = (first.tolist(), second.tolist())
        saved += covers(
            bootstrap_interval(range(40), costs, saving, 1000, seed), 1 - math.exp(-0.5)
        )
        won = [(rng.random(40) < rate).astype(float).tolist() for rate in (0.6, 0.8)]
        columns = (costs[0], won[0], costs[1], won[1])
        cost = math.exp(0.125 + 0.045)
        truth = cost / 0.6 - cost * math.exp(-0.5) / 0.8
        found = bootstrap_interval(range(40), columns, difference_of_ratios, 1000, seed)
        differed += covers(found, truth)
    assert abs(saved / DATA_SETS - 0.95) <= ERROR
    assert abs(differed / DATA_SETS - 0.95) <= ERROR


def test_a_bootstrap_without_an_interval_says_why() -> None:
    with pytest.raises(InvalidInputError, match="at least 2 tasks to resample, found 1"):
        bootstrap_interval("aa", ([1.0, 2.0], [1.0, 1.0]), ratio)
    with pytest.raises(InvalidInputError, match="found 0"):
        bootstrap_interval("", ([], []), ratio)
    with pytest.raises(InvalidInputError, match="column 2: value 1 is nan"):
        bootstrap_interval("ab", ([1.0, 2.0], [1.0, math.nan]), ratio)
    with pytest.raises(InvalidInputError, match="column 1 has 1 values, but there are 2 rows"):
        bootstrap_interval("ab", ([1.0], [1.0, 1.0]), ratio)
    with pytest.raises(InvalidInputError, match="divides by a total of 0"):
        bootstrap_interval("ab", ([1.0, 2.0], [0.0, 0.0]), ratio)
    with pytest.raises(InvalidInputError, match="3 tasks are too few"):
        bootstrap_interval("abc", ([1.0, 2.0, 3.0], [0.0, 0.0, 1.0]), ratio)


@given(st.integers(0, 13), st.integers(0, 13), st.integers(0, 5))
def test_flipping_signs_of_single_runs_is_the_exact_mcnemar_test(
    won: int, lost: int, ties: int
) -> None:
    # Beyond 13 discordant tasks, signs are drawn.
    won = min(won, 13 - lost) if lost < 13 else 0
    found = sign_flip_test([1.0] * won + [-1.0] * lost + [0.0] * (ties + 1))
    assert found == pytest.approx(exact_mcnemar(won, lost))


@settings(max_examples=25)
@given(st.lists(st.integers(-40, 40), min_size=2, max_size=8))
def test_flipping_signs_agrees_with_scipy(tenths: list[int]) -> None:
    differences = [tenth / 10 for tenth in tenths]
    expected = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(differences) == pytest.approx(expected.pvalue)


def test_drawn_signs_come_close_to_all_of_them() -> None:
    differences = np.random.default_rng(4).normal(0.5, 1, 16).tolist()
    assert sign_flip_test(differences) == pytest.approx(
        sign_flip_test(differences, flips=2**16), abs=0.01
    )
    assert sign_flip_test([1.0] * 40, flips=99) == 1 / 100
    with pytest.raises(InvalidInputError, match="at least 1 difference"):
        sign_flip_test([])
    with pytest.raises(InvalidInputError, match="differences: value 1 is nan"):
        sign_flip_test([1.0, math.nan])


def test_flipping_signs_over_tasks_stays_valid_where_runs_of_a_task_agree() -> None:
    # Both policies are equally good on average, yet each has tasks that it is better at.
    rng = np.random.default_rng(5)
    clustered = single = 0
    for seed in range(200):
        rates = rng.beta(0.5, 0.5, (2, 30, 1))
        first, second = rng.random((2, 30, 5)) < rates
        nets = second.astype(int) - first.astype(int)
        clustered += sign_flip_test(nets.sum(axis=1).tolist(), 1000, seed) <= 0.05
        single += exact_mcnemar(int((nets == 1).sum()), int((nets == -1).sum())) <= 0.05
    assert clustered / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert single / 200 > 0.2


@given(probabilities)
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    # Adjusted p-value: the largest Bonferroni p-value of all the families that it is part of.
    indices = range(len(p_values))
    families = list(chain.from_iterable(combinations(indices, k + 1) for k in indices))
    for index, adjusted in enumerate(holm(p_values)):
        assert adjusted == pytest.approx(
            max(
                min(1.0, len(family) * min(p_values[i] for i in family))
                for family in families
                if index in family
            )
        )


def test_holm_of_a_case_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()
    with pytest.raises(InvalidInputError, match="p-value is nan"):
        holm([0.1, math.nan])


def test_in_families_of_null_comparisons_holm_keeps_its_word() -> None:
    rng = np.random.default_rng(6)
    families, tests = 200, 10
    alone = together = 0
    for family in range(families):
        rates = rng.beta(2, 1, 40)
        successes = rng.random((tests + 1, 40)) < rates
        costs = rng.lognormal(0, 0.7, (tests + 1, 40))
        nets = successes[1:].astype(int) - successes[0].astype(int)
        p_values = [
            exact_mcnemar(int((net == 1).sum()), int((net == -1).sum())) for net in nets[:5]
        ]
        p_values += [sign_flip_test((cost - costs[0]).tolist(), 999, family) for cost in costs[1:6]]
        alone += p_values[0] <= 0.05
        alone += p_values[-1] <= 0.05
        together += min(holm(p_values)) <= 0.05
    assert alone / (2 * families) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (2 * families))
    assert together / families <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / families)
    assert together > 0, "a test that never rejects keeps any word"


@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_with_one_run_a_task_the_rate_has_wilsons_interval(successes: list[bool]) -> None:
    found = clustered_rate_interval(range(len(successes)), successes)
    assert found == wilson(sum(successes), len(successes))


def test_where_all_or_none_succeed_runs_of_a_task_count_as_one() -> None:
    tasks = [task for task in range(10) for _ in range(3)]
    assert clustered_rate_interval(tasks, [True] * 30) == wilson(10, 10)
    assert clustered_rate_interval(tasks, [False] * 30) == wilson(0, 10)
    with pytest.raises(InvalidInputError, match="at least 2 of them, found 1"):
        clustered_rate_interval("aaa", [True, False, True])
    with pytest.raises(InvalidInputError, match="found 0"):
        clustered_rate_interval([], [])


@pytest.mark.parametrize("tasks", [10, 40])
def test_the_interval_of_a_rate_over_seeds_and_tasks_covers(tasks: int) -> None:
    rng = np.random.default_rng(7)
    names = np.repeat(np.arange(tasks), 3).tolist()
    held = naive = 0
    for _ in range(DATA_SETS):
        rows = seeded_successes(rng, tasks).ravel() > 0
        held += covers(clustered_rate_interval(names, rows.tolist()), 2 / 3)
        naive += covers(wilson(int(rows.sum()), rows.size), 2 / 3)
    assert 0.95 - ERROR <= held / DATA_SETS <= 0.99
    assert naive / DATA_SETS < 0.92


# Small integers, so that ties are common.
states = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=30)
counted = st.lists(
    st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 4)), min_size=1, max_size=20
)


def by_definition(pairs: list[tuple[int, bool]]) -> float | None:
    failures = [score for score, failed in pairs if failed]
    successes = [score for score, failed in pairs if not failed]
    if not failures or not successes:
        return None
    won = sum((a > b) + (a == b) / 2 for a in failures for b in successes)
    return won / (len(failures) * len(successes))


def columns(pairs: list[tuple[int, bool]]) -> tuple[list[float], list[bool]]:
    return [float(score) for score, _ in pairs], [failed for _, failed in pairs]


@given(states)
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    expected = by_definition(pairs)
    assert auroc(*columns(pairs)) == (expected if expected is None else pytest.approx(expected))


@given(states)
def test_auroc_sees_the_order_alone_and_mirrors(pairs: list[tuple[int, bool]]) -> None:
    scores, failed = columns(pairs)
    value = auroc(scores, failed)
    assert auroc([math.exp(score) - 7 for score in scores], failed) == value
    mirrored = auroc([-score for score in scores], failed)
    assert (value is None and mirrored is None) or value == pytest.approx(1 - (mirrored or 0.0))


def test_auroc_of_known_cases() -> None:
    assert auroc([0.1, 0.2, 0.8, 0.9], [False, False, True, True]) == 1.0
    assert auroc([0.5] * 4, [False, False, True, True]) == 0.5
    assert auroc([1.0, 2.0, 3.0], [True, False, True]) == 0.5
    assert auroc([1.0, 2.0], [True, True]) is None
    assert auroc([], []) is None


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1, max_size=30))
def test_rank_correlation_is_symmetric_and_mirrors(pairs: list[tuple[int, int]]) -> None:
    one, two = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    value = spearman(one, two)
    if len(set(one)) == 1 or len(set(two)) == 1:
        assert value is None
        return
    assert value is not None
    assert -1 - 1e-12 <= value <= 1 + 1e-12
    assert spearman(two, one) == pytest.approx(value)
    assert spearman([-a for a in one], two) == pytest.approx(-value)
    assert spearman([a**3 for a in one], two) == pytest.approx(value)
    assert spearman(one, one) == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=30))
def test_both_rank_correlations_are_those_of_scipy(pairs: list[tuple[int, int]]) -> None:
    one, two = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    if len(set(one)) == 1 or len(set(two)) == 1:
        assert spearman(one, two) is None
        assert kendall(one, two) is None
        return
    assert spearman(one, two) == pytest.approx(stats.spearmanr(one, two).statistic)
    assert kendall(one, two) == pytest.approx(stats.kendalltau(one, two).statistic)


def test_rank_correlation_of_known_cases() -> None:
    # Without ties it is 1 - 6 sum d^2 / (n (n^2 - 1)): here sum d^2 = 6.
    assert spearman([1, 2, 3, 4, 5], [3, 1, 2, 4, 5]) == pytest.approx(1 - 6 * 6 / 120)
    # With ties, ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(22.5))
    assert spearman([], []) is None
    # Of six pairs four are in order, one is not, and one is tied in the second: 3 / sqrt(6 * 5).
    assert kendall([1, 2, 3, 4], [1, 3, 2, 3]) == pytest.approx(3 / math.sqrt(30))
    assert kendall([], []) is None


@given(counted)
def test_a_weight_is_a_number_of_repetitions(rows: list[tuple[int, bool, int]]) -> None:
    scores = np.array([score for score, _, _ in rows], dtype=np.float64)
    failed = np.array([lost for _, lost, _ in rows], dtype=np.float64)
    counts = np.array([[count for _, _, count in rows]], dtype=np.float64)
    repeated = [(score, lost) for score, lost, count in rows for _ in range(count)]
    for weighted, plain in (
        (weighted_auroc, auroc),
        (weighted_spearman, spearman),
        (weighted_kendall, kendall),
    ):
        value = float(weighted(scores, failed, counts)[0])
        expected = plain(*columns(repeated))
        assert (math.isnan(value) and expected is None) or value == pytest.approx(expected)


def test_what_is_missing_or_does_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="2 scores do not go with 1 outcomes"):
        auroc([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="must be finite"):
        auroc([1.0, math.nan], [True, False])


def test_a_resample_draws_as_many_tasks_as_there_are_with_all_their_rows() -> None:
    tasks = ["a", "a", "a", "b", "c", "c"]
    seen: list[Array] = []

    def watch(weights: Array) -> Array:
        seen.append(weights)
        return np.asarray(weights.sum(axis=1))

    assert len(bootstrap(tasks, watch, resamples=50)) == 50
    weights = np.concatenate(seen)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 4] == weights[:, 5]).all()
    assert (weights[:, [0, 3, 4]].sum(axis=1) == 3).all()
    assert len(np.unique(weights, axis=0)) > 5


def test_resampling_repeats_with_its_seed_whatever_the_size_of_a_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [f"t{number // 2}" for number in range(20)]
    values = np.arange(20.0)

    def mean(weights: Array) -> Array:
        return np.asarray(weights @ values / weights.sum(axis=1))

    first = bootstrap(tasks, mean, resamples=30, seed=4)
    monkeypatch.setattr("amp.report.stats._CELLS", 20)
    assert (bootstrap(tasks, mean, resamples=30, seed=4) == first).all()
    assert (bootstrap(tasks, mean, resamples=30, seed=5) != first).any()
