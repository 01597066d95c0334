"""Rank statistics against their definitions; a bootstrap that knows which rows belong together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amp.report.stats import (
    Array,
    auroc,
    bootstrap,
    kendall,
    spearman,
    weighted_auroc,
    weighted_kendall,
    weighted_spearman,
)

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
    with pytest.raises(ValueError, match="must be finite"):
        spearman([1.0, 2.0], [0.0, math.inf])


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
