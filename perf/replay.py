"""Measures how fast recorded episodes are had again: through the planner, and from a table.

All of it is work of one thread, so CPU seconds are what it takes on a quiet machine.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from amp.allocate.base import FixedAllocator
from amp.allocate.stopping import UntilAgreement
from amp.benchmarks import load_benchmark
from amp.execute.executor import Executor
from amp.execute.tools import RecordedTool
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.simulate.build import table_from_recording
from amp.simulate.replay import replay_allocator
from amp.simulate.samples import Arm
from amp.types import Allocation, Limits, Task

EPISODES = 1_000
SAMPLES = 4
PROGRAM = "```python\nanswer = 6 * 7\n```"


def replays() -> list[tuple[str, float, str, float]]:
    """What was measured, its value, and the promise that it keeps or breaks."""
    benchmark = load_benchmark("gsm8k")
    problems = benchmark.tasks("demo")
    tasks = [
        replace(problem, id=f"{problem.id}/{number}", goal=f"{problem.goal} ({number})")
        for number in range(-(-EPISODES // len(problems)))
        for problem in problems
    ][:EPISODES]
    wide = load_benchmark("gsm8k").defaults.fixed
    arm = Arm("program", replace(wide, beam_width=1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replay.sqlite"
        model = RecordedModel(ScriptedModel([PROGRAM]), path, mode="record")
        _episodes(model, replace(wide, beam_width=SAMPLES), tasks)
        replay = RecordedModel(None, path, mode="replay")
        planned = _episodes(replay, wide, tasks)
        table = table_from_recording(path, benchmark, tasks, [arm], SAMPLES)
    begin = time.process_time()
    replay_allocator(table, UntilAgreement((arm.allocation,) * SAMPLES))
    stepped = time.process_time() - begin
    return [
        ("1,000 episodes of GSM8K from a recording, in CPU-s", planned, "<", 20.0),
        ("1,000 episodes from a table of recorded samples, in CPU-s", stepped, "<", 2.0),
    ]


def _episodes(model: RecordedModel, allocation: Allocation, tasks: list[Task]) -> float:
    """CPU seconds to plan all tasks with one allocation."""
    benchmark = load_benchmark("gsm8k")
    tools = {name: RecordedTool(tool, model.recording) for name, tool in benchmark.tools.items()}
    executor = Executor(benchmark.prompts, tools)
    planner = Planner(model, executor, allocator=FixedAllocator(allocation), limits=Limits(steps=1))

    async def plan() -> None:
        for task in tasks:
            await planner.run(task, benchmark.environment(task))
        await model.close()

    begin = time.process_time()
    asyncio.run(plan())
    return time.process_time() - begin


if __name__ == "__main__":
    for name, value, sign, bound in replays():
        Console().print(f"{name}: {value:.2f} (promised {sign} {bound:g})")
