"""At most 52 commands are offered, and none that the goal needs is left out."""

from __future__ import annotations

import pytest

from amp.benchmarks.alfworld.environment import MAX_ACTIONS, offered
from amp.benchmarks.alfworld.scene import Goal, Scene

CABINETS = tuple(f"cabinet {number}" for number in range(1, 41))
DISHES = tuple(f"plate {number}" for number in range(1, 21))
GOAL = Goal("apple", state="hot", place="fridge")


def crowded(explored: int) -> tuple[Scene, list[str]]:
    """A kitchen with more commands than labels, some cabinets of which were looked into."""
    scene = Scene((*CABINETS, "fridge 1", "microwave 1", "table 1"), at="table 1")
    scene.contents = dict.fromkeys(CABINETS[:explored], ())
    scene.contents["table 1"] = ("apple 1", *DISHES)
    commands = [
        "close cabinet 1",
        *(f"go to {place}" for place in scene.receptacles),
        *("help", "inventory", "look", "examine apple 1", "examine table 1"),
        *(f"take {thing} from table 1" for thing in scene.contents["table 1"]),
    ]
    return scene, commands


@pytest.mark.parametrize("explored", [0, 5])
def test_a_crowded_kitchen_offers_as_many_as_there_are_labels(explored: int) -> None:
    scene, commands = crowded(explored)
    kept = offered(commands, scene, GOAL)
    assert len(kept) == MAX_ACTIONS
    assert {"go to fridge 1", "go to microwave 1", "take apple 1 from table 1"} <= set(kept)
    assert list(kept) == [command for command in commands if command in kept]


def test_what_the_goal_does_not_name_goes_first() -> None:
    scene, commands = crowded(5)
    kept = offered(commands, scene, GOAL)
    assert {f"go to {place}" for place in scene.unexplored()} <= set(kept)
    assert "take plate 20 from table 1" in kept
    assert "take plate 1 from table 1" not in kept


def test_what_was_searched_and_has_nothing_to_do_with_the_goal_is_not_gone_to_again() -> None:
    scene, commands = crowded(5)
    scene.contents["cabinet 2"] = ("apple 2",)
    scene.contents["fridge 1"] = ()
    gone = {f"go to {place}" for place in scene.receptacles} - set(offered(commands, scene, GOAL))
    assert gone == {f"go to {place}" for place in CABINETS[:5] if place != "cabinet 2"}


def test_a_lit_lamp_is_not_lit_again_and_nothing_is_closed() -> None:
    scene = Scene(("desk 1",), at="desk 1", contents={"desk 1": ("desklamp 1", "desklamp 2")})
    scene.lit = {"desklamp 1"}
    commands = ["use desklamp 1", "use desklamp 2", "close desk 1"]
    assert offered(commands, scene, Goal("pen", lamp="desklamp")) == ("use desklamp 2",)


def test_an_unreadable_goal_leaves_all_things_to_take() -> None:
    scene, commands = crowded(40)
    kept = offered(commands, scene, None)
    assert len(kept) == MAX_ACTIONS
    assert {f"take {dish} from table 1" for dish in DISHES} <= set(kept)


def test_few_commands_are_all_offered_but_those_that_tell_nothing() -> None:
    scene = Scene(("shelf 1", "shelf 2"), at="shelf 1", contents={"shelf 1": ("pen 1",)})
    commands = ["examine pen 1", "examine shelf 1", "examine shelf 2", "help", "go to shelf 2"]
    assert offered(commands, scene, GOAL) == ("examine shelf 2", "go to shelf 2")


def test_of_places_that_were_not_searched_the_last_ones_wait() -> None:
    scene, commands = crowded(0)
    scene.receptacles = (*scene.receptacles, *(f"drawer {number}" for number in range(1, 16)))
    commands += [f"go to drawer {number}" for number in range(1, 16)]
    gone = {f"go to {place}" for place in scene.receptacles} - set(offered(commands, scene, GOAL))
    assert gone == {f"go to drawer {number}" for number in range(9, 16)}
