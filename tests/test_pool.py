"""Many episodes at once are the same episodes, and an error loses none that ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from tests.worlds import Riddle

from amp.allocate.baselines import FixedAllocator
from amp.assess.weighted import WeightedAssessor
from amp.errors import InvalidInputError, RecordingError
from amp.execute.executor import Executor
from amp.execute.prompts import PlainPrompts
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.pool import run_episodes
from amp.types import Episode, Task

TASKS = [Task(f"r{i}", f"riddle {i}", {"answer": str(i)}) for i in range(6)]


@dataclass
class Riddles:
    """As much of a benchmark as a pool needs."""

    def environment(self, task: Task) -> Riddle:
        return Riddle()


def planner(delay_seconds: float = 0.0) -> Planner:
    def answer(prompt: Prompt, sample: int) -> str:
        goal = prompt.messages[1].content.splitlines()[0]
        if "3" in goal:
            raise RecordingError("the recording is gone")
        return f"Action: {goal.split()[-1]}"

    model = ScriptedModel(answer, delay_seconds=delay_seconds)
    return Planner(model, Executor(PlainPrompts()), WeightedAssessor(), FixedAllocator())


async def collect(jobs: int, tasks: list[Task]) -> list[Episode]:
    stream = run_episodes(planner(0.01), Riddles(), tasks, jobs)  # type: ignore[arg-type]
    return [episode async for episode in stream]


@pytest.mark.parametrize("jobs", [2, 9])
async def test_jobs_change_nothing_but_the_order(jobs: int) -> None:
    tasks = [task for task in TASKS if task.id != "r3"]
    one, many = await collect(1, tasks), await collect(jobs, tasks)
    assert sorted(many, key=lambda e: e.task.id) == sorted(one, key=lambda e: e.task.id)
    assert all(episode.success for episode in one)


async def test_an_error_comes_out_after_the_episodes_before_it() -> None:
    seen = []
    with pytest.raises(RecordingError, match="the recording is gone"):
        async for episode in run_episodes(planner(), Riddles(), TASKS, 1):  # type: ignore[arg-type]
            seen.append(episode.task.id)  # noqa: PERF401 -- what came before the error is the point
    assert seen == ["r0", "r1", "r2"]


async def test_closing_the_stream_cancels_what_is_under_way() -> None:
    stream = run_episodes(planner(0.2), Riddles(), TASKS, 6)  # type: ignore[arg-type]
    pending = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others


async def test_no_jobs_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="jobs is 0"):
        await collect(0, TASKS)
