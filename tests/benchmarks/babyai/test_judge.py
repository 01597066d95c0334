"""Laws of the judge of plan steps and of the expert that it asks."""

from __future__ import annotations

import math
import random

import pytest

from amp.benchmarks.babyai import PATH_FINDER, BabyAI
from amp.benchmarks.babyai.judge import BabyAIJudge
from amp.benchmarks.babyai.world import DROP, PRIMITIVES
from amp.benchmarks.base import Benchmark
from amp.types import Task

ROOMS = ["BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0", "BabyAI-PutNextLocalS5N3-v0"]
DOORS = ["BabyAI-UnlockLocal-v0", "BabyAI-OpenTwoDoors-v0"]
SUBGOAL = "any subgoal"


def first_task(level: str) -> tuple[BabyAI, Task]:
    benchmark = BabyAI(level)
    return benchmark, benchmark.tasks("train", 1)[0]


def follow(judge: BabyAIJudge, *actions: str) -> None:
    for action in actions:
        judge.advance(action)


@pytest.mark.parametrize("level", [*ROOMS, *DOORS])
def test_the_best_subgoals_lead_to_the_goal_and_the_total_never_grows(level: str) -> None:
    benchmark = BabyAI(level)
    for task in benchmark.tasks("train", 2):
        environment, judge = benchmark.environment(task), benchmark.judge(task)
        environment.reset(task)
        least = math.inf
        for _ in range(benchmark.max_steps):
            totals = judge.totals(SUBGOAL)
            best = min(totals, key=lambda action: totals[action])
            assert judge.mistaken(best) is False
            assert totals[best] <= least
            least = totals[best]
            transition = environment.step(best)
            judge.advance(best)
            if transition.done:
                break
        assert transition.success
        assert len(environment.primitives) == least


@pytest.mark.parametrize("level", [*ROOMS, "BabyAI-PutNextS5N2Carrying-v0"])
def test_primitive_actions_that_are_no_mistake_lead_to_the_goal(level: str) -> None:
    benchmark, task = first_task(level)
    environment, judge = benchmark.environment(task), benchmark.judge(task)
    environment.reset(task)
    for _ in range(benchmark.max_steps):
        totals = judge.totals(DROP)
        best = min(totals, key=lambda action: totals[action])
        assert judge.mistaken(best) is False
        judge.advance(best)
        if (transition := environment.step(best)).done:
            break
    assert transition.success


@pytest.mark.parametrize("level", [*ROOMS, *DOORS])
def test_unless_nobody_can_tell_some_subgoal_is_no_mistake(level: str) -> None:
    benchmark, task = first_task(level)
    rng = random.Random(task.id)
    environment, judge = benchmark.environment(task), benchmark.judge(task)
    observation = environment.reset(task)
    verdicts: list[bool | None] = []
    for _ in range(3):
        subgoals = observation.tool_actions[PATH_FINDER]
        judged = {judge.mistaken(subgoal) for subgoal in subgoals}
        assert judged == {None} or False in judged
        verdicts += judged
        action = rng.choice(subgoals)
        judge.advance(action)
        transition = environment.step(action)
        if transition.done:
            break
        observation = transition.observation
    assert True in verdicts


@pytest.mark.parametrize("level", ["BabyAI-PutNextLocalS5N3-v0", "BabyAI-UnlockLocal-v0"])
def test_asking_changes_nothing(level: str) -> None:
    benchmark, task = first_task(level)
    asked, silent = benchmark.judge(task), benchmark.judge(task)
    for action in (SUBGOAL, DROP):
        before = asked.totals(action)
        assert asked.totals(SUBGOAL)
        assert asked.totals(DROP)
        assert silent.totals(action) == before
    best = min(before, key=lambda action: before[action])
    for judge in (asked, silent):
        judge.advance(best)
    assert asked.totals(SUBGOAL) == silent.totals(SUBGOAL)


def test_to_drop_what_is_to_be_brought_is_a_mistake() -> None:
    benchmark, task = first_task("BabyAI-PutNextLocalS5N3-v0")
    thing = task.goal.removeprefix("put the ").partition(" next to ")[0]
    judge = benchmark.judge(task)
    follow(judge, f"go to the {thing}", f"pick up the {thing}")
    assert judge.mistaken(f"drop the {thing}") is True


def test_to_go_to_the_wrong_thing_is_a_mistake_and_to_the_right_one_is_none() -> None:
    benchmark = BabyAI()
    task = benchmark.tasks("seeds:0-0")[0]
    judge = benchmark.judge(task)
    assert task.goal == "go to the green ball"
    assert judge.mistaken("go to the green ball") is False
    assert judge.mistaken("go to the red box") is True


def test_to_name_no_action_or_one_that_is_not_offered_is_a_mistake() -> None:
    benchmark: Benchmark = BabyAI()
    judge = benchmark.judge(benchmark.tasks("dev", 1)[0])
    assert judge.mistaken(None) is True
    assert judge.mistaken("fly") is True


def test_what_does_nothing_is_a_mistake_among_primitive_actions() -> None:
    benchmark = BabyAI()
    for task in benchmark.tasks("dev", 3):
        assert benchmark.judge(task).mistaken(DROP) is True


def test_nobody_can_tell_what_to_do_once_the_goal_is_lost_or_the_episode_over() -> None:
    benchmark, task = first_task("BabyAI-GoToLocal-v0")
    judge = benchmark.judge(task)
    follow(judge, *["drop"] * 63)  # minigrid allows 64
    assert set(judge.totals(DROP)) == set(PRIMITIVES)
    assert judge.mistaken(DROP) is None
    judge.advance(DROP)
    assert judge.totals(DROP) == {}
    assert judge.mistaken(DROP) is None
