"""Estimates on rows of tasks: intervals that know the tasks, directions learned elsewhere."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.report.stats import Array
from amp.report.validity import (
    Oriented,
    Row,
    auroc_on,
    best_single,
    correlation_on,
    difference_on,
    orient,
    permutation_importance,
)

FEW = 200


def make(tasks: int, seed: int = 0, each: int = 2, **effects: float) -> list[Row]:
    """Rows whose scores are noise plus an effect where acting failed."""
    rng, rows = random.Random(seed), []
    for task in range(tasks):
        for _ in range(each):
            failed = rng.random() < 0.5
            scores = {name: rng.gauss(effect * failed, 1) for name, effect in effects.items()}
            rows.append(Row(f"{seed}-{task}", failed, scores))
    return rows


def test_a_score_that_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="score entropy of task t7 is nan"):
        Row("t7", True, {"entropy": math.nan})


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_copies_of_rows_within_their_tasks_tell_nothing_new(seed: int, copies: int) -> None:
    rows = make(12, seed, x=1.0, y=0.5)
    many = [row for row in rows for _ in range(copies)]
    one, two = (auroc_on(sample, Oriented("x"), FEW) for sample in (rows, many))
    assert two.value == pytest.approx(one.value)
    assert two.undefined == one.undefined
    assert one.interval is not None
    assert two.interval is not None
    assert two.interval.low == pytest.approx(one.interval.low)
    assert two.interval.high == pytest.approx(one.interval.high)


def test_an_interval_holds_its_value_and_shrinks_with_more_tasks() -> None:
    widths = []
    for tasks in (20, 320):
        estimate = auroc_on(make(tasks, x=0.7), Oriented("x"), FEW)
        assert estimate.value is not None
        assert estimate.interval is not None
        assert estimate.interval.low <= estimate.value <= estimate.interval.high
        widths.append(estimate.interval.high - estimate.interval.low)
    assert widths[1] < widths[0] / 2


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    # The rows of a task share their outcome and most of their score: resampled one by one, they
    # would make intervals half as wide.
    rng, held, trials = random.Random(0), 0, 150
    truth = NormalDist().cdf(0.8 / math.sqrt(2 * 1.09))
    for _ in range(trials):
        rows = []
        for task in range(50):
            failed = rng.random() < 0.5
            shared = rng.gauss(0.8 * failed, 1)
            rows += [Row(f"{task}", failed, {"x": rng.gauss(shared, 0.3)}) for _ in range(4)]
        interval = auroc_on(rows, Oriented("x"), FEW).interval
        held += interval is not None and interval.low <= truth <= interval.high
    assert 0.88 <= held / trials < 1.0


def test_a_direction_is_obeyed_even_where_it_proves_wrong() -> None:
    rows = make(60, x=1.0)
    up, down = (auroc_on(rows, Oriented("x", way), FEW) for way in (1, -1))
    assert up.value is not None
    assert down.value is not None
    assert up.value > 0.6
    assert down.value == pytest.approx(1 - up.value)
    assert up.interval is not None
    assert down.interval is not None
    assert down.interval.low == pytest.approx(1 - up.interval.high)


def test_a_direction_comes_from_the_rows_it_is_learned_on() -> None:
    assert orient(make(60, x=1.0), "x") == Oriented("x", 1)
    assert orient(make(60, x=-1.0), "x") == Oriented("x", -1)
    assert orient(make(5), "x") is None
    assert orient([Row("a", True, {"x": 1.0}), Row("b", True, {"x": 2.0})], "x") is None
    assert orient([], "x") is None


def test_the_best_single_score_may_point_down_and_must_be_known_often() -> None:
    rows = make(80, weak=0.3, strong=-1.5)
    lucky = [
        Row(
            row.task, row.failed, {**row.scores, "rare": float(row.failed)} if i < 9 else row.scores
        )
        for i, row in enumerate(rows)
    ]
    names = ["rare", "weak", "strong", "unknown"]
    assert best_single(lucky, names) == Oriented("strong", -1)
    assert best_single(lucky, names, coverage=0.0) == Oriented("rare", 1)
    assert best_single(lucky, ["unknown"]) is None
    assert best_single([], names) is None


def test_rank_correlation_keeps_the_sign_of_the_score() -> None:
    rows = make(60, x=-1.0)
    estimate = correlation_on(rows, "x", FEW)
    assert estimate.value is not None
    assert estimate.interval is not None
    assert estimate.interval.high < 0
    assert estimate.interval.low <= estimate.value <= estimate.interval.high


def test_a_better_score_is_better_on_the_same_rows_only_by_so_much() -> None:
    rows = make(150, good=1.5, poor=0.2)
    result = difference_on(rows, Oriented("good"), Oriented("poor"), FEW)
    mirrored = difference_on(rows, Oriented("poor"), Oriented("good"), FEW)
    alone = [auroc_on(rows, Oriented(name), FEW).value or 0.0 for name in ("good", "poor")]
    assert result.estimate.value == pytest.approx(alone[0] - alone[1])
    assert result.estimate.interval is not None
    assert result.estimate.interval.low > 0
    assert result.not_above == 0.0
    assert mirrored.not_above == 1.0
    assert mirrored.estimate.value == pytest.approx(-(result.estimate.value or 0.0))


def test_a_score_is_never_better_than_itself() -> None:
    result = difference_on(make(30, x=1.0), Oriented("x"), Oriented("x"), FEW)
    assert result.estimate.value == 0.0
    assert result.not_above == 1.0


def test_pairing_leaves_out_rows_that_lack_one_score_and_narrows_the_interval() -> None:
    rows = make(100, x=1.0)
    both = [
        Row(row.task, row.failed, {**row.scores, "near": row.scores["x"] + 0.01 * (i % 3)})
        if i % 4
        else row
        for i, row in enumerate(rows)
    ]
    result = difference_on(both, Oriented("x"), Oriented("near"), FEW)
    single = auroc_on(both, Oriented("x"), FEW).interval
    assert result.estimate.rows == 150
    assert result.estimate.interval is not None
    assert single is not None
    width = result.estimate.interval.high - result.estimate.interval.low
    assert width < (single.high - single.low) / 5


ONE_CLASS = [Row("a", True, {"x": 1.0, "y": 1.0}), Row("b", True, {"x": 2.0, "y": 0.0})]
ONE_TASK = [Row("a", True, {"x": 1.0, "y": 1.0}), Row("a", False, {"x": 2.0, "y": 0.0})]
CONSTANT = [Row("a", True, {"x": 1.0}), Row("b", False, {"x": 1.0})]


@pytest.mark.parametrize(
    ("rows", "value", "note"),
    [
        ([], None, "not defined: no row has it"),
        (make(3, y=1.0), None, "not defined: no row has it"),
        (ONE_CLASS, None, "not defined: every row is a failure"),
        ([Row("a", False, {"x": 1.0})], None, "not defined: every row is a success"),
        (ONE_TASK, 0.0, "no interval: one task"),
    ],
)
def test_what_few_rows_cannot_tell_is_said(rows: list[Row], value: float | None, note: str) -> None:
    estimate = auroc_on(rows, Oriented("x"), FEW)
    assert (estimate.value, estimate.interval, estimate.note) == (value, None, note)
    correlation = correlation_on(rows, "x", FEW)
    assert (correlation.value is None, correlation.interval) == (value is None, None)
    difference = difference_on(rows, Oriented("x"), Oriented("y"), FEW)
    assert (difference.estimate.interval, difference.not_above) == (None, None)
    assert difference.estimate.note


def test_a_constant_tells_nothing_and_has_no_rank_correlation() -> None:
    estimate = auroc_on(CONSTANT, Oriented("x"), FEW)
    assert estimate.value == 0.5
    assert correlation_on(CONSTANT, "x", FEW).note == "not defined: the score is constant"


def test_resamples_of_one_class_are_left_out_and_counted() -> None:
    rows = [Row("a", True, {"x": 2.0}), Row("b", False, {"x": 1.0})]
    estimate = auroc_on(rows, Oriented("x"), 400)
    # Two draws of two tasks are twice the same one with probability 1/2.
    assert 150 < estimate.undefined < 250
    assert estimate.interval is not None
    assert (estimate.interval.low, estimate.interval.high) == (1.0, 1.0)
    unlucky = next(
        e for seed in range(20) if (e := auroc_on(rows, Oriented("x"), 1, seed)).undefined
    )
    assert (unlucky.value, unlucky.interval) == (1.0, None)
    assert unlucky.note == "no interval: not defined on any resample"


def column(place: int) -> Callable[[Array], Array]:
    return lambda matrix: np.nan_to_num(matrix[:, place])


def features(rows: list[Row], *names: str) -> Array:
    return np.array([[row.scores.get(name, math.nan) for name in names] for row in rows])


def test_what_a_prediction_does_not_use_has_no_importance() -> None:
    rows = make(100, used=1.5, unused=1.5)
    matrix = features(rows, "used", "unused", "absent")
    groups = {"unused": [1], "used": [0], "absent": [2]}
    used, *rest = permutation_importance(column(0), matrix, rows, groups)
    assert used.group == "used"
    assert used.drop is not None
    assert used.interval is not None
    # Shuffled, the prediction knows nothing: what is lost is all that was above a half.
    whole = auroc_on(rows, Oriented("used"), FEW).value or 0.0
    assert used.drop == pytest.approx(whole - 0.5, abs=0.03)
    assert used.interval.low <= used.drop <= used.interval.high
    assert {one.group: one.drop for one in rest} == {"unused": 0.0, "absent": 0.0}
    assert {one.group: one.note for one in rest}["absent"] == "says nothing: no row has it"


def test_a_group_is_shuffled_as_one() -> None:
    # The two columns are opposites, so their sum is the same on every row, however the rows are
    # shuffled, and the prediction is what is left: the third column.
    rows = make(60, x=0.0, signal=2.0)
    x = features(rows, "x")
    matrix = np.hstack([x, -x, features(rows, "signal")])

    def total(shuffled: Array) -> Array:
        return np.asarray(np.round(shuffled.sum(axis=1), 9))

    together = permutation_importance(total, matrix, rows, {"pair": [0, 1]})[0]
    apart = permutation_importance(total, matrix, rows, {"one": [0]})[0]
    assert together.drop == pytest.approx(0.0, abs=1e-12)
    assert apart.drop is not None
    assert apart.drop > 0.02


def test_importance_repeats_with_its_seed_and_leaves_the_matrix_alone() -> None:
    rows = make(40, x=1.0, y=1.0)
    matrix = features(rows, "x", "y")
    before = matrix.copy()
    groups = {"x": [0], "y": [1]}

    def total(features: Array) -> Array:
        return np.asarray(features.sum(axis=1))

    first = permutation_importance(total, matrix, rows, groups)
    again = permutation_importance(total, matrix, rows, dict(reversed(groups.items())))
    assert first == again
    assert first != permutation_importance(total, matrix, rows, groups, seed=1)
    assert (matrix == before).all()


def test_importance_of_too_few_rows_is_not_defined() -> None:
    for rows, note in (([], "no row has it"), (ONE_CLASS, "every row is a failure")):
        matrix = np.zeros((len(rows), 1))
        (result,) = permutation_importance(column(0), matrix, rows, {"x": [0]})
        assert (result.drop, result.interval, result.note) == (None, None, f"not defined: {note}")
    with pytest.raises(ValueError, match="a matrix of 3 rows does not go with 2 rows"):
        permutation_importance(column(0), np.zeros((3, 1)), ONE_TASK, {"x": [0]})
    missing = np.full((2, 1), math.nan)
    with pytest.raises(ValueError, match="must be finite"):
        permutation_importance(lambda matrix: matrix[:, 0], missing, ONE_TASK, {"x": [0]})
