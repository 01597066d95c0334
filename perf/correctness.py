"""What rating candidates adds to a decision, on the recorded steps of GSM8K."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from amp.allocate.mlp_policy import MlpPolicy
from amp.assess import evidence, text
from amp.assess.base import WeightedAssessor
from amp.assess.correctness import LOOKS, TOKENS, Correctness, Head
from amp.assess.features import FEATURES
from amp.benchmarks import load_benchmark
from amp.benchmarks.gsm8k.plausibility import plausibility
from amp.execute.program import find_program
from amp.learn.candidates import CandidateDataset
from amp.mlp import Layer
from amp.settings import load_settings
from amp.types import Candidate, Evidence, StepContext

RECORDING = Path(__file__).parents[1] / "recordings" / "gsm8k.sqlite"
TASKS = 125
UNITS = 8


def ratings() -> list[tuple[str, float, str, float]]:
    """p99 of a decision with all features, of CPU time without a model call, in milliseconds."""
    return [
        (f"look, rate by {kind}, assess + allocate, p99 in ms", p99(rater), "<", 1.0)
        for kind, rater in (("logistic", _heads(())), ("network", _heads((UNITS,))))
    ]


def p99(rater: Correctness) -> float:
    """Of each decision of a step that takes four programs and four chains one after the other."""
    assessor = WeightedAssessor(probes=frozenset())
    names = tuple(feature.name for feature in FEATURES)
    space = load_benchmark("gsm8k").defaults.space
    policy = replace(MlpPolicy.initial(space, names), deterministic=True)
    seconds = []
    for context, fresh in _steps():
        if not context.evidence.candidates:
            _forget()
        for candidate in fresh:
            if candidate.tool_uses:
                find_program(candidate.text)  # as the tool that ran it did
        begin = time.process_time()
        # Looked at and rated once, when they come; all that are known vote and are assessed.
        seen = [replace(c, looks=plausibility(context, c)) for c in fresh]
        rated = rater.rate(context, seen)
        context = replace(context, evidence=context.evidence.after(rated))
        policy.allocate(context, assessor.assess(context))
        seconds.append(time.process_time() - begin)
    return statistics.quantiles(seconds, n=100)[98] * 1e3


def _steps() -> Iterator[tuple[StepContext, tuple[Candidate, ...]]]:
    """Every recorded step with some candidates rated before, and the one that has just come."""
    benchmark = load_benchmark("gsm8k", data=load_settings().data)
    recorded = CandidateDataset.from_recording(
        RECORDING, benchmark, benchmark.tasks("test", TASKS), arms=("program", "chain")
    )
    for step in recorded.steps:
        known: tuple[Candidate, ...] = ()
        for index, candidate in enumerate(step.candidates):
            before = Evidence(known, rounds=index)
            yield replace(step.context, evidence=before), (candidate,)
            known += (replace(candidate, p_right=0.5 + 0.4 * (-1) ** index),)


def _forget() -> None:
    """Empties what is kept by text, so that each problem is read for the first time."""
    for module in (text, evidence, sys.modules[plausibility.__module__]):
        for kept in vars(module).values():
            if hasattr(kept, "cache_clear"):
                kept.cache_clear()


def _heads(hidden: tuple[int, ...]) -> Correctness:
    """Heads of the size that training makes, of no training."""
    context, (candidate,) = next(_steps())
    looks = plausibility(context, candidate)
    names = tuple(sorted({*TOKENS, *LOOKS, *looks} - {"choice"}))
    rng, widths = np.random.default_rng(0), (2 * len(names), *hidden, 1)
    layers = tuple(
        Layer(rng.normal(0, 0.1, (m, n)).astype(np.float32), np.zeros(n, np.float32))
        for m, n in pairwise(widths)
    )
    one = np.ones(len(names), np.float32)
    head = Head(names, np.zeros_like(one), one, layers)
    return Correctness({"python": head, "text": head}, "network" if hidden else "logistic")
