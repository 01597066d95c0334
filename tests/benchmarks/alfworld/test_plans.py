"""Plans in the words of ALFWorld: pinned texts, how they are read, and where they go on."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.benchmarks.alfworld.plans import PLANS, VERSION, ALFWorldPlans, Planned
from amp.types import Observation, StepContext, Task

PINNED = ("alfworld-plan/1", "759f95228c2d95a0")
READER = ALFWorldPlans()
AT_FRIDGE = "You hold nothing.\nYou are at fridge 1, with orange 2."
LISTED = ("go to cabinet 1", "go to cabinet 2", "take orange 2 from fridge 1", "open drawer 1")


def at(state: str = AT_FRIDGE) -> StepContext:
    return StepContext(Task("t", "put a cool orange in cabinet"), Observation(state, LISTED))


def test_a_changed_text_is_a_new_version() -> None:
    told = "\n".join(f"{m.role}: {m.content}" for m in READER.ask(at(), LISTED, 3).messages)
    assert (VERSION, hashlib.sha256(told.encode()).hexdigest()[:16]) == PINNED


@pytest.mark.parametrize("example", PLANS, ids=lambda e: e.goal)
def test_the_worked_examples_are_read_as_they_stand(example: Planned) -> None:
    assert tuple(map(READER.read, example.plan)) == example.plan


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("Take the orange from the fridge 1.", "take orange from fridge 1"),
        ("put orange 1 in/on cabinet 1", "move orange 1 to cabinet 1"),
        ("put orange in cabinet 1", "move orange to cabinet 1"),
        ("use desklamp 1", "use desklamp 1"),
        ("look for an orange", None),
        ("", None),
    ],
)
def test_lines_are_read_generously(line: str, read: str | None) -> None:
    assert READER.read(line) == read


@pytest.mark.parametrize(
    ("plan", "following"),
    [
        (("take orange from fridge 1", "x"), ("take orange 2 from fridge 1", "x")),
        (("take orange 1 from fridge 1",), ("take orange 2 from fridge 1",)),
        (("take orange from fridge 2",), ()),
        (("go to cabinet",), ("go to cabinet 1",)),
        (("go to cabinet 2",), ("go to cabinet 2",)),
        # The agent is there, and what is open needs no opening.
        (
            ("go to fridge 1", "open fridge 1", "take orange 2 from fridge 1", "x"),
            ("take orange 2 from fridge 1", "x"),
        ),
        (("go to fridge 2", "take orange 2 from fridge 1"), ()),
        (("cool orange 2 with fridge 1",), ()),
        ((), ()),
    ],
)
def test_where_a_plan_goes_on(plan: tuple[str, ...], following: tuple[str, ...]) -> None:
    assert READER.following(at(), plan, LISTED) == following


lines = st.sampled_from([line for example in PLANS for line in example.plan] + list(LISTED))


@settings(max_examples=50)
@given(st.lists(lines, max_size=6), st.lists(lines, max_size=8))
def test_what_is_followed_is_admissible_and_the_rest_is_of_the_plan(
    plan: list[str], actions: list[str]
) -> None:
    following = READER.following(at(), tuple(plan), tuple(actions))
    if following:
        action, *rest = following
        assert action in actions
        assert rest == plan[len(plan) - len(rest) :]
