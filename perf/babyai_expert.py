"""Plays the expert of BabyAI through the text environment and says where it does not win.

Run as a module: python -m perf.babyai_expert [SPLIT [TASKS [LEVEL ...]]]
"""

from __future__ import annotations

import sys
import time

from amp.benchmarks.babyai import BabyAI
from amp.benchmarks.babyai.minigrid import LEVELS
from amp.types import Task


def wins(benchmark: BabyAI, task: Task, plan: tuple[str, ...]) -> bool:
    """Whether the plan ends the episode in success, at its last action."""
    environment = benchmark.environment(task)
    environment.reset(task)
    transitions = [environment.step(action) for action in plan]
    return bool(transitions[-1].success)


def main() -> int:
    split, tasks, *levels = [*sys.argv[1:], *["test", "20"][len(sys.argv) - 1 :]]
    lost = 0
    begin = time.process_time()
    for level in levels or LEVELS:
        benchmark, lengths = BabyAI(level), []
        for task in benchmark.tasks(split, int(tasks)):
            plan = benchmark.expert(task)
            if plan is not None and wins(benchmark, task, plan):
                lengths.append(len(plan))
            else:
                lost += 1
                print(f"  {task.id}: {task.goal!r} is {'not won' if plan else 'without a plan'}")
        mean = sum(lengths) / max(1, len(lengths))
        print(f"{level:32} {len(lengths):3} of {tasks} won, {mean:6.1f} actions on average")
    print(f"{lost} episodes not won, {time.process_time() - begin:.0f} CPU-seconds")
    return min(lost, 1)


if __name__ == "__main__":
    sys.exit(main())
