"""What Ray costs beside one process, and what its driver keeps: `python -m perf.many_machines`.

The same recorded episodes in this process and on the cluster that RAY_ADDRESS names, or else one of
this machine: processor time of the driver, of the workers (from when they are ready), and of Ray's
own processes. Then scripted episodes by the thousand, and the memory of the driver, which keeps
none. It counts what runs on this machine, so let nothing else run there on Ray.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from amp.benchmarks import load_benchmark
from amp.evaluate.assembly import Assembly
from amp.evaluate.config import PlannerConfig
from amp.evaluate.ray_workers import on_ray
from amp.evaluate.run import Bench, plan
from amp.evaluate.workers import Here, Opener, Places, Workers
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.types import Task
from perf.serve import processor_seconds, resident_mb

RECORDING = Path(__file__).parent.parent / "recordings" / "gsm8k.sqlite"
RECORDED = 1_000
SCRIPTED = 20_000
JOBS = 4
PLANNED = PlannerConfig(allocator="fixed")


def rays() -> dict[int, bool]:
    """The processes of Ray by their numbers, and whether each is a worker of amp."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if command.startswith("ray::") or "/ray/" in command:
                found[int(entry.name)] = command.startswith("ray::Worker")
    return found


@asynccontextmanager
async def recorded(places: Places) -> AsyncIterator[Bench]:
    """Takes all answers from a recording."""
    benchmark = load_benchmark("gsm8k")
    model = RecordedModel(None, places.get(RECORDING, RECORDING), "replay")
    try:
        yield Bench(Assembly.of(PLANNED, benchmark).planner(model), benchmark)
    finally:
        await model.close()


def answer(prompt: Prompt, sample: int) -> str:
    """The text of the scripted model."""
    return "1. So it is.\n#### 7" if sample % 2 else "```python\nanswer = 7\n```"


@asynccontextmanager
async def scripted(places: Places) -> AsyncIterator[Bench]:
    """Is answered by a script, at once."""
    benchmark = load_benchmark("gsm8k")
    planned = PLANNED.replace(tools=frozenset(), beam_width=1, depth=0)
    planner = Assembly.of(planned, benchmark).planner(ScriptedModel(answer))
    yield Bench(planner, benchmark)


def repeated(tasks: Sequence[Task], count: int) -> list[Task]:
    """So many, each with an id of its own; a repeat asks what the first one asked."""
    return [
        replace(tasks[number % len(tasks)], id=f"{tasks[number % len(tasks)].id}#{number}")
        for number in range(count)
    ]


async def work(
    workers: Workers[Bench], tasks: Sequence[Task], seen: list[tuple[int, float]] | None = None
) -> int:
    """Plans all tasks, keeps nothing, and notes the memory now and then."""
    solved = ended = 0
    async with aclosing(workers.each(plan, tasks)) as episodes:
        async for episode in episodes:
            solved += episode.success is True
            ended += 1
            if seen is not None and ended % (max(1, len(tasks) // 10)) == 0:
                seen.append((ended, resident_mb(os.getpid())))
    return solved


async def overhead(tasks: Sequence[Task]) -> None:
    """The same episodes here and on Ray."""
    async with recorded({}) as bench:
        await work(Here(bench, JOBS), tasks[:50])  # what is loaded late is loaded
        before, begun = time.process_time(), time.perf_counter()
        solved = await work(Here(bench, JOBS), tasks)
        alone = time.process_time() - before
        print(
            f"here:   {len(tasks)} recorded episodes, {solved} solved,"
            f" {alone:.2f} s of the processor, {time.perf_counter() - begun:.1f} s in all"
        )
    async with on_ray(Opener(recorded, (RECORDING,)), JOBS) as workers:
        await work(workers, tasks[:50])
        known = rays()
        spent = {pid: processor_seconds(pid) for pid in known}
        before, begun = time.process_time(), time.perf_counter()
        there = await work(workers, tasks)
        driver, seconds = time.process_time() - before, time.perf_counter() - begun
        spent = {pid: processor_seconds(pid) - was for pid, was in spent.items()}
    assert there == solved
    worker = sum(spent[pid] for pid, is_ours in known.items() if is_ours)
    others = sum(spent[pid] for pid, is_ours in known.items() if not is_ours)
    print(
        f"on Ray: {driver:.2f} s driver + {worker:.2f} s workers = {(driver + worker) / alone:.2f}"
        f" times; and {others:.2f} s in Ray's own processes ="
        f" {(driver + worker + others) / alone:.2f} times; {seconds:.1f} s in all"
    )


async def memory(tasks: Sequence[Task]) -> None:
    """Many episodes through one driver."""
    seen: list[tuple[int, float]] = []
    async with on_ray(Opener(scripted), JOBS) as workers:
        await work(workers, tasks, seen)
    print("driver: " + ", ".join(f"{ended:,}: {mb:.1f} MB" for ended, mb in seen))


async def main(recorded_count: int, scripted_count: int) -> None:
    """Measures, and prints what came of it."""
    benchmark = load_benchmark("gsm8k")
    await overhead(repeated(benchmark.tasks("test", 125), recorded_count))
    await memory(repeated(benchmark.tasks("test", 125), scripted_count))


if __name__ == "__main__":
    counts = [int(word) for word in sys.argv[1:]] or [RECORDED, SCRIPTED]
    # What a worker imports of here it finds where this process does.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(RECORDING.parents[1]), *sys.path]))
    asyncio.run(main(*counts))
