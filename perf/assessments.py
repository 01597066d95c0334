"""What one assessment costs, on texts that it has not seen before."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace

import numpy as np

from amp.assess.base import Assessor, WeightedAssessor
from amp.assess.features import FEATURES
from amp.assess.neural import NeuralAssessor
from amp.assess.text import parse_dependencies
from amp.mlp import Layer
from amp.types import Candidate, Evidence, Observation, StepContext, Task

_STEPS = 400
_SUBJECTS = ("Ann", "Omar", "the baker", "each child", "the older brother", "a shop in town")
_ACTIONS = (
    "buys {} boxes of {} pens for ${} each",
    "gives half of the {} apples to {} friends, but keeps {}",
    "walks {} miles in {} hours because the bus costs ${}",
    "needs {} more cups than the {} that fit on {} shelves",
)


def assessments() -> list[tuple[str, float, str, float]]:
    """Median CPU time of one step's assessment in milliseconds, with what is promised."""
    rng = random.Random(0)
    return [
        ("assess by words, ms", _median(WeightedAssessor(), rng), "<", 1.0),
        ("assess by network, ms", _median(_network(), rng), "<", 1.0),
        (
            "assess with spaCy, ms",
            _median(replace(WeightedAssessor(), parse=parse_dependencies), rng),
            "<",
            15.0,
        ),
    ]


def _median(assessor: Assessor, rng: random.Random) -> float:
    assessor.assess(_step(rng))  # loads what is loaded once
    seconds = []
    for _ in range(_STEPS):
        step = _step(rng)
        begin = time.process_time()
        assessor.assess(step)
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds) * 1e3


def _step(rng: random.Random) -> StepContext:
    """A step of some 60 words and two candidates, of which no two are alike."""
    sentences = []
    for _ in range(5):
        numbers = [rng.randint(2, 999) for _ in range(3)]
        sentences.append(f"{rng.choice(_SUBJECTS)} {rng.choice(_ACTIONS).format(*numbers)}.")
    candidates = tuple(
        Candidate(
            f"answer = {n} * 3", str(n), -rng.random() * 20, rng.random(), completion_tokens=9
        )
        for n in (rng.randint(2, 9), rng.randint(2, 9))
    )
    goal = f"{' '.join(sentences)} How many are left?"
    return StepContext(Task("t", goal), Observation(), evidence=Evidence(candidates, 1))


def _network() -> NeuralAssessor:
    """A network of the size that pre-training makes, of no training."""
    names = tuple(feature.name for feature in FEATURES)
    rng = np.random.default_rng(0)
    mean = np.zeros(len(names), np.float32)
    layers = (
        Layer(rng.normal(0, 0.1, (3 * len(names), 128)).astype(np.float32), np.zeros(128, "f4")),
        Layer(rng.normal(0, 0.1, (128, 1)).astype(np.float32), np.zeros(1, "f4")),
    )
    return NeuralAssessor(names, mean, mean + 1, layers)
