"""Measures how fast a router is learned from a pool, and how fast it decides.

Run as a module for a pool of 10,000 tasks: python -m perf.routing
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from amp.allocate.router import Router
from amp.learn.routing import RoutingSettings, learn_router
from amp.pools.pool import Pool, PoolArm, PoolTask
from amp.types import Candidate, Complexity, Evidence, Observation, StepContext, Task

PROMISED_SECONDS = 600.0
TASKS, ARMS, SAMPLES = 10_000, 8, 2
SETTINGS = RoutingSettings(depth=4, samples=SAMPLES, orders=1, words=64)
WORDS = (
    "the",
    "sum",
    "of",
    "all",
    "numbers",
    "that",
    "a",
    "train",
    "leaves",
    "behind",
    "each",
    "town",
)


def routing(tasks: int = TASKS // 10) -> list[tuple[str, float, str, float]]:
    """Seconds to learn on so many tasks, and the p99 of a decision in milliseconds."""
    pool = made_pool(tasks)
    begin = time.perf_counter()
    router = learn_router(pool, SETTINGS)
    seconds = time.perf_counter() - begin
    bound = PROMISED_SECONDS * tasks / TASKS
    return [
        (f"learn a router, {tasks:,} tasks x {ARMS} arms, in s", seconds, "<", bound),
        (f"decision of a router of {ARMS} arms, p99 in ms", decision(router), "<", 1.0),
    ]


def made_pool(tasks: int) -> Pool:
    """Tasks of ten kinds with five answers; a dearer arm is right more often."""
    rng = np.random.default_rng(0)
    shape = (tasks, ARMS, SAMPLES)
    kinds = rng.integers(0, 10, tasks)
    hard = rng.random(tasks) * (0.3 + 0.07 * kinds)
    right = rng.random(shape) < (0.4 + 0.07 * np.arange(ARMS) + 0.3 - hard[:, None])[:, :, None]
    tokens = np.full(shape, 100.0)
    return Pool(
        "made",
        tuple(
            PoolTask(f"t{i}", f"kind {kind}", f"t{i}", " ".join(rng.choice(WORDS, 30)), "0", 100.0)
            for i, kind in enumerate(kinds.tolist())
        ),
        tuple(PoolArm.of(f"m{arm}") for arm in range(ARMS)),
        (("0", "1", "2", "3", "4"),) * tasks,
        np.where(right, 0, rng.integers(1, 5, shape)).astype(np.intp),
        np.ones(shape, np.bool_),
        right,
        tokens,
        tokens,
        np.broadcast_to(2.0 ** np.arange(ARMS)[None, :, None] * 1e-5, shape),
        np.full(shape, np.nan),
        np.zeros(ARMS, np.bool_),
    )


def decision(router: Router) -> float:
    """p99 of a decision, with up to four candidates known, in milliseconds of CPU time."""
    task = Task("t", " ".join(WORDS * 3))
    seconds = []
    for index in range(2000):
        said = tuple(Candidate(str(i % 2), str(i % 2), model=f"m{i}") for i in range(index % 4))
        context = StepContext(task, Observation(), evidence=Evidence(said, len(said)))
        begin = time.process_time()
        router.allocate(context, Complexity(0.0))
        seconds.append(time.process_time() - begin)
    return statistics.quantiles(seconds, n=100)[98] * 1e3


if __name__ == "__main__":
    missed = 0
    for name, value, sign, bound in routing(TASKS):
        print(f"{name}: {value:.3f} (promised {sign} {bound:g})")
        missed += value >= bound
    sys.exit(min(missed, 1))
