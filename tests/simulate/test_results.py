"""All policies side by side: each row is what it says, and the truth is found where it is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.synthetic import CARD, LEVELS, Level, fixed_point, synthetic

from amp.allocate.base import FixedAllocator
from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.simulate.compare import Adaptive, Results, Row, results
from amp.simulate.replay import Pull
from amp.simulate.samples import SampleTable

TASKS = 90


def table(seed: int, name: str, samples: int = 2) -> SampleTable:
    """A synthetic table whose tasks are named apart from those of other tables."""
    made = synthetic(TASKS, seed=seed, samples=samples)
    return replace(made, tasks=tuple(replace(row, task=f"{name}/{row.task}") for row in made.tasks))


TEST, TRAINING = table(1, "test"), table(2, "training")


def found(runs: int = 3) -> Results:
    arm = TEST.arms[0]
    twice = FixedAllocator(replace(arm.allocation, beam_width=2))
    return results(TEST, TRAINING, {"always two": Adaptive((twice,))}, {}, runs)


@pytest.fixture(scope="module")
def three() -> Results:
    return found()


def named(of: Results, name: str) -> Row:
    (row,) = (row for row in of.rows if row.name == name)
    return row


def test_the_fixed_rows_are_near_the_closed_form(three: Results) -> None:
    name = TEST.arms[0].name
    row = named(three, f"1 {name}")
    truth = fixed_point((Pull(name, 1),), LEVELS)
    assert row.success == pytest.approx(truth.success, abs=0.12)
    assert row.tokens == pytest.approx(truth.cost, rel=0.05)


def test_no_policy_beats_the_oracle_and_the_oracle_lies_above_the_front(three: Results) -> None:
    oracle = named(three, "oracle")
    assert oracle.success == max(row.success for row in three.rows)
    assert oracle.above_front is not None
    assert oracle.above_front > 0.05


def test_an_allocator_that_does_as_a_fixed_one_has_its_figures(three: Results) -> None:
    one, two = named(three, "always two"), named(three, f"2 {TEST.arms[0].name}")
    assert (one.success, one.tokens, one.calls) == (two.success, two.tokens, two.calls)
    shuffled = named(three, "always two, shuffled among tasks")
    assert (shuffled.success, shuffled.tokens) == (one.success, one.tokens)


def test_the_reference_is_chosen_on_training_tasks_and_compared_with_nobody(three: Results) -> None:
    assert named(three, three.reference).versus is None
    best = max(row.success for row in three.rows if row.kind == "fixed")
    assert named(three, three.reference).success >= best - 0.1
    assert sum(row.versus is None for row in three.rows) == 1


def test_only_rules_and_controls_make_the_family_of_tests(three: Results) -> None:
    for row in three.rows:
        assert (row.holm is None) == (row.kind in ("fixed", "oracle"))
        if row.holm is not None and row.versus is not None:
            assert row.holm >= row.versus.p_value


def test_intervals_hold_what_they_are_of(three: Results) -> None:
    for row in three.rows:
        assert row.interval.low <= row.success <= row.interval.high
        if row.above_front is not None and row.above_front_interval is not None:
            gap = row.above_front_interval
            assert gap.low <= row.above_front + 1e-9
            assert row.above_front <= gap.high + 1e-9


def test_a_fixed_allocation_on_the_front_is_not_above_it(three: Results) -> None:
    for row in three.rows:
        if row.kind == "fixed" and row.above_front is not None:
            assert row.above_front <= 1e-9


def test_the_share_of_the_oracles_gain_is_that_of_what_lies_above_the_front(three: Results) -> None:
    whole = named(three, "oracle").above_front
    assert whole is not None
    for row in three.rows:
        if row.kind == "fixed":
            assert row.oracle_share is None
        elif row.above_front is not None and row.oracle_share is not None:
            assert row.oracle_share * whole == pytest.approx(row.above_front)
    assert named(three, "oracle").oracle_share == 1.0
    # To take two on every task is a fixed allocation: none of the gain, wherever the front is.
    share = named(three, "always two").oracle_share
    assert share is not None
    assert share <= 1e-9


def test_nobody_has_a_share_of_a_gain_that_there_is_not() -> None:
    certain = (Level(1.0, 0.2, {"short": 1.0, "long": 1.0}),)
    test, training = (
        replace(
            made := synthetic(20, seed=seed, samples=1, levels=certain),
            tasks=tuple(replace(row, task=f"{seed}/{row.task}") for row in made.tasks),
        )
        for seed in (1, 2)
    )
    came = results(test, training, {}, {}, 1)
    assert {row.oracle_share for row in came.rows} == {None}


def test_the_same_runs_give_the_same_figures() -> None:
    assert found(1) == found(1)


def test_tables_that_do_not_go_together_are_refused() -> None:
    for test, training, said in (
        (TEST, TEST, "among training and test"),
        (TEST, replace(TRAINING, prompts="other/1"), "prompts of the test tasks"),
        (
            TEST,
            replace(TRAINING, card=ModelCard("other")),
            "model of the test .*synthetic; .*other",
        ),
        (
            replace(TEST, card=replace(CARD, sha256="aa")),
            replace(TRAINING, card=replace(CARD, sha256="bb")),
            "weights of the test tasks: aa; of the training: bb",
        ),
        (TEST, replace(TRAINING, arms=TRAINING.arms[::-1]), "arms of the test tasks"),
        (TEST, table(3, "training", samples=3), "samples of the test tasks"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            results(test, training, {}, {}, 1)
    with pytest.raises(InvalidInputError, match="runs is 0"):
        results(TEST, TRAINING, {}, {}, 0)
