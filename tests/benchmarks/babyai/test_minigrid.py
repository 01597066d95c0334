"""The expert wins through the text environment's own actions wherever somebody can win."""

from __future__ import annotations

import pytest

from amp.benchmarks.babyai import BabyAI
from amp.benchmarks.babyai.minigrid import LEVELS
from amp.benchmarks.babyai.world import PRIMITIVES, TOGGLE
from amp.types import Task

TWO_DOORS = "BabyAI-OpenDoorsOrderN4Debug-v0"
SEEDS = {TWO_DOORS: 3}
"""Where the first seed is one that nobody can win, the first that can be won."""


def task_of(level: str, seed: int) -> tuple[BabyAI, Task]:
    benchmark = BabyAI(level)
    return benchmark, benchmark.tasks(f"seeds:{seed}-{seed}")[0]


def wins(level: str, seed: int) -> bool:
    """Whether the expert's plan ends the episode at its last action, and in success."""
    benchmark, task = task_of(level, seed)
    plan = benchmark.expert(task)
    assert plan
    assert set(plan) <= set(PRIMITIVES)
    environment = benchmark.environment(task)
    environment.reset(task)
    *before, last = [environment.step(action) for action in plan]
    assert not any(transition.done for transition in before)
    return last.done and last.success is True


@pytest.mark.parametrize("level", LEVELS)
def test_the_expert_wins(level: str) -> None:
    assert wins(level, SEEDS.get(level, 0))


def test_it_opens_a_door_whose_key_it_knows_where_the_bot_goes_in_circles() -> None:
    assert wins("BabyAI-UnlockToUnlock-v0", 4)


@pytest.mark.parametrize("seed", [5, 10, 15, 1001])
def test_it_opens_the_box_that_holds_the_key(seed: int) -> None:
    assert wins("BabyAI-KeyInBox-v0", seed)


def test_it_lays_things_down_at_once_where_the_bot_runs_out_of_steps() -> None:
    assert wins("BabyAI-SynthS5R2-v0", 18)


def test_it_has_no_plan_where_the_key_of_the_only_door_lies_behind_it() -> None:
    benchmark, task = task_of("BabyAI-GoToImpUnlock-v0", 6)
    assert benchmark.expert(task) is None


def test_opening_the_first_of_two_doors_loses_where_minigrid_is_strict() -> None:
    benchmark, task = task_of(TWO_DOORS, 0)
    assert task.goal == "open the purple door after you open the red door"
    assert benchmark.expert(task) is None
    # The right door is opened, and the episode is lost at once: minigrid holds the same action
    # against the second door.
    environment = benchmark.environment(task)
    environment.reset(task)
    for _ in range(20):
        opening = [s for s in environment.subgoals if s.name == "open the red door"]
        going = [s for s in environment.subgoals if s.name == "go to the red door"]
        name = opening[0].name if opening else going[0].name if going else "turn left"
        transition = environment.step(name)
        if transition.done:
            break
    assert environment.primitives[-1] == TOGGLE
    assert "red door" in name
    assert transition.success is False


def test_asking_the_expert_changes_nothing() -> None:
    benchmark, task = task_of("BabyAI-PutNextLocalS5N3-v0", 0)
    asked, silent = benchmark.environment(task), benchmark.environment(task)
    asked.reset(task)
    silent.reset(task)
    plan = asked.expert()
    assert plan == benchmark.expert(task)
    assert plan is not None
    for action in plan:
        assert asked.expert() is not None
        assert asked.step(action) == silent.step(action)
    assert asked.expert() is None
