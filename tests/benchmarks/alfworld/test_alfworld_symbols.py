"""Plans from beliefs: what was seen is used, what was not is looked for where belief puts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.alfworld.planning import (
    Belief,
    belief_by_kind,
    common_sense,
    missing,
    planning_problem,
    random_belief,
)
from amp.benchmarks.alfworld.scene import Goal, Scene
from amp.execute.tools.strips import solve
from amp.execute.tools.symbolic_planner import read_problem

PLACES = ("cabinet 1", "cabinet 2", "fridge 1", "microwave 1", "shelf 1", "sinkbasin 1")
THINGS = ("apple", "bread", "mug", "desklamp", "no such thing")
HOT_APPLE = Goal("apple", state="hot", place="fridge")


def plan(goal: Goal, scene: Scene, believe: Belief = common_sense) -> list[str] | None:
    stated = planning_problem(goal, scene, believe)
    if stated is None:
        return None
    found = solve(read_problem(stated), cheapest=True)
    return None if found is None else [action.name for action in found]


@given(
    st.sampled_from(THINGS),
    st.lists(st.sampled_from(PLACES), min_size=1, unique=True),
    st.text(max_size=3),
)
def test_beliefs_are_probabilities_and_chance_repeats(
    thing: str, places: list[str], seed: str
) -> None:
    model = belief_by_kind({"apple": {"fridge": 0.9, "cabinet": 0.1}, "mug": {}})
    for believe in (common_sense, random_belief(seed), model):
        belief = believe(thing, places)
        assert list(belief) == places
        assert sum(belief.values()) == pytest.approx(1.0)
        assert min(belief.values()) >= 0.0
    assert random_belief(seed)(thing, places) == random_belief(seed)(thing, places)


def test_common_sense_looks_for_food_in_the_fridge_and_one_of_many_counts_less() -> None:
    belief = common_sense("apple", PLACES)
    assert max(belief, key=lambda place: belief[place]) == "fridge 1"
    spread = belief_by_kind({"mug": {"cabinet": 0.6, "shelf": 0.4}})("mug", PLACES)
    assert spread["cabinet 1"] == pytest.approx(0.3)


def test_a_thing_that_was_seen_is_fetched_and_changed() -> None:
    scene = Scene(PLACES, contents={"shelf 1": ("apple 2",)}, shut={"fridge 1": True})
    assert plan(HOT_APPLE, scene) == [
        "go to shelf 1",
        "take apple 2 from shelf 1",
        "go to microwave 1",
        "heat apple 2 with microwave 1",
        "go to fridge 1",
        "open fridge 1",
        "move apple 2 to fridge 1",
    ]


def test_a_thing_that_was_not_seen_is_looked_for_where_belief_puts_it() -> None:
    steps = plan(HOT_APPLE, Scene(PLACES), belief_by_kind({"apple": {"shelf": 1.0}}))
    assert steps is not None
    assert steps[:2] == ["go to shelf 1", "take apple from shelf 1"]


def test_what_was_searched_in_vain_is_ruled_out_and_changes_no_other_belief() -> None:
    """Two of three cabinets were empty: the shelf is now the likelier place, as by Bayes' rule."""
    places = ("cabinet 1", "cabinet 2", "cabinet 3", "shelf 1")
    believe = belief_by_kind({"apple": {"cabinet": 0.6, "shelf": 0.4}})
    scene = Scene(places, contents={"cabinet 1": (), "cabinet 2": ()})
    steps = plan(Goal("apple", place="cabinet"), scene, believe)
    assert steps is not None
    assert steps[0] == "go to shelf 1"


def test_what_is_missing_is_what_the_goal_needs_and_nobody_saw() -> None:
    two, look = Goal("mug", count=2, place="shelf"), Goal("mug", lamp="desklamp")
    one_seen = Scene(PLACES, contents={"shelf 1": ("mug 1",)})
    assert missing(two, Scene(PLACES)) == missing(two, one_seen) == ("mug",)
    assert missing(look, Scene(PLACES)) == ("mug", "desklamp")
    assert missing(look, one_seen) == ("desklamp",)
    assert missing(HOT_APPLE, Scene(PLACES, held="apple 1")) == ()


def test_a_thing_is_looked_for_even_where_it_shall_be_in_the_end() -> None:
    assert plan(
        Goal("apple", place="shelf"), Scene(PLACES), belief_by_kind({"apple": {"shelf": 1.0}})
    ) == ["go to shelf 1"]


def test_a_closed_place_is_opened_and_a_near_one_examined() -> None:
    scene = Scene(PLACES, at="cabinet 1", near=("cabinet 2",), shut={"cabinet 1": True})
    steps = plan(Goal("mug", place="shelf"), scene, lambda _, places: dict.fromkeys(places, 1.0))
    assert steps is not None
    assert steps[0] == "open cabinet 1"
    scene.shut, scene.contents = {"cabinet 1": False}, {"cabinet 1": ()}
    steps = plan(Goal("mug", place="shelf"), scene, lambda _, places: dict.fromkeys(places, 1.0))
    assert steps is not None
    assert steps[0] == "examine cabinet 2"


def test_what_is_in_the_way_is_put_down() -> None:
    scene = Scene(PLACES, at="shelf 1", held="mug 1", contents={"shelf 1": ("apple 1",)})
    steps = plan(Goal("apple", place="fridge"), scene)
    assert steps is not None
    assert steps[0] == "move mug 1 to shelf 1"


def test_two_things_end_in_one_place_and_stay_there() -> None:
    scene = Scene(PLACES, at="cabinet 1", contents={"cabinet 2": ("mug 1",), "shelf 1": ("mug 3",)})
    assert plan(Goal("mug", count=2, place="cabinet"), scene) == [
        "go to shelf 1",
        "take mug 3 from shelf 1",
        "go to cabinet 2",
        "move mug 3 to cabinet 2",
    ]


def test_a_thing_is_carried_to_the_lamp() -> None:
    scene = Scene(PLACES, contents={"shelf 1": ("mug 1",), "cabinet 1": ("desklamp 1",)})
    assert plan(Goal("mug", lamp="desklamp"), scene) == [
        "go to shelf 1",
        "take mug 1 from shelf 1",
        "go to cabinet 1",
        "use desklamp 1",
    ]


def test_there_is_no_problem_once_everything_was_searched_in_vain() -> None:
    scene = Scene(PLACES, contents=dict.fromkeys(PLACES, ()))
    assert planning_problem(HOT_APPLE, scene, common_sense) is None
