"""What the planner reads: observations, feedback and missions in words."""

from __future__ import annotations

import pytest

from amp.benchmarks.babyai import environment
from amp.benchmarks.babyai.mission import Clause, Description, clauses, distance
from amp.benchmarks.babyai.path_finder import Subgoal
from amp.benchmarks.babyai.world import EMPTY, Belief, Pose, Thing, describe, whereabouts

WALL, BALL, KEY = Thing("wall"), Thing("ball", "red"), Thing("key", "blue")
DOOR = Thing("door", "grey", "closed")


def test_observations_read_as_in_the_literature() -> None:
    cells = {(0, 0): EMPTY, (0, -1): EMPTY, (0, -2): WALL, (-1, 0): BALL, (2, -1): DOOR}
    belief = Belief(cells=cells, visible=frozenset(cells), carrying=KEY)
    assert describe(belief).splitlines() == [
        "You carry a blue key",
        "You see a wall 2 steps forward",
        "You see a red ball 1 step left",
        "You see a closed grey door 2 steps right and 1 step forward",
    ]


def test_what_is_out_of_view_is_remembered() -> None:
    belief = Belief(cells={(0, 0): EMPTY, (0, 3): BALL}, visible=frozenset({(0, 0)}))
    assert describe(belief) == "You remember a red ball 3 steps behind"
    assert describe(Belief()) == "You see nothing"


def test_places_turn_with_the_agent() -> None:
    assert whereabouts(Pose((0, 0), 0), (1, -2)) == "1 step right and 2 steps forward"
    assert whereabouts(Pose((0, 0), 1), (1, -2)) == "2 steps left and 1 step forward"


RED_BALL, BLUE_KEY = Description("red", "ball"), Description("blue", "key")


@pytest.mark.parametrize(
    ("mission", "expected"),
    [
        ("go to the red ball", (Clause("go to", RED_BALL),)),
        ("pick up an", ()),
        (
            "pick up a red object on your left",
            (Clause("pick up", Description("red", "", "on your left")),),
        ),
        ("put the red ball next to a blue key", (Clause("put", RED_BALL, BLUE_KEY),)),
        (
            "go to the red ball and open a door, then pick up the blue key",
            (
                Clause("go to", RED_BALL),
                Clause("open", Description("", "door")),
                Clause("pick up", BLUE_KEY),
            ),
        ),
        (
            "go to the red ball after you pick up the blue key",
            (Clause("pick up", BLUE_KEY), Clause("go to", RED_BALL)),
        ),
    ],
)
def test_missions_are_taken_apart_in_the_order_of_doing(
    mission: str, expected: tuple[Clause, ...]
) -> None:
    assert clauses(mission) == expected


def test_the_distance_lies_between_being_there_and_having_seen_nothing() -> None:
    mission = "put the red ball next to the blue key"
    assert distance(mission, Belief(), span=16) == 1.0
    there = Belief(cells={(0, -1): KEY}, carrying=BALL)
    assert distance(mission, there, span=16) == 0.0
    seen = Belief(cells={(0, -9): KEY}, carrying=BALL)
    assert distance(mission, seen, span=16) == 0.25
    assert distance("dance", seen, span=16) == 1.0


@pytest.mark.parametrize(
    ("primitive", "ahead", "carried", "after", "said"),
    [
        ("turn left", None, None, Belief(), "You turned left."),
        ("go forward", WALL, None, Belief(), "You did not move: a wall is in the way."),
        ("go forward", BALL, None, Belief(), "You did not move: a red ball is in the way."),
        ("pick up", BALL, None, Belief(carrying=BALL), "You picked up the red ball."),
        ("pick up", KEY, BALL, Belief(carrying=BALL), "Nothing happened."),
        ("drop", EMPTY, BALL, Belief(), "You dropped the red ball."),
        ("toggle", DOOR, None, Belief(), "You opened the grey door."),
        ("toggle", EMPTY, None, Belief(cells={(0, -1): EMPTY}), "Nothing happened."),
    ],
)
def test_feedback_says_what_a_primitive_action_did(
    primitive: str, ahead: Thing | None, carried: Thing | None, after: Belief, said: str
) -> None:
    assert environment.of_primitive(primitive, Pose((0, 0), 0), ahead, carried, after) == said


def test_feedback_says_what_a_subgoal_did() -> None:
    assert (
        environment.of_subgoal(Subgoal("go to", "go to the red ball"))
        == "You went to the red ball."
    )
    put = Subgoal("put", "put the red ball next to the blue key")
    assert environment.of_subgoal(put) == "You put the red ball next to the blue key."
    assert environment.of_discovery([BALL, KEY]) == "You explored and found a red ball, a blue key."
