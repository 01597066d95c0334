"""Measures how fast a policy is trained: rollouts and updates together, on one core.

Run as a module: python -m benchmarks.learning
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.learn.problems import UntilRight

from amp.learn.train import train
from amp.learn.trainsettings import PRESETS, train_settings

PROMISED = 5_000.0
DECISIONS = 20_000


def speed(preset: str) -> float:
    """Decisions a CPU-second of a whole training, checkpoints included.

    CPU time, since other processes have no share in it; training uses one thread.
    """
    settings = train_settings(
        {"preset": preset, "reference_tokens": 400.0, "decisions": DECISIONS, "curriculum": False}
    )
    decisions = 0
    with tempfile.TemporaryDirectory() as directory:
        begin = time.process_time()

        def count(metrics: dict[str, int | float | None]) -> None:
            nonlocal decisions
            decisions = int(metrics["decisions"] or 0)

        train(UntilRight(), settings, Path(directory) / "training", on_update=count)
        return decisions / (time.process_time() - begin)


def learning() -> list[tuple[str, float, str, float]]:
    """What was measured, its value, and the promise that it keeps or breaks."""
    return [("decisions trained on a CPU-second", speed("small"), ">", PROMISED)]


def main() -> int:
    for preset in PRESETS:
        print(f"{preset}: {speed(preset):,.0f} decisions trained on a CPU-second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
