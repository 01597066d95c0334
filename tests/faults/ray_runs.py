"""Recorded episodes, here or on a Ray cluster: `python -m tests.faults.ray_runs OUT ADDRESS`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.files import ROOT

from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.environment import Environment, Observation, Task, Transition
from amp.evaluate.assembly import Assembly
from amp.evaluate.config import PlannerConfig, RunConfig
from amp.evaluate.ray_workers import on_ray
from amp.evaluate.run import Bench, manifest, run_tasks
from amp.evaluate.workers import Here, Opener, Places, Workers
from amp.models.recorded import RecordedModel
from amp.trace import RunDirectory
from amp.types import Episode

RECORDING = ROOT / "recordings" / "gsm8k-300.sqlite"
CONFIG = RunConfig(benchmark="gsm8k", limit=200, planner=PlannerConfig(allocator="fixed"))
PAUSE_SECONDS = 0.04
"""Of each episode on the cluster, so that there is a middle of the run to kill a node in."""


@dataclass
class Slow:
    """An environment that takes its time."""

    inner: Environment

    async def reset(self, task: Task) -> Observation:
        await asyncio.sleep(PAUSE_SECONDS)
        return self.inner.reset(task)

    async def step(self, action: str) -> Transition:
        return self.inner.step(action)


@dataclass(frozen=True)
class SlowWorlds:
    """A benchmark whose environments take their time."""

    benchmark: Benchmark

    def environment(self, task: Task) -> Slow:
        return Slow(self.benchmark.environment(task))


@asynccontextmanager
async def bench(places: Places) -> AsyncIterator[Bench]:
    benchmark = load_benchmark("gsm8k")
    model = RecordedModel(None, places.get(RECORDING, RECORDING), "replay")
    try:
        yield Bench(Assembly.of(CONFIG.planner, benchmark).planner(model), SlowWorlds(benchmark))
    finally:
        await model.close()


async def run(workers: Workers[Bench], out: Path) -> list[Episode]:
    """Plans all tasks, or those that are left, and saves the run."""
    benchmark = load_benchmark("gsm8k")
    model = RecordedModel(None, RECORDING, "replay")
    try:
        assembly, tasks = Assembly.of(CONFIG.planner, benchmark), CONFIG.load_tasks(benchmark)
        with RunDirectory.resume(out, manifest(CONFIG, assembly, model, tasks)) as directory:
            planner = assembly.planner(model)
            return list(await run_tasks(planner, benchmark, tasks, directory, workers=workers))
    finally:
        await model.close()


async def here(out: Path) -> list[Episode]:
    async with bench({}) as own:
        return await run(Here(Bench(own.planner, load_benchmark("gsm8k")), 4), out)


async def there(out: Path, address: str) -> list[Episode]:
    async with on_ray(Opener(bench, (RECORDING,)), 2, address) as workers:
        return await run(workers, out)


if __name__ == "__main__":
    asyncio.run(there(Path(sys.argv[1]), sys.argv[2]))
