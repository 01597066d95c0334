"""Replay a recording that ships: what a model answered once, without the model, in a second.

Run `python examples/replay_a_recording.py` (needs the extra `babyai`). The first twenty missions of
BabyAI's GoToLocal are planned twice on the same recorded answers: with subgoals that a path finder
carries out, and by primitive actions alone.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from amp.benchmarks import load_benchmark
from amp.errors import MissingDependencyError
from amp.evaluate.assembly import build_planner
from amp.evaluate.config import PlannerConfig
from amp.evaluate.run import run_episodes
from amp.models.recorded import RecordedModel
from amp.report.metrics import summarise

RECORDING = Path(__file__).parents[1] / "recordings" / "babyai.sqlite"
CONFIGS = {
    "path finder": PlannerConfig(allocator="fixed"),
    "primitive actions": PlannerConfig(allocator="fixed", tools=frozenset(), max_steps=24),
}


async def main(folder: Path) -> None:
    benchmark = load_benchmark("babyai", level="BabyAI-GoToLocal-v0")
    tasks = benchmark.tasks("test", 20)
    model = RecordedModel(None, Path(shutil.copy(RECORDING, folder)), mode="replay")
    print(f"recorded from {model.card.name}")
    for name, config in CONFIGS.items():
        planner = build_planner(config, model, benchmark)
        summary = summarise([episode async for episode in run_episodes(planner, benchmark, tasks)])
        low, high = summary.success_interval.low, summary.success_interval.high
        print(f"{name:18} {summary.successes}/20 missions ({low:.2f} to {high:.2f}),", end=" ")
        print(f"{summary.usage.tokens / 20:,.0f} tokens each")
    await model.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(main(Path(folder)))
        except MissingDependencyError as missing:
            sys.exit(str(missing))
