"""A lattice of a game: every arm in every state, and the planner finds all of it there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.fakes import alfworld_games

from amp.allocate import PlanThenFollow
from amp.benchmarks.alfworld import ALFWorld
from amp.execute.executor import Executor
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.simulate.lattice_recording import Survey, lattice_from_recording, record_lattice
from amp.simulate.lattice_states import Arms, TaskLattice, lattice_arms
from amp.types import UNAIDED, Episode, Limits

pytest.importorskip("textworld")
pytest.importorskip("alfworld")

NAMES = ("act", "act unaided", "follow", "plan 4")
STEPS = 7
PLAN = """ go to shelf 2
2. take apple from shelf 1
3. go to microwave 1
4. heat apple with microwave 1"""


def player() -> ScriptedModel:
    """Writes a plan that is right at first, and chooses what is listed last."""

    def last(prompt: Prompt) -> dict[str, float]:
        labels = prompt.labels or ("1",)
        return {label: 1.0 + (label == labels[-1]) for label in labels}

    return ScriptedModel(lambda prompt, sample: PLAN, next_tokens=last)


@pytest.mark.slow
def test_a_lattice_of_a_game_holds_what_a_planner_does(tmp_path: Path) -> None:
    alfworld_games.write(tmp_path)
    file = tmp_path / "lattice.sqlite"
    benchmark = ALFWorld(tmp_path)
    arms = lattice_arms(benchmark, NAMES)
    assert UNAIDED in arms["act unaided"].tools
    survey = Survey(benchmark, Arms(arms), 60, STEPS)

    async def go() -> tuple[dict[str, str], TaskLattice, Episode]:
        tasks = benchmark.tasks("train")
        recorded = RecordedModel(player(), file, "auto")
        left_out = await record_lattice(recorded, file, survey, tasks)
        await recorded.close()
        replay = RecordedModel(None, file, "replay")
        told = benchmark.defaults
        executor = Executor(benchmark.prompts, {}, told.plausibility, plans=told.plans)
        allocator, limits = PlanThenFollow(depth=4), Limits(steps=STEPS)
        planner = Planner(replay, executor, allocator=allocator, limits=limits, probes=frozenset())
        episode = await planner.run(tasks[0], benchmark.environment(tasks[0]))
        await replay.close()
        (lattice,) = (await lattice_from_recording(file, survey, tasks)).tasks
        return left_out, lattice, episode

    left_out, lattice, episode = asyncio.run(go())
    benchmark.close()
    assert not left_out
    assert not lattice.cut_off
    assert all(lattice.way(episode))
    assert episode.plan[:4] == (
        "go to shelf 2",
        "take apple 1 from shelf 1",
        "go to microwave 1",
        "heat apple 1 with microwave 1",
    )
    ways = sum(len(state.leads) for state in lattice.states.values())
    assert ways > len(lattice.states)  # states are shared
