"""Many episodes at once are the same episodes, and an error loses none that ended."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.fakes.worlds import Riddle

from amp.allocate.base import FixedAllocator
from amp.assess.base import WeightedAssessor
from amp.errors import InvalidInputError, RecordingError
from amp.evaluate.run import run_episodes
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import Episode, Limits, Task, Usage

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
    stream = run_episodes(planner(0.01), Riddles(), tasks, jobs)
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
        async for episode in run_episodes(planner(), Riddles(), TASKS, 1):
            seen.append(episode.task.id)  # noqa: PERF401 -- what came before the error is the point
    assert seen == ["r0", "r1", "r2"]


@dataclass
class AtOnce:
    """Plans nothing: once it may, all episodes end in the same turn of the event loop."""

    failing: frozenset[str]
    may: asyncio.Event = field(default_factory=asyncio.Event)
    limits: Limits = field(default_factory=Limits)

    async def run(self, task: Task | str, environment: object, on_step: object = None) -> Episode:
        asyncio.get_running_loop().call_soon(self.may.set)
        await self.may.wait()
        assert isinstance(task, Task)
        if task.id in self.failing:
            raise RecordingError(f"{task.id} is gone")
        return Episode(task, (), True, 1.0, Usage(), "done")


async def at_once(failing: set[str], jobs: int, seen: list[str]) -> None:
    stream = run_episodes(AtOnce(frozenset(failing)), Riddles(), TASKS, jobs)
    async for episode in stream:
        seen.append(episode.task.id)
        await asyncio.sleep(0)  # as who writes it down


@pytest.mark.parametrize("failing", [{"r0"}, {"r0", "r1", "r5"}, {task.id for task in TASKS}])
async def test_episodes_that_end_with_an_error_come_before_it(failing: set[str]) -> None:
    seen: list[str] = []
    with pytest.raises(RecordingError, match="r0 is gone"):
        await at_once(failing, len(TASKS), seen)
    assert seen == [task.id for task in TASKS if task.id not in failing]


async def test_nothing_is_begun_after_an_error() -> None:
    seen: list[str] = []
    with pytest.raises(RecordingError, match="r1 is gone"):
        await at_once({"r1"}, 2, seen)
    assert seen == ["r0"]


async def test_of_errors_at_once_the_others_are_not_left_to_the_event_loop() -> None:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with pytest.raises(RecordingError, match="r2 is gone"):
        await at_once({"r2", "r4"}, len(TASKS), [])
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints


async def test_closing_the_stream_cancels_what_is_under_way() -> None:
    stream = run_episodes(planner(60), Riddles(), TASKS, 6)
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
