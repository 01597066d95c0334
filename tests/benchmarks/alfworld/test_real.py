"""The real games: a few of them always, all of them when asked for with AMP_ALL_GAMES=1."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from amp.benchmarks.alfworld import TASK_TYPES, ALFWorld
from amp.benchmarks.alfworld.environment import MAX_ACTIONS
from amp.benchmarks.alfworld.scene import read_goal
from amp.errors import MissingDependencyError
from amp.types import Task

pytest.importorskip("textworld")
pytest.importorskip("alfworld")
pytestmark = pytest.mark.data

SIZES = {"train": 3553, "valid_train": 200, "valid_seen": 140, "valid_unseen": 134}
ALL = pytest.mark.skipif("AMP_ALL_GAMES" not in os.environ, reason="takes many minutes")


def games(split: str, level: str | None = None, limit: int | None = None) -> Sequence[Task]:
    try:
        return ALFWorld(level=level).tasks(split, limit)
    except MissingDependencyError as error:
        pytest.skip(str(error))


def lost(tasks: Sequence[Task]) -> list[str]:
    """The games that the stored solution does not win through the environment."""
    benchmark = ALFWorld()
    found = []
    for task in tasks:
        environment = benchmark.environment(task)
        observation, transition = environment.reset(task), None
        for action in benchmark._find(task.id).read()["walkthrough"]:
            if action not in (observation.actions or ()):
                # Only a detour may be missing: to go back to what was looked into, for what lies
                # beside it and can be gone to as well.
                assert action.removeprefix("go to ") in environment.scene.contents, action
            transition = environment.step(action)
            observation = transition.observation
            assert len(observation.actions or ()) <= MAX_ACTIONS
        if transition is None or not transition.success:
            found.append(task.id)
    benchmark.close()
    return found


@pytest.mark.parametrize("split", ["valid_train", "valid_seen", "valid_unseen"])
def test_a_split_has_as_many_games_as_the_release_and_all_goals_are_read(split: str) -> None:
    tasks = games(split)
    assert len(tasks) == SIZES[split]
    assert {task.data["type"] for task in tasks} == set(TASK_TYPES)
    assert not [task.goal for task in tasks if read_goal(task.goal) is None]


def test_the_first_games_are_won_by_the_stored_solutions() -> None:
    assert lost(games("valid_seen", limit=3)) == []


def test_the_planner_and_the_judge_agree_on_a_real_game() -> None:
    (task,) = games("valid_train", "pick_and_place_simple", 1)
    benchmark = ALFWorld()
    judge = benchmark.judge(task)
    plan = benchmark.expert(task).planner
    assert plan is not None
    assert len(plan) == task.data["expert_steps"] == judge.remaining()
    for action in plan:
        assert judge.mistaken(action) is False
        judge.advance(action)
    assert judge.remaining() == 0
    benchmark.close()


@ALL
def test_every_game_of_valid_seen_is_won_by_its_stored_solution() -> None:
    assert lost(games("valid_seen")) == []


@ALL
@pytest.mark.parametrize("level", TASK_TYPES)
def test_training_games_of_each_type_are_won_by_their_stored_solutions(level: str) -> None:
    assert lost(games("train", level, 20)) == []
