"""Learn what to spend: record samples of every arm, learn a policy on them, see what it spends.

Run `python examples/train_policy.py`. A scripted model stands in for a real one; with that, the
commands are `amp record gsm8k`, `amp train config.toml` and `amp run gsm8k --allocator FILE`.
"""

import asyncio
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from amp.benchmarks import load_benchmark
from amp.evaluate.assembly import build_planner
from amp.evaluate.config import PlannerConfig
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.types import written

try:
    from amp.allocate.policy_file import load_origin
    from amp.learn.config import PPOConfig, TrainConfig
    from amp.learn.dataset import load_dataset
    from amp.learn.pipeline import train_policy
except ModuleNotFoundError as missing:
    sys.exit(f"this needs {missing.name}: pip install 'adaptive-meta-planning[train]'")

GSM8K = load_benchmark("gsm8k")
TASKS = GSM8K.tasks("demo")
SAMPLES = 4


def answer(prompt: Prompt, sample: int) -> str:
    """Half of the problems are easy; of the others programs solve half, long chains most."""
    question = prompt.messages[-1].content
    (number,) = (i for i, task in enumerate(TASKS) if task.goal in question)
    program = "Python" in question
    chance = random.Random(f"{number} {program} {sample}")
    right = number % 2 == 0 or chance.random() < (0.5 if program else 0.9)
    value = TASKS[number].data["answer"] if right else chance.randint(1000, 9999)
    return f"```python\nanswer = {value}\n```" if program else "1. Think.\n" * 40 + f"#### {value}"


async def record(path: Path) -> None:
    model = RecordedModel(ScriptedModel(answer), path, mode="record")
    for arm in GSM8K.defaults.arms.values():
        fields = {**asdict(arm, dict_factory=written), "beam_width": SAMPLES}
        planner = build_planner(PlannerConfig(allocator="fixed", **fields), model, GSM8K)
        for task in TASKS:
            await planner.run(task, GSM8K.environment(task))
    await model.close()


def main(folder: Path) -> None:
    asyncio.run(record(folder / "pool.sqlite"))
    config = TrainConfig(
        benchmark="gsm8k",
        split="demo",
        recording=folder / "pool.sqlite",
        samples=SAMPLES,
        demonstrations=500,
        ppo=PPOConfig(decisions=4000, hidden=32),
    )
    train_policy(config, load_dataset(config, GSM8K), folder)
    origin = load_origin(folder / "policy.safetensors")
    assert origin is not None
    for point in origin.curve:  # one policy: the trade-off is one of its inputs
        spent, right = f"{point.tokens:.0f} tokens a task", f"{point.success:.0%} right"
        print(f"trade-off {point.trade_off:.2f}: {spent}, {right}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
