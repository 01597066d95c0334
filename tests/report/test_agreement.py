"""Agreement: equal to other ways to work it out, sure of itself only as far as there are tasks."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.annotations.collect import krippendorff_alpha
from amp.annotations.store import Annotation
from amp.errors import InvalidInputError
from amp.report.agreement import (
    MEAN,
    agreement_report,
    agreement_tables,
    coincidences,
    weighted_alpha,
    weighted_kappa,
)

VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


def note(by: str, step: int, complexity: float, task: str = "") -> Annotation:
    return Annotation(task or f"t{step}", step, complexity, by, "goal")


@given(st.lists(st.lists(VALUES, min_size=2, max_size=4), min_size=1, max_size=8), st.data())
def test_alpha_is_that_of_the_plain_formula_also_of_repeated_units(
    units: list[list[float]], data: st.DataObject
) -> None:
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(units), max_size=len(units)))
    repeated = [unit for unit, count in zip(units, times, strict=True) for _ in range(count)]
    expected = krippendorff_alpha(repeated, "ordinal")
    (found,) = weighted_alpha(coincidences(units), np.array([times], dtype=float))
    assert math.isnan(found) if expected is None else found == pytest.approx(expected)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
def test_kappa_is_that_of_the_table_of_two_raters(pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(column) for column in zip(*pairs, strict=True))
    scale = np.linspace(0, 1, 5)
    table = np.zeros((5, 5))
    for one, other in pairs:
        table[int(4 * one), int(4 * other)] += 1 / len(pairs)
    chance = np.outer(table.sum(1), table.sum(0))
    costs = (scale[:, None] - scale) ** 2
    (found,) = weighted_kappa(x, y, np.ones((1, len(pairs))))
    if (costs * chance).sum() < 1e-12:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(1 - (costs * table).sum() / (costs * chance).sum(), abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=12), st.randoms())
def test_the_order_of_annotations_and_of_raters_is_of_no_matter(
    pairs: list[tuple[float, float]], chance: random.Random
) -> None:
    notes = [
        note(by, step, value)
        for step, both in enumerate(pairs)
        for by, value in zip(("person:ann", "person:ben"), both, strict=True)
    ]
    report = agreement_report(notes, resamples=20)
    (pair,) = report.pairs
    swapped = {"person:ann": "person:ben", "person:ben": "person:ann"}
    turned = [note(swapped[one.by], one.step, one.complexity) for one in notes]
    chance.shuffle(turned)
    again = agreement_report(turned, resamples=20)
    for one, other in (
        (report.alpha.value, again.alpha.value),
        (pair.kappa.value, again.pairs[0].kappa.value),
        (pair.correlation.value, again.pairs[0].correlation.value),
        (pair.same, again.pairs[0].same),
    ):
        assert one == pytest.approx(other)


def test_raters_are_held_to_each_other_and_to_rules() -> None:
    chance = random.Random(0)
    truth = [chance.randint(1, 5) for _ in range(60)]

    def near(rating: int) -> float:
        return (max(1, min(5, rating + chance.choice((-1, 0, 0, 1)))) - 1) / 4

    notes = [note("person:ann", step, near(rating)) for step, rating in enumerate(truth)]
    notes += [note("person:ben", step, near(rating)) for step, rating in enumerate(truth[:50])]
    notes += [note("rule:needs", step, rating**2 / 25) for step, rating in enumerate(truth)]
    notes += [note("rule:chance", step, chance.random()) for step in range(60)]
    notes += [note("rule:chance", 0, 1.0, "elsewhere")]
    later = Annotation("t0", 0, 0.0, "rule:needs", "goal", candidates=(0,))
    report = agreement_report([*notes, later], resamples=400)
    assert report.rated == {"person:ann": 60, "person:ben": 50}
    (pair,) = report.pairs
    assert (pair.one, pair.other, pair.steps, pair.tasks) == ("person:ann", "person:ben", 50, 50)
    for found in (report.alpha, pair.kappa, pair.correlation):
        assert found.value is not None
        assert found.interval is not None
        assert 0.6 < found.interval.low < found.value < found.interval.high < 1
    named = {(each.one, each.other): each for each in report.rules}
    assert set(named) == {
        (one, f"rule:{rule}")
        for one in ("person:ann", "person:ben", MEAN)
        for rule in ("needs", "chance")
    } | {("rule:needs", "rule:chance")}
    needs, chances = (named[MEAN, f"rule:{rule}"] for rule in ("needs", "chance"))
    assert needs.correlation.value is not None
    assert needs.kappa.value is not None
    assert needs.correlation.value > needs.kappa.value > 0.5  # the same order, other numbers
    assert chances.steps == 60
    assert chances.correlation.interval is not None
    assert chances.correlation.interval.low < 0 < chances.correlation.interval.high


def test_steps_of_one_task_are_worth_less_than_those_of_many() -> None:
    chance = random.Random(1)
    values = [(chance.randint(0, 4) / 4, chance.randint(0, 4) / 4) for _ in range(6)]

    def width(task_of: int) -> float:
        """Sixty steps that repeat six, each as a task of its own or ten to a task."""
        notes = [
            note(by, step, value, f"t{step % 6 if task_of else step}")
            for step in range(60)
            for by, value in zip(("person:ann", "person:ben"), values[step % 6], strict=True)
        ]
        interval = agreement_report(notes, resamples=400).pairs[0].kappa.interval
        assert interval is not None
        return interval.high - interval.low

    assert width(1) > 2 * width(0)


def test_what_cannot_be_told_is_told_so() -> None:
    alone = agreement_report([note("person:ann", 0, 0.5)], resamples=9)
    assert (alone.alpha.value, alone.alpha.note) == (None, "not defined: no step was rated by two")
    assert (alone.pairs, alone.rules, agreement_tables(alone)) == ((), (), [])
    apart = agreement_report([note("person:ann", 0, 0.5), note("person:ben", 1, 0.5)], resamples=9)
    assert apart.pairs[0].kappa.note == "not defined: no step was annotated by both"
    assert apart.pairs[0].same is None
    equal = [note(by, step, 0.5) for by in ("person:ann", "person:ben") for step in range(3)]
    assert agreement_report(equal, resamples=9).alpha.note == "not defined: all say the same"
    one_task = [note(by, s, s / 4, "t") for by in ("person:ann", "person:ben") for s in range(5)]
    report = agreement_report(one_task, resamples=9)
    assert (report.alpha.value, report.alpha.note) == (1.0, "no interval: one task")
    (table,) = agreement_tables(report)
    assert next(table.texts())[-1] == "no interval: one task"


def test_rules_are_held_to_one_another_on_the_steps_that_were_rated() -> None:
    raters = [note(f"person:{by}", step, step / 9) for by in ("ann", "ben") for step in range(6)]
    rules = [
        note(f"rule:{name}", step, value)
        for step in range(10)  # of the last four nobody said anything; there the rules part
        for name, value in (("needed", step / 9), ("words", (9 - step if step < 6 else step) / 9))
    ]
    report = agreement_report([*raters, *rules], "rule:needed", resamples=9)
    assert {(pair.other, pair.steps) for pair in report.rules} == {("rule:needed", 6)}
    found = {pair.one: pair.correlation.value for pair in report.rules}
    expected = {"person:ann": 1.0, "person:ben": 1.0, MEAN: 1.0, "rule:words": -1.0}
    assert found == pytest.approx(expected)
    both = agreement_report([*raters, *rules], resamples=9).rules
    assert len(both) == 7  # two rules beside three each, and beside each other
    (alone,) = agreement_report(rules, "rule:needed", resamples=9).rules
    assert alone.steps == 10
    with pytest.raises(InvalidInputError, match="by rule:neded; did you mean 'rule:needed'"):
        agreement_report(rules, "rule:neded")
