"""Laws of what an answer to a word problem looks like."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.gsm8k.plausibility import plausibility
from amp.types import Candidate, Observation, StepContext, Task

GOALS = st.text(max_size=200) | st.lists(
    st.sampled_from(
        ["how many", "$", "%", "two", "1,200", "2.50", "9" * 400, "1.2.3", "dozen", "-"]
    )
).map(" ".join)
ACTIONS = st.none() | st.text(max_size=20) | st.floats().map(str) | st.integers().map(str)
ABOUT_THE_ANSWER = {"negative", "zero", "below_one", "fraction", "below_cents", "size"}


def looks(goal: str, action: str | None) -> dict[str, float]:
    return plausibility(StepContext(Task("t", goal), Observation("")), Candidate("", action))


@given(GOALS, ACTIONS)
def test_any_text_is_told_in_finite_numbers(goal: str, action: str | None) -> None:
    found = looks(goal, action)
    assert all(math.isfinite(value) for value in found.values())
    assert {"asks_count", "asks_money", "asks_percent"} <= found.keys()


@pytest.mark.parametrize("action", [None, "", "twelve", "nan", "-inf", "1e400", "9" * 30])
def test_an_answer_that_is_no_number_has_no_look_of_its_own(action: str | None) -> None:
    assert not ABOUT_THE_ANSWER & looks("How many are 3 and 4?", action).keys()


def test_a_question_without_numbers_is_compared_with_nothing() -> None:
    missing = {"over_largest", "repeats"}
    assert looks("How many are left?", "7").keys() >= ABOUT_THE_ANSWER
    assert not missing & looks("How many are left?", "7").keys()
    assert missing <= looks("How many of 9 are left?", "7").keys()


def test_looks_are_those_of_the_question_and_its_numbers() -> None:
    goal = "Ann pays $3.50 for each of 4 pens. How many dollars is that?"
    repeated, odd = looks(goal, "4"), looks(goal, "-0.125")
    assert (repeated["repeats"], repeated["over_largest"], repeated["negative"]) == (1.0, 0.0, 0.0)
    assert odd["negative"] == odd["fraction_of_count"] == odd["below_cents"] == 1.0
    assert odd["over_largest"] < 0.0
