"""Calibration: bins that partition, figures against their definitions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.report.metrics import wilson
from amp.report.validity import reliability

judged = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()),
    min_size=1,
    max_size=40,
)


def columns(pairs: list[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    return [score for score, _ in pairs], [failed for _, failed in pairs]


@given(judged, st.integers(1, 12))
def test_bins_partition_the_rows_and_equal_scores_stay_together(
    pairs: list[tuple[float, bool]], bins: int
) -> None:
    result = reliability(*columns(pairs), 0.5, bins)
    assert 1 <= len(result.bins) <= bins
    assert sum(b.rows for b in result.bins) == len(pairs)
    assert sum(b.rows * b.failure_rate for b in result.bins) == pytest.approx(
        sum(failed for _, failed in pairs)
    )
    means = [b.score for b in result.bins]
    assert means == sorted(set(means))
    assert all(b.interval == wilson(round(b.rows * b.failure_rate), b.rows) for b in result.bins)
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert reliability(*columns(shuffled), 0.5, bins).bins == result.bins


@given(st.integers(20, 200), st.integers(1, 12))
def test_bins_of_distinct_scores_have_equal_counts(n: int, bins: int) -> None:
    scores = [i / n for i in range(n)]
    counts = [b.rows for b in reliability(scores, [i % 2 == 0 for i in range(n)], None, bins).bins]
    assert len(counts) == bins
    assert max(counts) - min(counts) <= 1


@given(judged, st.floats(0, 1))
def test_brier_scores_are_those_of_the_definition(
    pairs: list[tuple[float, bool]], base_rate: float
) -> None:
    result = reliability(*columns(pairs), base_rate)
    n = len(pairs)
    assert result.brier == pytest.approx(sum((s - f) ** 2 for s, f in pairs) / n)
    assert result.constant_brier == pytest.approx(sum((base_rate - f) ** 2 for _, f in pairs) / n)
    assert result.calibration_error is not None
    assert 0.0 <= result.calibration_error <= 1.0


def test_scores_that_are_true_probabilities_are_nearly_calibrated_and_others_not() -> None:
    rng = random.Random(0)
    scores = [rng.random() for _ in range(4000)]
    failed = [rng.random() < score for score in scores]
    true, overstated = (
        reliability(values, failed, 0.5) for values in (scores, [score**0.3 for score in scores])
    )
    assert true.calibration_error is not None
    assert overstated.calibration_error is not None
    assert true.calibration_error < 0.03 < 0.2 < overstated.calibration_error
    assert sum(b.interval.low <= b.score <= b.interval.high for b in true.bins) >= 8
    assert true.brier is not None
    assert true.constant_brier is not None
    assert true.brier == pytest.approx(1 / 6, abs=0.01)
    assert true.constant_brier == pytest.approx(1 / 4)


def test_a_constant_score_is_one_bin_and_no_better_than_itself() -> None:
    result = reliability([0.25] * 8, [True, False] * 4, 0.25)
    (only,) = result.bins
    assert (only.score, only.failure_rate, only.rows) == (0.25, 0.5, 8)
    assert result.calibration_error == 0.25
    assert result.brier == result.constant_brier


def test_what_cannot_be_had_is_none_with_a_reason() -> None:
    empty = reliability([], [], 0.5)
    assert (empty.bins, empty.calibration_error, empty.brier, empty.constant_brier) == (
        (),
        None,
        None,
        None,
    )
    assert empty.note == "not defined: no row has it"
    outside = reliability([0.5, 1.7], [True, False], 0.5)
    assert (outside.bins, outside.brier) == ((), None)
    assert outside.note == "not defined: 1.7 is no probability, it leaves [0, 1]"
    assert reliability([0.5], [True], None).constant_brier is None


def test_a_base_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"base rate is 1.2, expected 0 to 1"):
        reliability([0.5], [True], 1.2)
