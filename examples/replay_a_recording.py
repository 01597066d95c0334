"""Replay a recording that ships: what a model answered once, without the model, in a second.

Run `python examples/replay_a_recording.py` (needs the extra `babyai`). The first twenty missions of
BabyAI's GoToLocal are planned twice on the same recorded answers: with subgoals that a path finder
carries out, and by primitive actions alone.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

import amp
from amp.benchmarks import load_benchmark
from amp.evaluate.run import run_episodes
from amp.models.recorded import RecordedModel
from amp.report.metrics import summarise

RECORDING = Path(__file__).parents[1] / "recordings" / "babyai.sqlite"


async def main(folder: Path) -> None:
    benchmark = load_benchmark("babyai", level="BabyAI-GoToLocal-v0")
    tasks = benchmark.tasks("test", 20)
    model = RecordedModel(None, Path(shutil.copy(RECORDING, folder)), mode="replay")
    print(f"recorded from {model.card.name}")
    for tools, steps in ((frozenset({"path_finder"}), 64), (frozenset[str](), 24)):
        planner = amp.Planner(
            model,
            amp.Executor(benchmark.prompts, benchmark.tools),
            amp.WeightedAssessor(probes=frozenset()),  # a fixed allocation needs no complexity
            amp.FixedAllocator(amp.Allocation(tools=tools)),
            amp.Limits(steps=steps),
        )
        summary = summarise([episode async for episode in run_episodes(planner, benchmark, tasks)])
        low, high = summary.success_interval.low, summary.success_interval.high
        print(f"{', '.join(tools) or 'primitive actions':18}", end=" ")
        print(f"{summary.successes}/20 missions ({low:.2f} to {high:.2f}),", end=" ")
        print(f"{summary.usage.tokens / 20:,.0f} tokens each")
    await model.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
