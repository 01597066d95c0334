"""The worlds that no policy has seen, and the table of what the default costs in them."""

from __future__ import annotations

from collections import deque
from copy import deepcopy

import pytest
from experiments.unseen import SPLITS, WORLDS, Spent, table
from experiments.unseen_worlds import Kitchen, Van

from amp.models.base import ModelCard
from amp.types import Complexity, Episode, Observation, StepRecord, Task, Usage

CARD = ModelCard("any", parameters=1_500_000_000, context_tokens=1000)


def fewest(world: Van | Kitchen, task: Task) -> int:
    """Actions of a shortest plan, found by trying all of them."""
    state = world.reset(task)
    known, waiting = {str(state)}, deque([(world, state, 0)])
    while waiting:
        here, seen, taken = waiting.popleft()
        for action in seen.actions or ():
            after = deepcopy(here)
            moved = after.step(action)
            if moved.success:
                return taken + 1
            if str(moved.observation) not in known:
                known.add(str(moved.observation))
                waiting.append((after, moved.observation, taken + 1))
    raise AssertionError(f"{task.id} cannot be solved")


@pytest.mark.parametrize("name", ["van", "kitchen"])
def test_every_task_can_be_solved_in_the_steps_that_there_are(name: str) -> None:
    kinds = {"van": Van, "kitchen": Kitchen}
    needed = [
        fewest(kinds[name](), task) for split in SPLITS for task in WORLDS[name].tasks(split, 20)
    ]
    assert max(needed) <= WORLDS[name].steps
    assert name == "kitchen" or len(set(needed)) >= 3  # from easy to hard


@pytest.mark.parametrize("name", WORLDS)
def test_tasks_are_the_same_always_and_those_of_splits_differ(name: str) -> None:
    tasks = WORLDS[name].tasks
    train, test = ([task.data for task in tasks(split, 20)] for split in SPLITS)
    assert [task.data for task in tasks("test", 30)[:20]] == test
    assert len(test) == 20
    assert train != test


def test_a_step_of_the_kitchen_waits_for_what_it_needs() -> None:
    kitchen, (task,) = Kitchen(), WORLDS["kitchen"].tasks("train", 1)
    before = kitchen.reset(task)
    *_, last = task.data["recipe"]
    early = kitchen.step(last)
    assert early.feedback == f"It is not time to {last}."
    assert (early.observation, early.done) == (before, False)


def episode(number: int, success: bool, usage: Usage) -> Episode:
    step = StepRecord(Observation(), (), Complexity(0.0), "go", usage)
    return Episode(Task(f"t{number}", "go"), (step,), success, float(success), usage, "done")


def test_the_table_compares_with_acting_at_once_task_by_task() -> None:
    one, two = Usage(1, 100), Usage(2, 200)
    act = [episode(0, True, one), episode(1, False, two)]
    other = [episode(0, True, one), episode(1, True, one)]
    lines = table({("w", "act"): act, ("w", "default"): other}, CARD)
    assert [line.split(" | ")[:3] for line in lines[2:]] == [
        ["| w", "act", "1/2 (0.09 to 0.91)"],
        ["| w", "default", "2/2 (0.34 to 1.00)"],
        ["| all", "act", "1/2 (0.09 to 0.91)"],
        ["| all", "default", "2/2 (0.34 to 1.00)"],
    ]
    assert "| +0.50 (" in lines[3]
    assert "| 100 |" in lines[3]


def test_what_a_cache_held_does_not_count() -> None:
    warm = Usage(1, prompt_tokens=100, cached_prompt_tokens=90, completion_tokens=1)
    cold = Usage(1, prompt_tokens=100, completion_tokens=1)
    assert Spent.of(episode(0, True, warm), CARD) == Spent.of(episode(0, True, cold), CARD)
