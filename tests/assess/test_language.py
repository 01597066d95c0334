"""Indicators and numbers are counted as whole words, in any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.assess.text import (
    INDICATORS,
    MAX_CHARACTERS,
    indicator_counts,
    latest,
    numbers,
    quantities,
    reasoning_indicators,
    word_count,
)
from amp.assess.uncertainty import saturating

indicator = st.sampled_from(sorted(word for words in INDICATORS.values() for word in words))


@given(st.text(), indicator)
def test_one_more_indicator_never_lowers_a_count(text: str, word: str) -> None:
    before, after = indicator_counts(text), indicator_counts(f"{text} {word}")
    assert all(after[name] >= before[name] for name in INDICATORS)
    assert sum(after.values()) == sum(before.values()) + 1
    assert reasoning_indicators(f"{text} {word}") > reasoning_indicators(text)


@given(st.text())
def test_density_is_the_total_of_the_classes_and_stays_in_bounds(text: str) -> None:
    assert reasoning_indicators(text) == saturating(sum(indicator_counts(text).values()), 4.0)
    assert 0.0 <= reasoning_indicators(text) < 1.0


def test_no_word_is_in_two_classes() -> None:
    assert len(set().union(*INDICATORS.values())) == sum(map(len, INDICATORS.values())) == 46


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Because it rained", "causal"),
        ("IF he stays", "conditional"),
        ("however", "contrastive"),
        ("she would go", "hypothetical"),
        ("than", "quantitative"),
        ("finally", "temporal"),
    ],
)
def test_a_word_counts_in_its_own_class_alone(text: str, name: str) -> None:
    assert indicator_counts(text) == {other: int(other == name) for other in INDICATORS}


def test_a_word_counts_as_often_as_it_stands() -> None:
    assert indicator_counts("if, if and If")["conditional"] == 3


def test_indicators_are_whole_words() -> None:
    assert reasoning_indicators("Thanks, Ifeoma: a button, likeness and butter") == 0.0
    assert reasoning_indicators("If it rains, then stay; otherwise go") == saturating(3, 4)


def test_quantities_are_counted_in_digits_and_words() -> None:
    assert quantities("3 dogs, 1,200 cats and two birds") == saturating(3, 4)
    assert quantities("someone often stones") == 0.0


def test_numbers_are_listed_as_they_stand() -> None:
    assert numbers("Two of 1,200, then 3.50.") == ("two", "1,200", "3.50")


@given(st.text())
def test_quantities_are_the_density_of_the_numbers(text: str) -> None:
    assert quantities(text) == saturating(len(numbers(text)), 4.0)


def test_words_are_counted_in_any_script() -> None:
    assert word_count("") == 0
    assert word_count("don't stop at 3 a.m.") == 6
    assert word_count("Привет, мир") == 2
    assert indicator_counts("если идёт дождь") == dict.fromkeys(INDICATORS, 0)


@given(st.text(max_size=50))
def test_what_is_read_of_a_text_is_its_end(text: str) -> None:
    assert latest(text) == text
    assert latest("x" * MAX_CHARACTERS + text) == ("x" * MAX_CHARACTERS + text)[len(text) :]
