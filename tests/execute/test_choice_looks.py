"""Laws of what a choice looks like against the plan so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.execute.choice_step import choice_looks
from amp.types import Candidate, Complexity, Observation, StepContext, StepRecord, Task, Usage

ACTIONS = ("left", "right", "wait")
States = Sequence[str]


def observed(state: str) -> Observation:
    return Observation(state, ACTIONS, {"finder": ("go home",)})


def plan(states: States, actions: Sequence[str | None]) -> StepContext:
    """A plan that came through the states; the last one is where it is now."""
    *before, now = states
    steps = tuple(
        StepRecord(observed(state), (), Complexity(0.0), action, Usage())
        for state, action in zip(before, actions, strict=True)
    )
    return StepContext(Task("t", "go"), observed(now), steps)


@st.composite
def plans(draw: st.DrawFn) -> StepContext:
    states = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=7))
    actions = st.sampled_from((*ACTIONS, "go home", None))
    return plan(states, draw(st.lists(actions, min_size=len(states) - 1, max_size=len(states) - 1)))


def looks(context: StepContext, action: str | None) -> dict[str, float]:
    return choice_looks(context, Candidate("", action))


@given(plans(), st.sampled_from((*ACTIONS, "go home", "fly")))
def test_counts_are_those_of_a_plain_reading(context: StepContext, action: str) -> None:
    told = looks(context, action)
    here = [step for step in context.steps if step.observation == context.observation]
    assert told["visits"] == len(here)
    assert told["tried"] == sum(step.action == action for step in here)
    assert told["done"] == sum(step.action == action for step in context.steps)
    assert told["tried"] <= min(told["done"], told["visits"])
    assert told["repeats"] == (bool(context.steps) and context.steps[-1].action == action)
    assert all(math.isfinite(value) for value in told.values())


@given(plans(), st.sampled_from((*ACTIONS, "go home")))
def test_only_what_was_tried_is_known(context: StepContext, action: str) -> None:
    told = looks(context, action)
    assert ("futile" in told) == (told["done"] > 0)
    assert ("undoes" in told) == (told["tried"] > 0)


@given(plans(), st.sampled_from((*ACTIONS, "go home")))
def test_doing_it_once_more_counts_it_once_more(context: StepContext, action: str) -> None:
    step = StepRecord(context.observation, (), Complexity(0.0), action, Usage())
    before, after = looks(context, action), looks(
        replace(context, steps=(*context.steps, step)), action
    )  # fmt: skip
    assert after["tried"] == before["tried"] + 1
    assert (after["futile"], after["repeats"]) == (1.0, 1.0)  # it is where it was


def test_an_action_that_led_back_is_known_to_undo() -> None:
    there_and_back = plan("abab", ("right", "left", "right"))
    told = looks(there_and_back, "left")
    assert (told["undoes"], told["futile"], told["tried"]) == (1.0, 0.0, 1)
    assert looks(plan("abcb", ("right", "right", "left")), "right")["undoes"] == 1.0
    assert looks(plan("abcab", ("right", "right", "wait", "right")), "right")["undoes"] == 0.0


def test_the_choice_is_among_the_list_that_it_stands_in() -> None:
    context = plan("a", ())
    assert looks(context, "left")["options"] == math.log(3)
    assert looks(context, "go home")["options"] == 0.0
    assert [looks(context, action)["admissible"] for action in ("left", "go home", "fly")] == [
        *(1.0, 1.0, 0.0)
    ]


def test_where_no_state_is_told_nothing_is_said_of_what_changed() -> None:
    told = looks(plan(("", ""), ("wait",)), "wait")
    assert told["tried"] == 1
    assert not {"futile", "undoes"} & told.keys()


@pytest.mark.parametrize("action", ["left", None])
def test_an_open_step_and_no_action_look_like_nothing(action: str | None) -> None:
    context = plan("a", ())
    if action is not None:
        context = replace(context, observation=Observation("a"))
    assert looks(context, action) == {}


def test_actions_that_are_found_when_asked_for_are_not_asked_for_in_vain() -> None:
    class Asked(dict[str, tuple[str, ...]]):
        def values(self) -> None:  # type: ignore[override]
            raise AssertionError("asked")

    context = replace(plan("a", ()), observation=Observation("a", ACTIONS, Asked()))
    assert looks(context, "left")["admissible"] == 1.0
