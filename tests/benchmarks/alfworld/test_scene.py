"""What is believed follows the game's words and nothing else; distance falls as goals are met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.alfworld.scene import Goal, Scene, distance, read_goal

INTRO = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around"
    " you, you see a cabinet 10, a cabinet 2, a fridge 1, a shelf 1, and a shelf 2.\n\n"
    "Your task is to: put a hot apple in fridge."
)


def after(*texts: str) -> Scene:
    scene = Scene()
    for text in (INTRO, *texts):
        scene.hear(text)
    return scene


def test_the_room_lists_its_places_in_the_order_of_their_numbers() -> None:
    scene = after()
    assert scene.receptacles == ("cabinet 2", "cabinet 10", "fridge 1", "shelf 1", "shelf 2")
    assert scene.unexplored() == scene.receptacles
    assert scene.at is None


def test_what_was_seen_on_a_place_stays_known() -> None:
    scene = after(
        "You arrive at shelf 1. On the shelf 1, you see a apple 1, a mug 2, and a pen 1.",
        "You arrive at shelf 2. On the shelf 2, you see nothing.",
    )
    assert scene.contents == {"shelf 1": ("apple 1", "mug 2", "pen 1"), "shelf 2": ()}
    assert scene.visited == ["shelf 1", "shelf 2"]
    assert scene.found("apple") == ("apple 1",)
    assert scene.where("apple 1") == "shelf 1"
    assert "shelf 1: apple 1, mug 2, pen 1" in scene.describe()
    assert "shelf 2, with nothing" in scene.describe()


def test_a_closed_place_is_unknown_until_it_is_opened() -> None:
    scene = after("You arrive at fridge 1. The fridge 1 is closed.")
    assert scene.shut == {"fridge 1": True}
    assert "fridge 1" in scene.unexplored()
    scene.hear("You open the fridge 1. The fridge 1 is open. In it, you see a egg 1.")
    assert scene.shut == {"fridge 1": False}
    assert scene.contents == {"fridge 1": ("egg 1",)}
    scene.hear("You close the fridge 1.")
    assert scene.shut == {"fridge 1": True}
    assert scene.contents == {"fridge 1": ("egg 1",)}


def test_things_are_taken_changed_and_put_down() -> None:
    scene = after(
        "You arrive at shelf 1. On the shelf 1, you see a apple 1.",
        "You pick up the apple 1 from the shelf 1.",
    )
    assert scene.held == "apple 1"
    assert scene.contents["shelf 1"] == ()
    scene.hear("You heat the apple 1 using the microwave 1.")
    assert scene.told("apple 1") == "apple 1 (hot)"
    scene.hear("You cool the apple 1 using the fridge 1.")
    scene.hear("You clean the apple 1 using the sinkbasin 1.")
    assert scene.told("apple 1") == "apple 1 (clean, cool)"
    scene.hear("You move the apple 1 to the shelf 2.")
    assert scene.where("apple 1") == "shelf 2"
    assert "You hold nothing." in scene.describe()


def test_the_old_wording_of_putting_is_understood() -> None:
    scene = after("You pick up the apple 1 from the shelf 1.")
    scene.hear("You put the apple 1 in/on the fridge 1.")
    assert scene.where("apple 1") == "fridge 1"


def test_a_lamp_that_was_turned_on_is_lit() -> None:
    scene = after("You turn on the desklamp 1.")
    assert scene.told("desklamp 1") == "desklamp 1 (lit)"


def test_nothing_is_learned_where_nothing_happens() -> None:
    before = after()
    again = after("Nothing happens.", "You are not carrying anything.")
    again.hear("You are in the middle of a room. Looking quickly around you, you see nothing.")
    assert again == before


def test_places_within_reach_are_those_that_can_be_examined() -> None:
    scene = after()
    said = "You arrive at shelf 1. On the shelf 1, you see a pen 1."
    scene.hear(said, ["examine pen 1", "examine shelf 1", "examine shelf 2", "go to fridge 1"])
    assert scene.near == ("shelf 2",)
    assert "You can also reach shelf 2." in scene.describe()


def test_what_can_be_taken_or_used_is_there() -> None:
    scene = after()
    said = "You arrive at shelf 1. On the shelf 1, you see a pen 1."
    scene.hear(said, ["take apple 1 from shelf 2", "take pen 1 from shelf 1", "use desklamp 1"])
    assert scene.contents == {"shelf 1": ("pen 1", "desklamp 1"), "shelf 2": ("apple 1",)}


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
