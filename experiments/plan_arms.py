"""What each way to decide the steps of a long plan reaches and costs, if every step has the same.

The pilot of arms on BabyAI: training missions of several levels, each arm fixed, every arm on the
same missions.

    python -m experiments.plan_arms recordings/babyai-steps.sqlite recordings/babyai-plans.sqlite
    python -m experiments.plan_arms FILE ... --model NAME [--missions 14] [--arm "plan 4"]

An arm plays a mission from the first recording that holds it. With a model, the last recording gets
what it lacks, so that a run that was interrupted goes on where it was; without one, missions that
no recording holds are left out. ``plan k`` writes k
actions in one call and follows them, three times at most, and then gives up; the others decide
every step anew. The texts that ask for plans were chosen on development missions.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from amp.allocate import Allocator, FixedAllocator, PlanThenFollow, plan_arms
from amp.benchmarks.babyai import PATH_FINDER, BabyAI
from amp.errors import AmpError, RecordingError
from amp.execute.executor import Executor
from amp.models.base import LanguageModel
from amp.models.recorded import RecordedModel
from amp.models.registry import load_model
from amp.planner import Planner
from amp.settings import load_settings
from amp.types import Allocation, Episode, Limits, ProbeKind, Task, Usage

LEVELS = ("GoToLocal", "PickupLoc", "PutNextLocalS5N3", "UnlockLocal", "OpenTwoDoors")
"""Those of ``recordings/babyai-steps.sqlite``."""

AT_ONCE = Allocation(tools=frozenset({PATH_FINDER}))

ARMS: Mapping[str, Allocator] = {
    "act": FixedAllocator(AT_ONCE),
    "think 1": FixedAllocator(plan_arms(AT_ONCE)["think 1"]),
    **{f"plan {k}": PlanThenFollow(AT_ONCE, depth=k, gives_up=True) for k in (4, 8)},
}

Played = Mapping[tuple[str, str], Sequence[Episode]]
"""Episodes by level and arm."""


async def play(
    models: Sequence[LanguageModel],
    arms: Sequence[str],
    levels: Sequence[str],
    missions: int,
    max_steps: int,
) -> Played:
    """Plays every arm on every mission, each with the first model that holds it, if any does."""
    played: dict[tuple[str, str], list[Episode]] = {}
    for index in range(missions):
        for level in levels:
            benchmark = BabyAI(f"BabyAI-{level}-v0")
            task = benchmark.tasks("train")[index]
            for arm in arms:
                episode = await _first(models, benchmark, task, ARMS[arm], max_steps)
                if episode is not None:
                    played.setdefault((level, arm), []).append(episode)
                    print(_line(arm, episode), file=sys.stderr, flush=True)
    return played


async def _first(
    models: Sequence[LanguageModel],
    benchmark: BabyAI,
    task: Task,
    allocator: Allocator,
    max_steps: int,
) -> Episode | None:
    for model in models:
        planner = _planner(model, benchmark, allocator, max_steps)
        try:
            return await planner.run(task, benchmark.environment(task))
        except RecordingError:
            continue
    return None


def _planner(
    model: LanguageModel, benchmark: BabyAI, allocator: Allocator, max_steps: int
) -> Planner:
    told = benchmark.defaults
    executor = Executor(benchmark.prompts, benchmark.tools, told.plausibility, plans=told.plans)
    limits, no_probes = Limits(steps=max_steps), frozenset[ProbeKind]()
    return Planner(model, executor, allocator=allocator, limits=limits, probes=no_probes)


def table(played: Played) -> list[str]:
    """A row a level and arm, and all levels together: success, and what a mission took on average.

    Of the missions that all arms played.
    """
    arms = list(dict.fromkeys(arm for _, arm in played))
    lines = [
        "| level | arm | success | steps | model calls | written tokens | all tokens | TFLOP |",
        "|---|---|---|---|---|---|---|---|",
    ]
    of_all: dict[str, list[Episode]] = {arm: [] for arm in arms}
    for level in dict.fromkeys(level for level, _ in played):
        by_arm = {arm: {one.task.id: one for one in played.get((level, arm), ())} for arm in arms}
        common = set.intersection(*(set(episodes) for episodes in by_arm.values()))
        for arm, episodes in by_arm.items():
            of_level = [one for task, one in episodes.items() if task in common]
            of_all[arm] += of_level
            lines += [_row(level, arm, of_level)] if of_level else []
    return [*lines, *(_row("all", arm, episodes) for arm, episodes in of_all.items() if episodes)]


def _row(level: str, arm: str, episodes: Sequence[Episode]) -> str:
    n = len(episodes)
    usage = sum((episode.usage for episode in episodes), Usage())
    won = sum(bool(episode.success) for episode in episodes)
    steps = sum(len(episode.steps) for episode in episodes)
    return (
        f"| {level} | {arm} | {won}/{n} | {steps / n:.1f} | {usage.model_calls / n:.1f} |"
        f" {usage.completion_tokens / n:.0f} | {usage.tokens / n:,.0f} |"
        f" {usage.flops / n / 1e12:.2f} |"
    )


def _line(arm: str, episode: Episode) -> str:
    return (
        f"{arm}: {episode.task.id}, {episode.task.goal!r}: success {episode.success},"
        f" {episode.ended}, {episode.usage.tokens} tokens; {'; '.join(episode.plan)}"
    )


async def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--missions", type=int, default=14, help="of each level")
    parser.add_argument("--max-steps", type=int, default=12)
    parser.add_argument("--arm", action="append", choices=list(ARMS))
    parser.add_argument("--level", action="append")
    told = parser.parse_args(arguments)
    threads = load_settings().threads
    inner = None if told.model is None else load_model(told.model, threads=threads)
    *others, last = told.recordings
    models = [RecordedModel(None, path, "replay") for path in others]
    models.append(RecordedModel(inner, last, "replay" if inner is None else "record"))
    arms = told.arm or list(ARMS)
    try:
        played = await play(models, arms, told.level or LEVELS, told.missions, told.max_steps)
    finally:
        for model in models:
            await model.close()
    print("\n".join(table(played)))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except AmpError as error:
        sys.exit(f"plan_arms: {error}")
