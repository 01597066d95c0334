"""All policies side by side: each row is what it says, and the truth is found where it is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.synthetic import CARD, LEVELS, Level, fixed_point, synthetic

from amp.allocate.base import FixedAllocator
from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.report.frontier import success_at
from amp.report.overview import PolicyFigures, policies_of
from amp.report.report import OF_SAMPLES, RunReport, make_report
from amp.simulate.compare import Adaptive, simulate
from amp.simulate.policies import Price, fixed
from amp.simulate.replay import Pull, replay_allocator
from amp.simulate.samples import SampleTable
from amp.simulate.tuning import rule_settings, tuned_rules

TASKS = 90


def table(seed: int, name: str, samples: int = 2) -> SampleTable:
    """A synthetic table whose tasks are named apart from those of other tables."""
    made = synthetic(TASKS, seed=seed, samples=samples)
    return replace(made, tasks=tuple(replace(row, task=f"{name}/{row.task}") for row in made.tasks))


TEST, TRAINING = table(1, "test"), table(2, "training")


def simulated(orders: int = 3) -> RunReport:
    arm = TEST.arms[0]
    twice = FixedAllocator(replace(arm.allocation, beam_width=2))
    runs, reference = simulate(TEST, TRAINING, {"always two": Adaptive((twice,))}, {}, orders)
    return make_report(runs, reference, analysis=OF_SAMPLES, duels=["always two"])


@pytest.fixture(scope="module")
def three() -> RunReport:
    return simulated()


def named(report: RunReport, name: str) -> PolicyFigures:
    (one,) = (one for one in policies_of(report) if name in (one.line.name, one.line.kind))
    return one


def above_front(one: PolicyFigures) -> float | None:
    return None if one.gain is None else one.gain.gain


def success(one: PolicyFigures) -> float:
    return one.line.summary.success_rate


@pytest.mark.slow
def test_the_fixed_rows_are_near_the_closed_form(three: RunReport) -> None:
    name = TEST.arms[0].name
    row = named(three, f"1 {name}")
    truth = fixed_point((Pull(name, 1),), LEVELS)
    assert success(row) == pytest.approx(truth.success, abs=0.12)
    assert row.line.cost == pytest.approx(truth.cost, rel=0.05)


def test_no_policy_beats_the_oracle_and_the_oracle_lies_above_the_front(three: RunReport) -> None:
    oracle = named(three, "oracle")
    assert success(oracle) == max(map(success, policies_of(three)))
    above = above_front(oracle)
    assert above is not None
    assert above > 0.05


def test_an_allocator_that_does_as_a_fixed_one_has_its_figures(three: RunReport) -> None:
    one, two = named(three, "always two"), named(three, f"2 {TEST.arms[0].name}")
    assert one.line.summary == two.line.summary
    shuffled = named(three, "always two, shuffled among tasks")
    assert shuffled.line.summary.usage.tokens == one.line.summary.usage.tokens
    assert success(shuffled) == success(one)


def test_the_reference_is_chosen_on_training_tasks_and_compared_with_nothing(
    three: RunReport,
) -> None:
    assert named(three, three.reference).versus is None
    best = max(success(row) for row in policies_of(three) if row.line.kind == "fixed")
    assert success(named(three, three.reference)) >= best - 0.1
    assert sum(row.versus is None for row in policies_of(three)) == 1


def test_only_what_is_neither_fixed_nor_an_oracle_makes_the_family_of_tests(
    three: RunReport,
) -> None:
    tested = 0
    for row in policies_of(three):
        adjusted = None if row.versus is None else row.versus.holm
        assert (adjusted is None) == (row.line.kind in ("fixed", "oracle"))
        if row.versus is not None:
            assert row.versus.saving_holm is None
            assert adjusted is None or adjusted >= row.versus.p_value
            tested += adjusted is not None
    assert three.family == tested


def test_intervals_hold_what_they_are_of(three: RunReport) -> None:
    for row in policies_of(three):
        interval = row.line.success_interval
        assert interval is not None
        assert interval.low <= success(row) <= interval.high
        if row.gain is not None and row.gain.gain is not None:
            assert row.gain.interval is not None
            assert row.gain.interval.low <= row.gain.gain + 1e-9
            assert row.gain.gain <= row.gain.interval.high + 1e-9


def test_a_fixed_allocation_is_not_above_the_front(three: RunReport) -> None:
    assert three.curve is not None
    for row in policies_of(three):
        if row.line.kind == "fixed":
            there = success_at(three.curve.front, row.line.cost)
            assert there is not None
            assert success(row) <= there + 1e-9


def test_the_share_of_the_oracles_gain_is_that_of_what_lies_above_the_front(
    three: RunReport,
) -> None:
    oracle = named(three, "oracle").gain
    assert oracle is not None
    assert oracle.gain is not None
    for row in policies_of(three):
        if row.line.kind == "fixed":
            assert row.gain is None
        elif row.gain is not None and row.gain.gain is not None and row.gain.share is not None:
            assert row.gain.share * oracle.gain == pytest.approx(row.gain.gain)
    assert oracle.share == 1.0
    # To take two on every task is a fixed allocation: none of the gain, wherever the front is.
    two = named(three, "always two").gain
    assert two is not None
    assert two.share is not None
    assert two.share <= 1e-9


def test_a_duel_says_what_the_pairs_say(three: RunReport) -> None:
    assert {one.name for one in three.duels} == {"always two"}
    others = [row for row in policies_of(three) if row.line.kind == "rule"]
    assert len(three.duels) == len(others) + 1
    costs = [named(three, one.against).line.cost for one in three.duels]
    assert costs == sorted(costs)
    mine = named(three, "always two").line
    for one in three.duels:
        other = named(three, one.against)
        assert one.difference == pytest.approx(success(named(three, one.name)) - success(other))
        assert one.saving is not None
        assert one.saving.share == pytest.approx(1 - mine.cost / other.line.cost)
        assert one.interval is not None
        assert one.interval.low <= one.difference <= one.interval.high
        assert one.holm is None


def test_there_is_no_share_of_a_gain_that_there_is_not() -> None:
    certain = (Level(1.0, 0.2, {"short": 1.0, "long": 1.0}),)
    test, training = (
        replace(
            made := synthetic(20, seed=seed, samples=1, levels=certain),
            tasks=tuple(replace(row, task=f"{seed}/{row.task}") for row in made.tasks),
        )
        for seed in (1, 2)
    )
    runs, reference = simulate(test, training, {}, {}, 1)
    rows = policies_of(make_report(runs, reference, analysis=OF_SAMPLES))
    assert {row.gain.share for row in rows if row.gain is not None} == {None}


@pytest.mark.slow
def test_rules_are_tuned_on_training_tasks_and_replayed_on_the_test() -> None:
    test, training = (
        table.with_tasks([row.task for row in table.tasks[:6]]).with_arms("short")
        for table in (TEST, TRAINING)
    )
    runs, reference = simulate(test, training, {}, {}, 1, tuned=[0.5])
    found = {run.name: run for run in runs if " tuned at 0.5: " in run.name}
    assert {name.split()[0] for name in found} == set(rule_settings(training))
    (name,) = (name for name in found if name.startswith("until_sure"))
    spent = fixed(training, (Pull("short", int(reference.removesuffix(" short"))),))
    budget = sum(o.usage.tokens for o in spent) / len(spent)
    best = tuned_rules(training, Price(0.5, budget))["until_sure"]
    assert name == f"until_sure tuned at 0.5: {best.name}"
    assert [e.success for e in found[name].episodes] == [
        e.success for e in replay_allocator(test.permuted(0), best.allocator)
    ]


@pytest.mark.slow
def test_the_same_runs_give_the_same_figures() -> None:
    assert simulated(1) == simulated(1)


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
            simulate(test, training, {}, {}, 1)
    with pytest.raises(InvalidInputError, match="orders is 0"):
        simulate(TEST, TRAINING, {}, {}, 0)
