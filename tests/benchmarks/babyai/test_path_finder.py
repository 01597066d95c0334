"""Laws of the path finder and of the subgoals."""

from __future__ import annotations

import random

import pytest

from amp.benchmarks.babyai import PATH_FINDER, BabyAI
from amp.benchmarks.babyai.path_finder import MAX_SUBGOALS, Routes, Subgoal, possible_subgoals, way
from amp.benchmarks.babyai.world import (
    EMPTY,
    GO_FORWARD,
    PRIMITIVES,
    TOGGLE,
    TURN_RIGHT,
    Belief,
    Pose,
    Thing,
)

ROOMS = ["BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0", "BabyAI-ActionObjDoor-v0"]


def corridor(*things: Thing) -> Belief:
    """A belief of a corridor: the agent at its south end, looking north, then the things."""
    cells = {(0, -1 - index): thing for index, thing in enumerate(things)}
    walls = {(x, -y): Thing("wall") for x in (-1, 1) for y in range(-1, len(things) + 2)}
    ends = {(0, 1): Thing("wall"), (0, -1 - len(things)): Thing("wall")}
    return Belief(cells={(0, 0): EMPTY, **cells, **walls, **ends})


def names(belief: Belief, *, at_start: bool = False) -> list[str]:
    return [subgoal.name for subgoal in possible_subgoals(belief, at_start=at_start)]


@pytest.mark.parametrize("level", ROOMS)
def test_every_object_that_was_seen_and_can_be_reached_is_reached(level: str) -> None:
    benchmark = BabyAI(level)
    for task in benchmark.tasks("dev", 6):
        environment = benchmark.environment(task)
        environment.reset(task)
        for cell in environment.belief.things:
            environment.reset(task)
            goal = [s for s in environment.subgoals if s.target == cell and s.verb == "go to"]
            if not goal:
                assert not Routes(environment.belief).beside(cell)
                continue
            transition = environment.step(goal[0].name)
            # A mission that ends on the way, at its own target, ends the walk there.
            assert environment.belief.pose.front == cell or transition.done


@pytest.mark.parametrize("level", [*ROOMS, "BabyAI-PutNextLocal-v0", "BabyAI-KeyCorridorS3R2-v0"])
def test_a_subgoal_is_carried_out_by_legal_primitives_and_says_how_it_ended(level: str) -> None:
    benchmark = BabyAI(level)
    for task in benchmark.tasks("dev", 3):
        rng = random.Random(task.id)
        environment = benchmark.environment(task)
        observation = environment.reset(task)
        for _ in range(15):
            before = len(environment.primitives)
            transition = environment.step(rng.choice(observation.tool_actions[PATH_FINDER]))
            observation = transition.observation
            assert set(environment.primitives) <= set(PRIMITIVES)
            assert len(environment.primitives) > before
            assert transition.feedback.startswith("You ")
            if transition.done:
                break


def test_a_way_is_the_shortest_in_turns_and_steps() -> None:
    belief = corridor(EMPTY, EMPTY, Thing("ball", "red"))
    assert Routes(belief).to([Pose((0, -2), 0)]) == (GO_FORWARD, GO_FORWARD)
    assert Routes(belief).to([Pose((0, -2), 1)]) == (GO_FORWARD, GO_FORWARD, TURN_RIGHT)
    assert Routes(belief).to([Pose((0, -3), 0)]) is None


def test_a_closed_door_on_the_way_is_opened() -> None:
    belief = corridor(Thing("door", "blue", "closed"), EMPTY, Thing("key", "red"))
    (subgoal,) = [
        s for s in possible_subgoals(belief, at_start=False) if s.name == "go to the red key"
    ]
    assert way(belief, subgoal) == (TOGGLE, GO_FORWARD, GO_FORWARD)


def test_a_locked_door_is_opened_only_with_its_key() -> None:
    belief = corridor(Thing("door", "blue", "locked"))
    assert "open the locked blue door" not in names(belief)
    belief.carrying = Thing("key", "red")
    assert "open the locked blue door" not in names(belief)
    belief.carrying = Thing("key", "blue")
    assert "open the locked blue door" in names(belief)


def test_a_locked_door_is_told_apart_from_one_that_is_not() -> None:
    belief = corridor(EMPTY, EMPTY, Thing("door", "blue", "locked"))
    belief.cells[(1, -1)] = Thing("door", "blue", "open")
    assert names(belief)[:2] == ["go to the blue door", "go to the locked blue door"]


def test_what_stands_behind_an_obstacle_is_not_offered() -> None:
    belief = corridor(Thing("ball", "red"), Thing("key", "blue"))
    assert names(belief) == ["pick up the red ball"]
    assert names(belief, at_start=True) == ["go to the red ball", "pick up the red ball"]


def test_deeds_are_offered_for_what_the_agent_faces() -> None:
    ball = Thing("ball", "red")
    assert names(corridor(EMPTY, EMPTY, ball)) == ["go to the red ball"]
    assert names(corridor(Thing("box", "red"))) == ["pick up the red box", "open the red box"]
    assert names(corridor(Thing("door", "red", "closed"))) == ["open the red door"]


def test_hands_hold_one_thing() -> None:
    belief = corridor(EMPTY, EMPTY, Thing("ball", "red"))
    belief.carrying = Thing("key", "blue")
    assert names(belief) == ["go to the red ball", "drop the blue key"]
    belief.pose = Pose((0, -2), 0)
    assert names(belief) == ["put the blue key next to the red ball", "drop the blue key"]


def test_several_of_a_kind_are_told_apart_by_their_place() -> None:
    belief = corridor(EMPTY, EMPTY, Thing("ball", "red"))
    belief.cells[(1, -1)] = Thing("ball", "red")
    assert names(belief) == [
        "go to the red ball 1 step right and 1 step forward",
        "go to the red ball 3 steps forward",
    ]


def test_where_all_is_seen_and_nothing_stands_there_is_nothing_to_do() -> None:
    assert names(corridor(EMPTY, EMPTY)) == []


def test_exploring_looks_at_what_was_never_seen() -> None:
    belief = corridor(EMPTY, EMPTY)
    del belief.cells[(1, -1)]
    assert names(belief) == ["explore"]
    assert way(belief, Subgoal("explore", "explore")) == (GO_FORWARD, TURN_RIGHT)


def test_names_are_unique_and_no_more_than_there_are_letters() -> None:
    benchmark = BabyAI("BabyAI-BossLevel-v0")
    for task in benchmark.tasks("dev", 2):
        rng = random.Random(task.id)
        environment = benchmark.environment(task)
        observation = environment.reset(task)
        for _ in range(12):
            offered = observation.tool_actions[PATH_FINDER]
            assert len(set(offered)) == len(offered) <= MAX_SUBGOALS
            choice = "explore" if "explore" in offered else rng.choice(offered)
            transition = environment.step(choice)
            observation = transition.observation
            if transition.done:
                break
