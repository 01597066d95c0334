"""Runs many episodes at once on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError
from amp.planners.base import AnyPlanner
from amp.types import Episode, StepRecord, Task


async def run_episodes(
    planner: AnyPlanner,
    benchmark: Benchmark,
    tasks: Sequence[Task],
    jobs: int = 1,
    on_step: Callable[[Task, StepRecord], None] | None = None,
) -> AsyncIterator[Episode]:
    """Plans the tasks, at most `jobs` at a time, and yields each episode when it ends.

    Closing the iterator cancels what is under way.

    Raises:
        InvalidInputError: if jobs is less than 1.
        AmpError: the first error of any episode, after every episode that has ended; those under
            way are cancelled.
    """
    if jobs < 1:
        raise InvalidInputError(f"jobs is {jobs}, expected at least 1")
    waiting = iter(tasks)
    running: list[asyncio.Task[Episode]] = []

    async def plan(task: Task) -> Episode:
        return await planner.run(
            task,
            benchmark.environment(task),
            on_step=None if on_step is None else lambda step: on_step(task, step),
        )

    try:
        while True:
            while len(running) < jobs and (task := next(waiting, None)) is not None:
                running.append(asyncio.create_task(plan(task)))
            if not running:
                return
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            while ended := [episode for episode in running if episode.done()]:
                finished = min(ended, key=_failed)  # an error loses no episode that has ended
                running.remove(finished)
                yield finished.result()
    finally:
        for unfinished in running:
            unfinished.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _failed(episode: asyncio.Task[Episode]) -> bool:
    return episode.cancelled() or episode.exception() is not None
