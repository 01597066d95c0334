"""`amp demo`: the same tasks twice, with the best fixed allocation and adaptively, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.display import LiveSteps, add_step, episode_line, step_table, summary_table
from amp.evaluate.metrics import Summary, summarise
from amp.evaluate.runner import RunSettings, make_planner
from amp.models.base import LanguageModel
from amp.pool import run_episodes
from amp.types import Episode, Limits, Task

PROBLEMS = 6
MISSIONS = 2
ALLOCATORS = {"fixed": "fixed", "amp": "adaptive"}


async def run_demo(open_model: Callable[[], LanguageModel], console: Console) -> dict[str, Any]:
    """Plans six word problems and two missions, twice; prints a comparison.

    Args:
        open_model: opens the model; called once an allocator, so that neither profits from what the
            other left in the prefix cache.
        console: where people watch.

    Returns:
        Success, tokens and seconds of both, for machines.
    """
    gsm8k, babyai = load_benchmark("gsm8k"), load_benchmark("babyai")
    work: list[tuple[Benchmark, list[Task]]] = [
        (gsm8k, list(gsm8k.tasks("demo", PROBLEMS))),
        (babyai, list(babyai.tasks("test", MISSIONS))),
    ]
    summaries: dict[str, Summary] = {}
    episodes: list[Episode] = []
    for allocator, title in ALLOCATORS.items():
        console.print(f"\n[bold]{title}[/]: {PROBLEMS} word problems, {MISSIONS} missions")
        model = open_model()
        try:
            episodes = await _plan(model, allocator, work, console)
        finally:
            await model.close()
        summaries[title] = summarise(episodes)
    console.print("\nwhat the adaptive run gave to each step, round by round")
    console.print(_steps(episodes))
    fixed, adaptive = summaries["fixed"], summaries["adaptive"]
    console.print()
    console.print(summary_table(list(summaries.items()), title="mean of an episode"))
    saved = {
        name: 1 - getattr(adaptive.usage, name) / getattr(fixed.usage, name)
        for name in ("tokens", "completion_tokens", "seconds")
    }
    console.print(
        f"\nadaptive allocation spent {_change(saved['tokens'])} tokens, "
        f"{_change(saved['completion_tokens'])} completion tokens and "
        f"{_change(saved['seconds'])} seconds, with {adaptive.successes} successes "
        f"against {fixed.successes} of {fixed.episodes}."
    )
    return {"saved": saved} | {
        title: {
            "success": f"{s.successes}/{s.episodes}",
            "tokens": s.usage.tokens,
            "completion_tokens": s.usage.completion_tokens,
            "seconds": s.usage.seconds,
        }
        for title, s in summaries.items()
    }


async def _plan(
    model: LanguageModel,
    allocator: str,
    work: list[tuple[Benchmark, list[Task]]],
    console: Console,
) -> list[Episode]:
    settings = RunSettings("", 0, allocator, {}, Limits())
    episodes: list[Episode] = []
    with LiveSteps(console, PROBLEMS + MISSIONS) as live:
        for benchmark, tasks in work:
            planner = make_planner(model, benchmark, settings)
            async for episode in run_episodes(planner, benchmark, tasks, on_step=live.on_step):
                episodes.append(episode)
                live.on_episode(episode)
                console.print(episode_line(episode), no_wrap=True, overflow="ellipsis")
    return episodes


def _steps(episodes: list[Episode]) -> Table:
    table = step_table()
    for episode in episodes:
        for number, step in enumerate(episode.steps, start=1):
            add_step(table, episode.task.id.removeprefix("BabyAI-"), number, step)
    return table


def _change(saved: float) -> str:
    return f"{abs(saved):.0%} {'fewer' if saved >= 0 else 'more'}"
