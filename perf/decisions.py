"""Measures how long the controller takes to decide."""

from __future__ import annotations

import statistics
import timeit
from dataclasses import replace

from amp.allocate.base import AllocationEnv, Allocator
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.rules import HeuristicAllocator
from amp.allocate.space import Space
from amp.types import (
    Candidate,
    Complexity,
    Evidence,
    Limits,
    Observation,
    StepContext,
    Task,
    Usage,
)

CALLS = 5_000
SPACE = Space(verification=(0, 3), tools=frozenset({"calculator", "memory", "python"}))
FEATURES = tuple(f"feature {number}" for number in range(16))
COMPLEXITY = Complexity(0.6, dict.fromkeys(FEATURES[:12], 0.3))


def microseconds(allocator: Allocator) -> float:
    """Median time of a decision before and after a round, within a budget that allows 3 beams."""
    evidence = Evidence(tuple(Candidate("x", str(i % 3)) for i in range(4)), 1)
    task = Task("t", "How many are left?")
    fresh = StepContext(task, Observation(), remaining=Limits(tokens=2_000, seconds=17.0))
    # Stops are quicker than allocations; over many tasks both have their share.
    contexts = [
        replace(fresh, task=replace(task, seed=seed), evidence=known)
        for seed in range(CALLS // 2)
        for known in (Evidence(), evidence)
    ]
    steps = iter(contexts)
    timer = timeit.Timer(lambda: allocator.allocate(next(steps), COMPLEXITY))
    return 1e6 * statistics.median(timer.repeat(repeat=CALLS, number=1))


def decisions() -> list[tuple[str, float, str, float]]:
    """What was measured, its value, and the promise that it keeps or breaks."""
    here = AllocationEnv(
        Usage(completion_tokens=150, seconds=5.0),
        {name: Usage(seconds=0.1) for name in SPACE.tools},
        Limits(tokens=4_000, seconds=120.0),
    )
    sigmoid = replace(SigmoidPolicy.initial(SPACE), env=here)
    network = replace(MlpPolicy.initial(SPACE, FEATURES), env=here)
    return [
        ("decision by hand, in us", microseconds(HeuristicAllocator(SPACE)), "<", 50.0),
        ("drawn sigmoid decision, in us", microseconds(sigmoid), "<", 50.0),
        (
            "deterministic sigmoid decision, in us",
            microseconds(replace(sigmoid, deterministic=True)),
            "<",
            50.0,
        ),
        ("drawn network decision, in us", microseconds(network), "<", 150.0),
        (
            "deterministic network decision, in us",
            microseconds(replace(network, deterministic=True)),
            "<",
            150.0,
        ),
    ]
