"""Krippendorff's alpha: its laws, and the worked example of his paper."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.annotations.collect import Level, krippendorff_alpha, measure_agreement
from amp.annotations.store import Annotation

LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
UNITS = st.lists(st.lists(st.integers(1, 5).map(float), max_size=4), max_size=8)

# Krippendorff 2011: four observers, twelve units, "." for a missing value.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
EXAMPLE = [
    [float(value) for value in unit if value != "."]
    for unit in zip(*(observer.split() for observer in OBSERVERS), strict=True)
]


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_the_published_example_comes_out(level: Level, published: float) -> None:
    assert krippendorff_alpha(EXAMPLE, level) == pytest.approx(published, abs=0.0006)


@pytest.mark.parametrize("level", LEVELS)
@given(units=UNITS, seed=st.integers())
def test_neither_the_order_of_annotators_nor_that_of_units_matters(
    level: Level, units: list[list[float]], seed: int
) -> None:
    generator = random.Random(seed)
    mixed = [generator.sample(unit, len(unit)) for unit in generator.sample(units, len(units))]
    assert krippendorff_alpha(mixed, level) == krippendorff_alpha(units, level)


@pytest.mark.parametrize("level", LEVELS)
@given(units=UNITS)
def test_alpha_is_1_exactly_when_all_agree_and_some_units_differ(
    level: Level, units: list[list[float]]
) -> None:
    paired = [set(unit) for unit in units if len(unit) > 1]
    alpha = krippendorff_alpha(units, level)
    assert alpha is None or alpha <= 1
    assert (alpha is None) == (len(set().union(*paired)) < 2)
    assert (alpha == 1) == (alpha is not None and all(len(unit) == 1 for unit in paired))


@pytest.mark.parametrize("level", LEVELS)
def test_random_ratings_agree_by_chance(level: Level) -> None:
    generator = random.Random(0)
    units = [[float(generator.randint(1, 5)) for _ in range(3)] for _ in range(3000)]
    assert krippendorff_alpha(units, level) == pytest.approx(0, abs=0.03)


@given(UNITS)
def test_only_ranks_matter_to_the_ordinal_alpha(units: list[list[float]]) -> None:
    stretched = [[value**3 for value in unit] for unit in units]
    assert krippendorff_alpha(stretched) == krippendorff_alpha(units)


def test_those_who_always_differ_agree_less_than_by_chance() -> None:
    alpha = krippendorff_alpha([[1.0, 5.0], [5.0, 1.0]])
    assert alpha is not None
    assert alpha < 0


def note(step: int, by: str, complexity: float, state: str = "") -> Annotation:
    return Annotation("task", step, complexity, by, "goal", state)


def test_annotations_are_matched_by_step_and_the_last_of_an_annotator_counts() -> None:
    notes = [
        note(0, "person:ann", 1.0),
        note(0, "person:ann", 0.25),
        note(0, "person:bob", 0.25),
        note(1, "person:bob", 0.75),
        note(1, "person:ann", 0.75),
        note(2, "person:ann", 0.5),
        note(2, "person:bob", 1.0, state="another"),
        note(0, "rule:count", 0.0),
    ]
    found = measure_agreement(notes)
    assert (found.alpha, found.shared_steps) == (1.0, 2)
    assert found.annotators == ("person:ann", "person:bob")
    assert found.level == "ordinal"
    with_rules = measure_agreement(notes, rules=True)
    assert len(with_rules.annotators) == 3
    assert with_rules.alpha is not None
    assert with_rules.alpha < 1


def test_one_annotator_alone_has_no_agreement() -> None:
    found = measure_agreement([note(0, "person:ann", 0.5), note(1, "person:ann", 1.0)])
    assert (found.alpha, found.shared_steps) == (None, 0)
