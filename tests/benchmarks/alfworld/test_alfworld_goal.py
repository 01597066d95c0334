"""Goals are read from ALFWorld's templates; distance falls from 1 to 0 as parts are met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.alfworld.scene import Goal, Scene, distance, read_goal

TEMPLATES = {
    "put a {o} in {p}": Goal("mug", place="shelf"),
    "put some {o} on {p}": Goal("mug", place="shelf"),
    "put a clean {o} in {p}": Goal("mug", state="clean", place="shelf"),
    "clean some {o} and put it in {p}": Goal("mug", state="clean", place="shelf"),
    "put a hot {o} in {p}": Goal("mug", state="hot", place="shelf"),
    "heat some {o} and put it in {p}": Goal("mug", state="hot", place="shelf"),
    "put a cool {o} in {p}": Goal("mug", state="cool", place="shelf"),
    "cool some {o} and put it in {p}": Goal("mug", state="cool", place="shelf"),
    "put two {o} in {p}": Goal("mug", count=2, place="shelf"),
    "find two {o} and put them in {p}": Goal("mug", count=2, place="shelf"),
    "look at {o} under the {p}": Goal("mug", lamp="shelf"),
    "examine the {o} with the {p}": Goal("mug", lamp="shelf"),
}

ROOM = ("desk 1", "shelf 1", "shelf 2")


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_is_read(template: str) -> None:
    assert read_goal(template.format(o="mug", p="shelf")) == TEMPLATES[template]


@pytest.mark.parametrize("words", ["", "put it away", "make coffee for two people"])
def test_other_words_are_no_goal(words: str) -> None:
    assert read_goal(words) is None


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    mugs: list[str] = draw(st.lists(st.sampled_from(["mug 1", "mug 2", "mug 3"]), unique=True))
    scene = Scene(receptacles=ROOM, at=draw(st.none() | st.sampled_from(ROOM)))
    keeps = draw(st.booleans())
    if mugs and keeps:
        scene.held = mugs.pop()
    for mug in mugs:
        place = draw(st.sampled_from(ROOM))
        scene.contents[place] = (*scene.contents.get(place, ()), mug)
    hot: list[str] = draw(st.lists(st.sampled_from(["mug 1", "mug 2", "mug 3"])))
    scene.states = {mug: frozenset({"hot"}) for mug in hot}
    return scene


@given(scenes(), st.sampled_from(sorted(TEMPLATES)))
def test_distance_is_a_share(scene: Scene, template: str) -> None:
    assert 0.0 <= distance(TEMPLATES[template], scene) <= 1.0


@given(scenes())
def test_distance_is_zero_exactly_where_the_goal_holds(scene: Scene) -> None:
    hot = {place for place in ROOM for n in scene.contents.get(place, ()) if n in scene.states}
    reached = bool(hot & {"shelf 1", "shelf 2"})
    assert (distance(Goal("mug", state="hot", place="shelf"), scene) == 0.0) == reached
    both = any(len(scene.contents.get(place, ())) >= 2 for place in ("shelf 1", "shelf 2"))
    assert (distance(Goal("mug", count=2, place="shelf"), scene) == 0.0) == both


def test_each_part_that_is_met_counts_the_same() -> None:
    goal, scene = Goal("mug", state="hot", place="shelf"), Scene(receptacles=ROOM)
    seen = [distance(goal, scene)]
    for text in (
        "You arrive at desk 1. On the desk 1, you see a mug 1.",
        "You pick up the mug 1 from the desk 1.",
        "You heat the mug 1 using the microwave 1.",
        "You move the mug 1 to the shelf 2.",
    ):
        scene.hear(text)
        seen.append(distance(goal, scene))
    assert seen == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_a_look_under_a_lamp_needs_the_thing_in_hand_at_the_lit_lamp() -> None:
    goal, scene = Goal("mug", lamp="desklamp"), Scene(receptacles=ROOM)
    seen = [distance(goal, scene)]
    for text in (
        "You arrive at desk 1. On the desk 1, you see a desklamp 1.",
        "You turn on the desklamp 1.",
        "You arrive at shelf 1. On the shelf 1, you see a mug 1.",
        "You pick up the mug 1 from the shelf 1.",
        "You arrive at desk 1. On the desk 1, you see a desklamp 1.",
    ):
        scene.hear(text)
        seen.append(distance(goal, scene))
    assert seen == pytest.approx([1.0, 0.8, 0.4, 0.4, 0.2, 0.0])


def test_a_thing_in_its_place_without_its_state_is_no_nearer_than_one_that_was_found() -> None:
    scene = Scene(receptacles=ROOM, contents={"shelf 1": ("mug 1",)})
    assert distance(Goal("mug", state="hot", place="shelf"), scene) == 0.75
