"""A recording of scripted programs and chains of thought on the problems that ship with amp."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from amp.allocate.base import Allocator, FixedAllocator
from amp.assess.base import Assessor, Rater, WeightedAssessor
from amp.benchmarks import load_benchmark
from amp.execute.executor import Executor
from amp.execute.tools import RecordedTool
from amp.models.base import ModelCard, Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.simulate.samples import Arm
from amp.types import Allocation, Episode, Limits, Task

GSM8K = load_benchmark("gsm8k")
ARMS = GSM8K.defaults.arms
assert GSM8K.defaults.policy_space is not None
POLICY_SPACE = GSM8K.defaults.policy_space
TASKS = GSM8K.tasks("demo", 3)
SAMPLED = Allocation(temperature=0.7, top_p=0.95, verification=1)
PROGRAM = Arm("program", replace(SAMPLED, tools=frozenset({"python"})))
CHAIN = Arm("chain", replace(SAMPLED, depth=4))
CARD = ModelCard("scripted", "ab" * 32, parameters=1_000_000, layers=2, attention_width=64)
SILENT = WeightedAssessor(probes=frozenset())


def answer(prompt: Prompt, index: int) -> str:
    """Right, wrong or unreadable, and of different lengths, by arm, task and sample."""
    question = prompt.messages[-1].content
    (task,) = (task for task in TASKS if task.goal in question)
    right = task.data["answer"]
    if "Python" in question:
        value = (right, "1", "2", right)[(index + TASKS.index(task)) % 4]
        return f"```python\nanswer = {value}\n```" + "\n" * index
    value = ("3", right, right, "none")[(index + TASKS.index(task)) % 4]
    return "1. So it is.\n" * (index + 1) + f"#### {value}"


def record(
    path: Path, arms: Sequence[Arm], samples: int = 4, tasks: Sequence[Task] = TASKS
) -> None:
    """Writes a recording of so many samples of each arm, each arm's in one call."""
    model = RecordedModel(ScriptedModel(answer, card=CARD), path, mode="record")
    for arm in arms:
        planner = planner_of(model, FixedAllocator(replace(arm.allocation, beam_width=samples)))
        for task in tasks:
            asyncio.run(planner.run(task, GSM8K.environment(task)))
    asyncio.run(model.close())


def replayed(
    path: Path,
    allocator: Allocator,
    assessor: Assessor = SILENT,
    tasks: Sequence[Task] = TASKS,
    rater: Rater | None = None,
) -> list[Episode]:
    """The episodes of an allocator in the real planner, from a recording."""
    model = RecordedModel(None, path, mode="replay")
    planner = planner_of(model, allocator, assessor)
    planner.rater = rater
    episodes = [asyncio.run(planner.run(task, GSM8K.environment(task))) for task in tasks]
    asyncio.run(model.close())
    return episodes


def planner_of(model: RecordedModel, allocator: Allocator, assessor: Assessor = SILENT) -> Planner:
    tools = {name: RecordedTool(tool, model.recording) for name, tool in GSM8K.tools.items()}
    executor = Executor(GSM8K.prompts, tools, GSM8K.defaults.plausibility)
    return Planner(model, executor, assessor, allocator, Limits(steps=1), max_rounds=64)
