"""Measures what the documentation promises about speed, and fails if a promise is broken.

Every figure is a ratio within this run, or the time of work that no other process shares in; run it
on a quiet machine. Needs the small model: amp models pull smollm2-135m.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from amp.allocate.rules import HeuristicAllocator
from amp.assess.base import WeightedAssessor
from amp.benchmarks import load_benchmark
from amp.evaluate import PlannerConfig, build_planner
from amp.models.base import LanguageModel, Message, Prompt, Request
from amp.models.registry import load_model
from amp.types import Candidate, Evidence, StepContext, Task, Usage
from perf.assessments import assessments
from perf.babyai_steps import PROMISED, speed
from perf.budgets import budgets
from perf.correctness import ratings
from perf.decisions import decisions
from perf.lattices import lattices
from perf.learning import learning
from perf.replay import replays
from perf.reports import reports
from perf.routing import routing
from perf.spans import exports
from perf.transformers_samples import samples_on_a_shared_prompt

MODEL = "smollm2-135m"
REPEATS = 5


def assess_and_allocate() -> float:
    """p99 of one assessment and allocation without a model call, in milliseconds."""
    task = Task("t", "If Ann has 3 boxes of 12 eggs each and eats 5, how many are left? " * 3)
    evidence = Evidence(tuple(Candidate("x", str(i % 3), entropy=0.2) for i in range(8)), 2)
    context = StepContext(task, load_benchmark("gsm8k").environment(task).reset(task))
    assessor, allocator = WeightedAssessor(), HeuristicAllocator()
    seconds = []
    for index in range(5000):
        at = replace(context, evidence=evidence if index % 2 else Evidence())
        begin = time.perf_counter()
        allocator.allocate(at, assessor.assess(at))
        seconds.append(time.perf_counter() - begin)
    return statistics.quantiles(seconds, n=100)[98] * 1e3


async def episode_overhead(model: LanguageModel) -> float:
    """Wall time of episodes relative to the time inside models and tools."""
    benchmark = load_benchmark("babyai")
    planner = build_planner(PlannerConfig(allocator="heuristic", max_steps=4), model, benchmark)
    wall, usage = 0.0, Usage()
    for task in benchmark.tasks("dev", 6):
        environment = benchmark.environment(task)
        begin = time.perf_counter()
        usage += (await planner.run(task, environment)).usage
        wall += time.perf_counter() - begin
    return wall / usage.seconds


async def beams_on_a_shared_prefix(model: LanguageModel) -> tuple[float, float]:
    """Throughput of 4 beams on a prompt of 600 tokens relative to 4 separate calls.

    Returns:
        Relative to calls one after the other that profit from the prefix cache, and to calls that
        each bring a prompt of their own.
    """

    def request(name: str, n: int) -> Request:
        facts = " ".join(f"Fact {i} of {name} is that {i * 7} follows." for i in range(50))
        messages = (Message("system", facts), Message("user", "Tell a long story."))
        return Request(Prompt(messages, 48), n=n, temperature=1.0)

    async def timed(work: Callable[[int], Awaitable[object]]) -> float:
        begin = time.perf_counter()
        for repeat in range(REPEATS):
            await work(repeat)
        return time.perf_counter() - begin

    async def together(repeat: int) -> None:
        await model.generate(request(f"beams {repeat}", 4))

    async def cached(repeat: int) -> None:
        for sample in range(4):
            await model.generate(replace(request(f"cached {repeat}", 1), first_sample=sample))

    async def fresh(repeat: int) -> None:
        for sample in range(4):
            await model.generate(request(f"fresh {repeat} {sample}", 1))

    beams = await timed(together)
    return await timed(cached) / beams, await timed(fresh) / beams


def start_up(*arguments: str) -> float:
    """Median wall time of a Python process, in seconds, less that of an empty one."""

    def median(command: list[str]) -> float:
        times = []
        for _ in range(9):
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    return median([sys.executable, *arguments]) - median([sys.executable, "-c", "pass"])


Row = tuple[str, float, str, float]


async def with_models() -> list[Row]:
    """What is measured on a model."""
    model = load_model(MODEL)
    try:
        overhead = await episode_overhead(model)
        cached, fresh = await beams_on_a_shared_prefix(model)
    finally:
        await model.close()
    model = load_model(f"transformers:{MODEL}", threads=1)
    try:
        samples = await samples_on_a_shared_prompt(model)
    finally:
        await model.close()
    return [
        ("wall time / model and tool time of an episode", overhead, "<", 1.03),
        ("4 beams / 4 separate calls, throughput", fresh, ">", 1.4),
        ("4 beams / 4 calls on a warm prefix cache", cached, ">", 1.0),
        ("4 samples / 1 sample on PyTorch, time", samples, "<", 1.6),
    ]


def main() -> int:
    rows = [
        ("assess + allocate, p99 in ms", assess_and_allocate(), "<", 1.0),
        *assessments(),
        *asyncio.run(with_models()),
        *decisions(),
        *ratings(),
        *replays(),
        *reports(),
        *exports(),
        *learning(),
        *lattices(),
        *routing(),
        *budgets(),
        ("text steps of BabyAI a CPU-second", speed().steps_a_second, ">", PROMISED),
        ("import amp, in s", start_up("-c", "import amp"), "<", 0.3),
        ("amp --help, in s", start_up("-m", "amp", "--help"), "<", 0.6),
    ]
    table = Table(box=None)
    for column in ("what", "measured", "promised", "kept"):
        table.add_column(column, justify="left" if column == "what" else "right")
    broken = 0
    for name, value, sign, bound in rows:
        kept = value < bound if sign == "<" else value > bound
        broken += not kept
        table.add_row(name, f"{value:.3f}", f"{sign} {bound}", "yes" if kept else "[red]NO")
    Console().print(table)
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
