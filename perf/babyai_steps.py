"""Measures text steps of BabyAI per CPU-second, and against minigrid alone.

Both carry out the same expert plans in one run, episode by episode by turns. A step of ours is a
primitive action with all that comes of it: the state in words, the goal-state distance and the
subgoals offered. Of several rounds the fastest counts for each episode, so that other work on the
machine disturbs little.

Run as a module: python -m perf.babyai_steps [LEVEL ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amp.benchmarks.babyai import BabyAI
from amp.benchmarks.babyai.minigrid import make_level, reset_level
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.types import Task

PROMISED = 3_000.0
"""Text steps a CPU-second."""

LEVELS = (
    "BabyAI-GoToLocal-v0",
    "BabyAI-PickupLoc-v0",
    "BabyAI-PutNextLocal-v0",
    "BabyAI-UnlockPickup-v0",
    "BabyAI-GoTo-v0",
    "BabyAI-BossLevel-v0",
)
TASKS = 10
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """Steps, and the CPU-seconds that they took in words and in minigrid alone."""

    steps: int = 0
    ours: float = 0.0
    alone: float = 0.0

    @property
    def steps_a_second(self) -> float:
        return self.steps / self.ours

    @property
    def ratio(self) -> float:
        """Share of a step's time that minigrid alone would take."""
        return self.alone / self.ours

    def __add__(self, other: Speed) -> Speed:
        return Speed(self.steps + other.steps, self.ours + other.ours, self.alone + other.alone)


def speed_of(name: str) -> Speed:
    """Speed on one level, over the first tasks of its dev split."""
    benchmark, level = BabyAI(name), make_level(name)
    total = Speed()
    for task in benchmark.tasks("dev", TASKS):
        plan = benchmark.expert(task)
        if plan is None:
            continue
        pairs = [
            (_in_words(benchmark, task, plan), _alone(level, task, plan)) for _ in range(ROUNDS)
        ]
        ours, alone = (min(column) for column in zip(*pairs, strict=True))
        total += Speed(len(plan), ours, alone)
    return total


def _in_words(benchmark: BabyAI, task: Task, plan: tuple[str, ...]) -> float:
    environment = benchmark.environment(task)
    environment.reset(task)
    return _timed(environment.step, plan)


def _alone(level: Any, task: Task, plan: tuple[str, ...]) -> float:
    reset_level(level, task.data["seed"])
    return _timed(level.step, [PRIMITIVES.index(action) for action in plan])


def _timed(step: Callable[[Any], object], actions: Sequence[Any]) -> float:
    begin = time.process_time()
    for action in actions:
        step(action)
    return time.process_time() - begin


def speed(levels: Sequence[str] = LEVELS, *, verbose: bool = False) -> Speed:
    """Speed over all these levels together; verbose prints each."""
    total = Speed()
    for name in levels:
        here = speed_of(name)
        total += here
        if verbose:
            print(f"{name:24} {here.steps_a_second:6.0f}, {1 / here.ratio:.2f}")
    return total


def main() -> int:
    print("text steps a CPU-second, and their time in times of minigrid's alone")
    total = speed(sys.argv[1:] or LEVELS, verbose=True)
    print(f"{f'all {total.steps} steps':24} {total.steps_a_second:6.0f}, {1 / total.ratio:.2f}")
    print(f"promised {PROMISED:.0f}")
    return 0 if total.steps_a_second >= PROMISED else 1


if __name__ == "__main__":
    sys.exit(main())
