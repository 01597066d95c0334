"""Measures how fast a policy is trained: rollouts and updates together, on one core.

Run as a module: python -m perf.learning
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes.problems import UntilRight
from tests.fakes.synthetic import CARD
from tests.simulate.test_table_env import FEATURES, SPACE, contexts, draws, network

from amp.assess.base import Training
from amp.learn.config import PRESETS, PPOConfig, TrainConfig, with_preset
from amp.learn.dataset import Dataset
from amp.learn.pipeline import train_policy
from amp.learn.trainer import Metrics, train
from amp.simulate.sample_env import env_from_samples
from amp.simulate.table_env import TableEnv

PROMISED = 5_000.0
DECISIONS = 20_000
TASKS, SAMPLES = 200, 4


ASSESSOR = network(0)
TRAINED_ON = Training("synthetic", "riddles")


def table(tasks: int) -> TableEnv:
    """Tasks with made-up samples of two arms, scored by a network of chance."""
    made = draws(tasks, samples=SAMPLES)
    space = replace(SPACE, beam_width=(1, SAMPLES))
    return env_from_samples(made, space, FEATURES, ASSESSOR, contexts(made), max_rounds=SAMPLES)


def speed(preset: str) -> float:
    """Decisions a CPU-second of a whole training, checkpoints included."""
    settings = _settings({"preset": preset})
    return _timed(lambda to, count: train(UntilRight(), settings, to, on_update=count))


def speed_end_to_end(on: TableEnv) -> float:
    """The same on a table of samples, through an assessor that learns with the policy."""
    settings = _settings({})
    return _timed(
        lambda to, count: train(
            on, settings, to, assessor=ASSESSOR, trained_on=TRAINED_ON, on_update=count
        )
    )


def seconds_from_samples(on: TableEnv) -> float:
    """CPU time of what `amp train` does with a table: imitation, PPO and the curve."""
    config = TrainConfig(benchmark="gsm8k", recording=Path("none.sqlite"), features=FEATURES)
    with tempfile.TemporaryDirectory() as directory:
        begin = time.process_time()
        train_policy(config, Dataset(on, CARD), Path(directory))
        return time.process_time() - begin


def learning() -> list[tuple[str, float, str, float]]:
    """What was measured, its value, and the promise that it keeps or breaks."""
    on = table(20)
    return [
        ("decisions trained on a CPU-second", speed("small"), ">", PROMISED),
        ("the same from samples, end to end", speed_end_to_end(on), ">", PROMISED),
    ]


def _settings(values: Mapping[str, Any]) -> PPOConfig:
    own = {"reference_tokens": 400.0, "decisions": DECISIONS, "curriculum": False}
    return PPOConfig(**with_preset({**own, **values}))


def _timed(trained: Callable[[Path, Callable[[Metrics], None]], object]) -> float:
    """Decisions a CPU-second: other processes have no share in it; training uses one thread."""
    decisions = 0

    def count(metrics: Metrics) -> None:
        nonlocal decisions
        decisions = int(metrics["decisions"] or 0)

    with tempfile.TemporaryDirectory() as directory:
        begin = time.process_time()
        trained(Path(directory) / "training", count)
        return decisions / (time.process_time() - begin)


def main() -> int:
    for preset in PRESETS:
        print(f"{preset}: {speed(preset):,.0f} decisions trained on a CPU-second")
    begin = time.process_time()
    on = table(TASKS)
    print(f"a table of {TASKS} tasks: {time.process_time() - begin:,.0f} s of CPU")
    print(f"end to end on it: {speed_end_to_end(on):,.0f} decisions trained on a CPU-second")
    print(f"a whole training on it: {seconds_from_samples(on):,.0f} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
