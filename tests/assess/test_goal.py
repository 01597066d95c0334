"""D lies in [0, 1], is the environment's or a stated estimate, and falls as more is named."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import context

from amp.assess.evidence import goal_distance, remaining_quantities, remaining_words
from amp.assess.text import numbers, quantities
from amp.types import Complexity, Observation, StepContext, StepRecord, Task, Usage

NUMBERS = "quantities in the goal for its distance"
WORDS = "words in the goal for its distance"
token = st.sampled_from(["2", "two", "2.0", "3", "1,200", "1200", "dozen", "dogs", "and", "x"])
phrases = st.lists(token, max_size=8).map(" ".join)


def step(action: str | None) -> StepRecord:
    return StepRecord(Observation(), (), Complexity(0.5), action, Usage())


def planned(goal: str, state: str, *actions: str | None) -> StepContext:
    return StepContext(Task("t", goal), Observation(state), tuple(map(step, actions)))


@given(st.text(), st.text(), st.text(), st.none() | st.floats())
def test_distance_stays_in_bounds(
    goal: str, state: str, action: str, distance: float | None
) -> None:
    at = StepContext(Task("t", goal), Observation(state, distance=distance), (step(action),))
    assert 0.0 <= goal_distance(at)[0] <= 1.0


@given(st.text(min_size=1).filter(numbers) | phrases.filter(numbers))
def test_before_anything_is_said_the_goals_numbers_are_its_distance(goal: str) -> None:
    assert goal_distance(planned(goal, "")) == (quantities(goal), NUMBERS)


@given(phrases, phrases, phrases, phrases)
def test_saying_more_brings_the_goal_no_further_away(
    goal: str, state: str, action: str, more: str
) -> None:
    before, _ = goal_distance(planned(goal, state, action))
    assert goal_distance(planned(goal, f"{state} {more}", action))[0] <= before
    assert goal_distance(planned(goal, state, action, more))[0] <= before
    assert goal_distance(planned(goal, f"{state} {goal}"))[0] == 0.0


@given(phrases, phrases)
def test_what_remains_is_a_part_of_the_goal_in_its_order(goal: str, text: str) -> None:
    left = remaining_quantities(goal, text)
    wanted = iter(numbers(goal))
    assert all(number in wanted for number in left)
    assert Counter(left) <= Counter(numbers(goal))
    assert remaining_quantities(goal, goal) == []
    assert remaining_quantities(goal, text, text) == left


def test_each_mention_counts_and_words_are_numbers() -> None:
    assert remaining_quantities("2 of 2 and two", "two") == ["2", "two"]
    assert remaining_quantities("1,200 and a dozen, 2.50", "1200 eggs, 12 and 2.5") == []
    assert remaining_quantities("9" * 5000, "") == ["9" * 5000]


def test_a_goal_without_numbers_is_measured_by_its_words() -> None:
    goal = "go to the red ball and open the box"
    assert remaining_words(goal, "") == ["go", "red", "ball", "open", "box"]
    assert goal_distance(planned(goal, "", None)) == (5 / 9, WORDS)
    assert goal_distance(planned(goal, "a red ball", "open")) == (2 / 6, WORDS)


def test_state_and_plan_that_say_the_same_are_not_added_up() -> None:
    assert goal_distance(planned("2 and 2", "I take 2", "I take 2"))[0] == 1 / 5
    assert goal_distance(planned("2 and 3", "I take 2", "I take 3"))[0] == 0.0


def test_the_environments_estimate_comes_first_and_is_cut_to_its_bounds() -> None:
    assert goal_distance(context(observation=Observation(distance=0.4))) == (0.4, None)
    assert goal_distance(context(observation=Observation(distance=-1))) == (0.0, None)
    assert goal_distance(context(observation=Observation(distance=3))) == (1.0, None)


@pytest.mark.parametrize("distance", [math.nan, math.inf])
def test_an_estimate_that_is_no_number_is_not_believed(distance: float) -> None:
    at = context(Task("t", "5 of 10"), Observation(distance=distance))
    assert goal_distance(at) == (2 / 6, NUMBERS)
