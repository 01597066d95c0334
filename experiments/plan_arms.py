"""What each way to decide the steps of a long plan reaches and costs, if every step has the same.

The pilot of arms on BabyAI: development tasks of several levels, each arm fixed.

    python -m experiments.plan_arms --recording arms.sqlite [--model NAME] [--tasks 8] [--arm ACT]

With a model, what the recording lacks is asked and kept, so that a run that was interrupted goes on
where it was; without one it replays. ``plan k`` writes k actions in one call and follows them,
three times at most, then gives up; all others decide every step anew. The first two tasks of each
level are left out, since the texts that ask for plans were chosen on them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from amp.allocate import Allocator, FixedAllocator, PlanThenFollow, plan_arms
from amp.benchmarks.babyai import PATH_FINDER, BabyAI
from amp.errors import AmpError
from amp.execute.executor import Executor
from amp.models.base import LanguageModel
from amp.models.recorded import RecordedModel
from amp.models.registry import load_model
from amp.planner import Planner
from amp.types import MODEL_ERROR, Allocation, Episode, Limits, Usage

LEVELS = (
    "BabyAI-GoToLocal-v0",
    "BabyAI-PickupLoc-v0",
    "BabyAI-PutNextLocal-v0",
    "BabyAI-UnlockLocal-v0",
    "BabyAI-OpenTwoDoors-v0",
    "BabyAI-GoToSeqS5R2-v0",
)
"""From easy to hard."""

AT_ONCE = Allocation(tools=frozenset({PATH_FINDER}))

ARMS: Mapping[str, Allocator] = {
    **{f"plan {k}": PlanThenFollow(AT_ONCE, depth=k, gives_up=True) for k in (8, 4)},
    "act": FixedAllocator(AT_ONCE),
    "think 1": FixedAllocator(plan_arms(AT_ONCE)["think 1"]),
}
"""The cheapest first."""


async def play(
    model: LanguageModel,
    arms: Sequence[str],
    levels: Sequence[str],
    tasks: range,
    max_steps: int,
) -> dict[tuple[str, str], list[Episode]]:
    """Episodes by level and arm; of those that lack a model to go on, none."""
    found: dict[tuple[str, str], list[Episode]] = {}
    for arm in arms:
        for index in tasks:
            for level in levels:
                benchmark = BabyAI(level)
                told = benchmark.defaults
                executor = Executor(
                    benchmark.prompts, benchmark.tools, told.plausibility, plans=told.plans
                )
                planner = Planner(
                    model,
                    executor,
                    allocator=ARMS[arm],
                    limits=Limits(steps=max_steps),
                    probes=frozenset(),
                )
                task = benchmark.tasks("dev")[index]
                episode = await planner.run(task, benchmark.environment(task))
                if episode.ended == MODEL_ERROR:
                    continue
                found.setdefault((level, arm), []).append(episode)
                print(_line(arm, episode), file=sys.stderr, flush=True)
    return found


def table(found: Mapping[tuple[str, str], Sequence[Episode]], arms: Sequence[str]) -> list[str]:
    """A row a level, and all levels together: success and cost of each arm."""
    lines = [
        "| level | arm | success | steps | model calls | written tokens | all tokens | TFLOP |",
        "|---|---|---|---|---|---|---|---|",
    ]
    levels = list(dict.fromkeys(level for level, _ in found))
    for level in levels:
        lines += [_row(level, arm, found.get((level, arm), ())) for arm in arms]
    for arm in arms:
        of_all = [episode for level in levels for episode in found.get((level, arm), ())]
        lines.append(_row("all", arm, of_all))
    return lines


def _row(level: str, arm: str, episodes: Sequence[Episode]) -> str:
    name = level.removeprefix("BabyAI-").removesuffix("-v0")
    if not episodes:
        return f"| {name} | {arm} | | | | | | |"
    n = len(episodes)
    usage = sum((episode.usage for episode in episodes), Usage())
    won = sum(bool(episode.success) for episode in episodes)
    steps = sum(len(episode.steps) for episode in episodes)
    return (
        f"| {name} | {arm} | {won}/{n} | {steps / n:.1f} | {usage.model_calls / n:.1f} |"
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
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--first", type=int, default=2, help="number of the first task")
    parser.add_argument("--tasks", type=int, default=8, help="of each level")
    parser.add_argument("--max-steps", type=int, default=16)
    parser.add_argument("--arm", action="append", choices=list(ARMS))
    parser.add_argument("--level", action="append", choices=LEVELS)
    told = parser.parse_args(arguments)
    inner = None if told.model is None else load_model(told.model)
    model = RecordedModel(inner, told.recording, "replay" if inner is None else "record")
    arms = told.arm or list(ARMS)
    try:
        tasks = range(told.first, told.first + told.tasks)
        found = await play(model, arms, told.level or LEVELS, tasks, told.max_steps)
    finally:
        await model.close()
    print("\n".join(table(found, arms)))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except AmpError as error:
        sys.exit(f"plan_arms: {error}")
