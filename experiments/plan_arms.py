"""What each way to decide the steps of a long plan reaches and costs, if every step has the same.

The pilot of arms on BabyAI, WebShop and ALFWorld: training tasks of several levels or thirds, each
arm fixed, every arm on the same tasks.

    python -m experiments.plan_arms recordings/babyai-steps.sqlite recordings/babyai-plans.sqlite
    python -m experiments.plan_arms --benchmark webshop recordings/webshop-lattice.sqlite
    python -m experiments.plan_arms --benchmark alfworld recordings/alfworld-lattice.sqlite
    python -m experiments.plan_arms FILE ... --tasks 4 --arm act --arm "act unaided" --arm "think 1"
    python -m experiments.plan_arms FILE ... --model NAME [--tasks 14] [--arm "plan 4"]

An arm plays a task from the first recording that holds it. With a model, the last recording gets
what it lacks, so that a run that was interrupted goes on where it was; without one, tasks that
no recording holds are left out. ``plan k`` writes k
actions in one call and follows them, three times at most, and then gives up; the others decide
every step anew, as do ``act unaided`` and the like, without the help of rules, which in BabyAI is
the path finder. The texts that ask for plans were chosen on development tasks.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amp.allocate import Allocator, FixedAllocator, PlanThenFollow
from amp.benchmarks import load_benchmark
from amp.benchmarks.alfworld import TASK_TYPES
from amp.benchmarks.base import Benchmark
from amp.cost import Costing, costing
from amp.errors import AmpError, RecordingError
from amp.execute.executor import Executor
from amp.models.base import LanguageModel
from amp.models.recorded import RecordedModel
from amp.models.registry import load_model
from amp.planner import Planner
from amp.settings import load_settings
from amp.simulate.lattice_states import lattice_arms
from amp.types import Episode, Limits, ProbeKind, Task, Usage


@dataclass(frozen=True, slots=True)
class Pilot:
    """What is played of a benchmark.

    Attributes:
        arms: that are played where none are named.
        tasks: of each level.
        max_steps: of each.
        levels: none where there are no levels to tell apart.
        split: of the tasks.
    """

    arms: tuple[str, ...]
    tasks: int
    max_steps: int
    levels: tuple[str, ...] = ()
    split: str = "train"


PILOTS: Mapping[str, Pilot] = {
    "babyai": Pilot(
        ("act", "think 1", "plan 4", "plan 8"),
        tasks=14,
        max_steps=12,
        # Those of recordings/babyai-steps.sqlite.
        levels=(
            *("BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0", "BabyAI-PutNextLocalS5N3-v0"),
            *("BabyAI-UnlockLocal-v0", "BabyAI-OpenTwoDoors-v0"),
        ),
    ),
    "webshop": Pilot(("act", "act unaided", "think 1", "plan 8"), tasks=10, max_steps=10),
    "alfworld": Pilot(
        ("plan 8", "act", "act unaided"),
        tasks=2,
        max_steps=12,
        levels=TASK_TYPES,
        split="valid_train",
    ),
}


def allocator_of(arm: str, benchmark: Benchmark) -> Allocator:
    """What has every step decided by an arm."""
    if (plan := re.fullmatch(r"plan (\d+)", arm)) is not None:
        return PlanThenFollow(benchmark.defaults.fixed, depth=int(plan[1]), gives_up=True)
    if (benchmark.name, arm) == ("babyai", "act unaided"):
        return FixedAllocator()  # without the path finder: turns, and steps of one cell
    return FixedAllocator(lattice_arms(benchmark, [arm])[arm])


def level_of(benchmark: Benchmark, task: Task) -> str:
    """In which row of the table a task counts: its level, or the third that it belongs to."""
    if benchmark.name == "alfworld":
        return str(task.data["type"])
    if len(PILOTS[benchmark.name].levels) > 1:
        return str(task.data["level"]).removeprefix("BabyAI-").removesuffix("-v0")
    return ("easy", "middle", "hard")[benchmark.difficulty(task).tercile]


Played = Mapping[tuple[str, str], Sequence[Episode]]
"""Episodes by level and arm."""


async def play(
    models: Sequence[LanguageModel],
    benchmarks: Sequence[Benchmark],
    arms: Sequence[str],
    tasks: int,
    max_steps: int,
) -> Played:
    """Plays every arm on every task, each with the first model that holds it, if any does."""
    played: dict[tuple[str, str], list[Episode]] = {}
    of_each = [one.tasks(PILOTS[one.name].split, tasks) for one in benchmarks]
    for several in zip(*of_each, strict=True):
        for benchmark, task in zip(benchmarks, several, strict=True):
            for arm in arms:
                allocator = allocator_of(arm, benchmark)
                episode = await _first(models, benchmark, task, allocator, max_steps)
                if episode is not None:
                    played.setdefault((level_of(benchmark, task), arm), []).append(episode)
                    print(_line(arm, episode), file=sys.stderr, flush=True)
    return played


async def _first(
    models: Sequence[LanguageModel],
    benchmark: Benchmark,
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
    model: LanguageModel, benchmark: Benchmark, allocator: Allocator, max_steps: int
) -> Planner:
    told = benchmark.defaults
    executor = Executor(benchmark.prompts, benchmark.tools, told.plausibility, plans=told.plans)
    limits, no_probes = Limits(steps=max_steps), frozenset[ProbeKind]()
    return Planner(model, executor, allocator=allocator, limits=limits, probes=no_probes)


def table(played: Played, dollars: Costing) -> list[str]:
    """A row a level and arm, and all levels together: success, and what a task took on average.

    Of the tasks that all arms played.

    Args:
        played: the episodes.
        dollars: measures them; a model on this machine by the price of a hosted one of its size.
    """
    arms = list(dict.fromkeys(arm for _, arm in played))
    lines = [
        "| level | arm | success | score | steps | model calls | written tokens | all tokens"
        " | TFLOP | $ of 1,000 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    of_all: dict[str, list[Episode]] = {arm: [] for arm in arms}
    for level in dict.fromkeys(level for level, _ in played):
        by_arm = {arm: {one.task.id: one for one in played.get((level, arm), ())} for arm in arms}
        common = set.intersection(*(set(episodes) for episodes in by_arm.values()))
        for arm, episodes in by_arm.items():
            of_level = [one for task, one in episodes.items() if task in common]
            of_all[arm] += of_level
            lines += [_row(level, arm, of_level, dollars)] if of_level else []
    return [
        *lines,
        *(_row("all", arm, episodes, dollars) for arm, episodes in of_all.items() if episodes),
    ]


def _row(level: str, arm: str, episodes: Sequence[Episode], dollars: Costing) -> str:
    n = len(episodes)
    usage = sum((episode.usage for episode in episodes), Usage())
    won = sum(bool(episode.success) for episode in episodes)
    score = sum(episode.score for episode in episodes)
    steps = sum(len(episode.steps) for episode in episodes)
    return (
        f"| {level} | {arm} | {won}/{n} | {score / n:.2f} | {steps / n:.1f} |"
        f" {usage.model_calls / n:.1f} | {usage.completion_tokens / n:.0f} |"
        f" {usage.tokens / n:,.0f} | {usage.flops / n / 1e12:.2f} |"
        f" {1_000 * dollars.of(usage) / n:.3f} |"
    )


def _line(arm: str, episode: Episode) -> str:
    return (
        f"{arm}: {episode.task.id}, {episode.task.goal!r}: success {episode.success},"
        f" {episode.ended}, {episode.usage.tokens} tokens; {'; '.join(episode.plan)}"
    )


async def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--benchmark", choices=list(PILOTS), default="babyai")
    parser.add_argument("--model")
    parser.add_argument("--tasks", type=int, help="of each level")
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--arm", action="append")
    parser.add_argument("--level", action="append")
    told = parser.parse_args(arguments)
    settings, pilot = load_settings(), PILOTS[told.benchmark]
    inner = None if told.model is None else load_model(told.model, threads=settings.threads)
    *others, last = told.recordings
    models = [RecordedModel(None, path, "replay") for path in others]
    models.append(RecordedModel(inner, last, "replay" if inner is None else "record"))
    benchmarks = [
        load_benchmark(told.benchmark, data=settings.data, level=level)
        for level in told.level or pilot.levels or (None,)
    ]
    arms, steps = told.arm or pilot.arms, told.max_steps or pilot.max_steps
    try:
        played = await play(models, benchmarks, arms, told.tasks or pilot.tasks, steps)
    finally:
        for model in models:
            await model.close()
    print("\n".join(table(played, costing("dollars", models[-1].card))))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except AmpError as error:
        sys.exit(f"plan_arms: {error}")
