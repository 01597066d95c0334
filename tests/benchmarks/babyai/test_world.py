"""The belief holds what was seen, in the right place, and is told as in the literature."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigrid.core import constants

from amp.benchmarks.babyai import BabyAI, environment
from amp.benchmarks.babyai.mission import Clause, Description, clauses, distance
from amp.benchmarks.babyai.path_finder import Subgoal
from amp.benchmarks.babyai.world import (
    COLORS,
    DOOR_STATES,
    EMPTY,
    HEADINGS,
    KINDS,
    PRIMITIVES,
    Belief,
    Cell,
    Pose,
    Thing,
    describe,
    whereabouts,
)

poses = st.builds(Pose, st.tuples(st.integers(-9, 9), st.integers(-9, 9)), st.integers(0, 3))
steps = st.integers(-9, 9)


@given(poses, steps, steps)
def test_offset_undoes_place(pose: Pose, forward: int, right: int) -> None:
    assert pose.offset(pose.place(forward, right)) == (forward, right)


@given(poses)
def test_four_quarter_turns_are_none_and_the_front_is_one_step_ahead(pose: Pose) -> None:
    assert pose.turned(1).turned(1).turned(1).turned(1) == pose
    assert pose.turned(-1).turned(1) == pose
    assert pose.place(1, 0) == pose.front


def test_the_codes_are_those_of_minigrid() -> None:
    assert {kind: code for code, kind in enumerate(KINDS)} == constants.OBJECT_TO_IDX
    assert {color: code for code, color in enumerate(COLORS)} == constants.COLOR_TO_IDX
    assert {state: code for code, state in enumerate(DOOR_STATES)} == constants.STATE_TO_IDX


@pytest.mark.parametrize(
    "level", ["BabyAI-GoToLocal-v0", "BabyAI-UnlockPickup-v0", "BabyAI-BossLevel-v0"]
)
def test_the_belief_holds_what_was_seen_where_it_is_and_nothing_else(level: str) -> None:
    benchmark = BabyAI(level)
    for task in benchmark.tasks("dev", 3):
        rng = random.Random(task.id)
        environment = benchmark.environment(task)
        environment.reset(task)
        hidden = environment._level  # the simulator, here as the judge
        start, turn = tuple(int(x) for x in hidden.agent_pos), (int(hidden.agent_dir) + 1) % 4
        ever_seen: set[Cell] = set()

        def in_world(cell: Cell, start: tuple[int, ...] = start, turn: int = turn) -> Cell:
            (fx, fy), (rx, ry) = HEADINGS[turn], HEADINGS[(turn + 1) % 4]
            forward, right = -cell[1], cell[0]
            return start[0] + forward * fx + right * rx, start[1] + forward * fy + right * ry

        for _ in range(60):
            belief = environment.belief
            ever_seen |= belief.visible
            assert set(belief.cells) == ever_seen
            assert in_world(belief.pose.cell) == tuple(hidden.agent_pos)
            assert len(belief.visible) == int((hidden.gen_obs()["image"][:, :, 0] != 0).sum())
            for cell, thing in belief.cells.items():
                real = hidden.grid.get(*in_world(cell))
                if real is None:
                    assert thing.kind == "empty"
                else:
                    assert thing.kind == real.type
                    assert not thing.notable or thing.color == real.color
            carried = belief.carrying
            assert (carried and carried.name) == (
                hidden.carrying and f"{hidden.carrying.color} {hidden.carrying.type}"
            )
            if environment.step(rng.choice(PRIMITIVES)).done:
                break


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
