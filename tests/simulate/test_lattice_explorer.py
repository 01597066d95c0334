"""What is visited of a task, and that a planner which replays a recording finds it all there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.fakes.trail import ARMS, Trails, walker
from tests.simulate.lattices import (
    FOUR,
    PLANS,
    TASKS,
    Follow,
    Guess,
    check_way,
    read,
    record,
    record_babyai,
    replay,
)

from amp.allocate.base import FixedAllocator
from amp.benchmarks.babyai import BabyAI
from amp.errors import InvalidInputError
from amp.models.recorded import RecordedModel
from amp.simulate.lattice_explorer import Explorer
from amp.simulate.lattice_recording import (
    Survey,
)
from amp.simulate.lattice_states import Arms, TaskLattice, lattice_arms
from amp.types import (
    Allocation,
    Task,
)


@pytest.mark.parametrize("seed", range(20))
def test_a_planner_that_changes_its_arm_on_the_way_stays_inside(recorded: Path, seed: int) -> None:
    lattice = read(recorded)
    episodes = replay(recorded, Trails(), Guess(seed), TASKS)
    for one, episode in zip(lattice.tasks, episodes, strict=True):
        assert one.cut_off == 0
        check_way(one, episode)


@pytest.mark.slow
@pytest.mark.parametrize("arms", [FOUR, PLANS])
def test_a_planner_in_babyai_stays_inside(arms: Mapping[str, Allocation], tmp_path: Path) -> None:
    """States are told apart by all that prompts read, or answers would be others than recorded."""
    benchmark, path = BabyAI("BabyAI-GoToLocal-v0", max_steps=4), tmp_path / "babyai.sqlite"
    survey, tasks = Survey(benchmark, Arms(arms), 1000), benchmark.tasks("train", 2)

    record_babyai(path, survey, tasks)
    lattice = read(path, survey, tasks)
    assert sum(len(one.states) for one in lattice.tasks) > 50
    for seed in range(20):
        policy = Guess(seed, tuple(arms.values()))
        episodes = replay(path, benchmark, policy, tasks)
        for one, episode in zip(lattice.tasks, episodes, strict=True):
            assert one.cut_off == 0
            check_way(one, episode)


@pytest.mark.slow
def test_to_follow_a_plan_is_no_change_of_the_line(tmp_path: Path) -> None:
    """So what plans and follows is inside even of a lattice that has little more than that."""
    benchmark, path = BabyAI("BabyAI-GoToLocal-v0", max_steps=9), tmp_path / "babyai.sqlite"
    arms = {name: PLANS[name] for name in ("act", "follow", "plan 4")}
    survey, tasks = Survey(benchmark, Arms(arms), 60), benchmark.tasks("train", 2)
    record_babyai(path, survey, tasks)
    lattice = read(path, survey, tasks)
    for one, episode in zip(lattice.tasks, replay(path, benchmark, Follow(), tasks), strict=True):
        assert one.cut_off > 0
        assert len(episode.steps) > 4
        check_way(one, episode)


@pytest.mark.parametrize("arm", list(ARMS))
def test_with_one_arm_the_states_are_the_steps_of_the_fixed_run(arm: str, tmp_path: Path) -> None:
    survey = Survey(Trails(), Arms({arm: ARMS[arm]}))
    record(tmp_path / "one.sqlite", survey)
    lattice = read(tmp_path / "one.sqlite", survey)
    episodes = replay(tmp_path / "one.sqlite", Trails(), FixedAllocator(ARMS[arm]), TASKS)
    for one, episode in zip(lattice.tasks, episodes, strict=True):
        assert [s.context.observation for s in one.states.values()] == [
            step.observation for step in episode.steps
        ]
        *_, last = one.states.values()
        (end,) = last.leads.values()
        assert (end.success, end.score) == (episode.success, episode.score)


def test_what_two_arms_do_alike_is_there_once() -> None:
    """Each junction twice: on the right way and in the fog, where nothing leads back."""
    clear = [replace(task, data={"moods": [0, 1, 0, 1]}) for task in TASKS]
    faded = [replace(task, data={"moods": [2, 3, 2, 3]}) for task in TASKS]
    for tasks, states in ((clear, 4), (faded, 7)):
        for one in explored(tasks):
            assert len(one.states) == states


def test_the_states_that_a_fixed_arm_comes_to_are_first() -> None:
    tasks = [replace(task, data={"moods": [2, 3, 2, 3]}) for task in TASKS]
    (both, *_), (main, *_) = explored(tasks), explored(tasks, main="think", cap=4)
    assert main.cut_off > 0
    assert all("fog" not in s.context.observation.state for s in main.states.values())
    lost = ["fog" in s.context.observation.state for s in both.states.values()]
    assert lost == [False, True, False, True, False, True, False]


def explored(tasks: Sequence[Task], main: str | None = None, cap: int = 100) -> list[TaskLattice]:
    async def go(path: Path) -> list[TaskLattice]:
        model = RecordedModel(walker(), path, "auto")
        explorer = Explorer(model, Trails(), Arms(ARMS, main=main), cap)
        try:
            return [await explorer.explore(task) for task in tasks]
        finally:
            await model.close()

    with TemporaryDirectory() as folder:
        return asyncio.run(go(Path(folder, "it.sqlite")))


def test_arms_have_names_with_any_number() -> None:
    babyai = BabyAI()
    assert list(lattice_arms(babyai)) == ["act", "follow", "think 1", "plan 4", "plan 8"]
    named = lattice_arms(babyai, ["plan 3", "act", "think 2", "verification 1, no tools"])
    assert list(named) == ["plan 3", "act", "think 2", "verification 1, no tools"]
    assert (named["plan 3"].depth, named["think 2"].depth) == (3, 2)
    assert lattice_arms(Trails()) == ARMS
    with pytest.raises(InvalidInputError, match=r"unknown arm 'pln 4'; did you mean 'plan 4'\?"):
        lattice_arms(babyai, ["pln 4"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"named": {}}, "there are no arms"),
        ({"samples": 0}, "samples is 0"),
        ({"main": "thnk"}, "main is 'thnk', expected one of the arms: act, think"),
    ],
)
def test_arms_that_make_no_sense_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        replace(Arms(ARMS), **fields)
