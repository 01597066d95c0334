"""What a step is decided on, in words: nothing is lost, nothing is told twice."""

from __future__ import annotations

import re

import pytest

from amp.benchmarks.babyai import PATH_FINDER, BabyAI
from amp.benchmarks.babyai.mission import Situation, clauses, sighting_in, status_in
from amp.benchmarks.babyai.prompts import (
    INDIRECT_EXAMPLES,
    PRIMITIVE_EXAMPLES,
    SUBGOAL_EXAMPLES,
)
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.benchmarks.choice_prompts import Example
from amp.execute.choice_step import labels_for

STATE = (
    "You carry a red key\n"
    "You see a wall 2 steps left\n"
    "You see a grey box 1 step forward\n"
    "You see a locked red door 3 steps left\n"
    "You remember a open blue door 1 step behind\n"
    "You see a green ball 2 steps forward\n"
    "You see a green ball 4 steps forward\n"
    "You see a purple box 5 steps forward"
)
ACTIONS = (
    "go to the locked red door",
    "go to the blue door",
    "go to the green ball 2 steps forward",
    "go to the green ball 4 steps forward",
    "put the red key next to the grey box",
    "drop the red key",
)


@pytest.mark.parametrize("level", ["BabyAI-PutNextLocal-v0", "BabyAI-KeyCorridorS3R2-v0"])
def test_every_thing_of_the_state_is_told_once_and_walls_are_not(level: str) -> None:
    benchmark = BabyAI(level)
    for task in benchmark.tasks("dev", 5):
        observation = benchmark.environment(task).reset(task)
        actions = observation.tool_actions[PATH_FINDER]
        told = Situation(task.goal, (), observation.state, actions).told(labels_for(len(actions)))
        for line in observation.state.splitlines():
            seen = sighting_in(line)
            assert (" a wall " in line) == (seen is None)
            if seen is not None:
                row = rf"{seen.name} (\(\w\) )?{seen.openness}{seen.place}"
                twin = rf"{seen.name} {seen.place} \(\w\) ?{seen.thing.state}"
                assert len(re.findall(rf"(?:{row}|{twin})$", told, re.MULTILINE)) == 1
        assert "wall" not in told


def test_a_place_moves_to_the_action_that_goes_there_and_the_rest_stays() -> None:
    told = Situation("go to a ball", (("explore", "You explored."),), STATE, ACTIONS).told("123456")
    assert told.splitlines() == [
        "You see a grey box 1 step forward",
        "You see a purple box 5 steps forward",
        "Actions:",
        "- go to the locked red door (1) 3 steps left",
        "- go to the blue door (2) open, 1 step behind",
        "- go to the green ball 2 steps forward (3)",
        "- go to the green ball 4 steps forward (4)",
        "- put the red key next to the grey box (5)",
        "- drop the red key (6)",
        "Done:",
        "- You explored.",
        "Mission: go to a ball",
    ]


@pytest.mark.parametrize(
    ("mission", "status"),
    [
        ("pick up the yellow box", "yellow box not seen"),
        ("pick up a box", "grey box ahead"),
        ("go to a ball", "green ball 2 steps forward"),
        ("open the red door", "locked red door"),
        ("put the red key next to the purple box", "red key carried; purple box"),
        ("go to a key after you open a door", "locked red door; red key carried"),
        ("go to the blue door and go to the blue door", "blue door"),
    ],
)
def test_the_status_says_how_it_stands_with_what_the_mission_names(
    mission: str, status: str
) -> None:
    assert status_in(mission, STATE, ACTIONS) == status


def test_an_answer_begins_with_what_is_carried_and_what_is_sought() -> None:
    with_key = Situation("go to a ball", (), STATE, ACTIONS).lead()
    assert with_key == "Carried: red key. Target: green ball 2 steps forward"
    empty = Situation("go to a ball", (), "You see nothing", ("explore",)).lead()
    assert empty == "Carried: nothing. Target: ball not seen"


def test_turns_are_counted_since_the_last_action_of_another_kind() -> None:
    turn, step = ("turn left", "You turned left."), ("go forward", "You moved one step forward.")
    for history, turns in (((), 0), ((turn, turn), 2), ((turn, step, turn), 1)):
        lead = Situation("go to the red ball", history, "You see nothing", PRIMITIVES).lead()
        assert lead == f"Ahead: free. Target: not seen, {turns} turns made"


@pytest.mark.parametrize("example", [*SUBGOAL_EXAMPLES, *INDIRECT_EXAMPLES, *PRIMITIVE_EXAMPLES])
def test_the_examples_speak_the_language_of_the_benchmark(example: Example[Situation]) -> None:
    assert clauses(example.situation.mission)
    assert example.thought.endswith(f"I {example.action}")
    assert example.other != example.action
    for line in example.situation.state.splitlines():
        assert " a wall " in line or sighting_in(line) is not None


def test_no_label_is_the_usual_one_among_the_examples() -> None:
    for examples in (SUBGOAL_EXAMPLES, INDIRECT_EXAMPLES, PRIMITIVE_EXAMPLES):
        places = [example.best for example in examples]
        assert max(places.count(place) for place in places) <= len(places) / 2
