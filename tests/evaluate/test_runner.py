"""A run keeps what it has when the model goes away, and tries it again when resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from amp.benchmarks import load_benchmark
from amp.errors import ModelError
from amp.evaluate import runner
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.trace import RunDirectory, read_episodes
from amp.types import MODEL_ERROR, Episode, Limits

SETTINGS = runner.RunSettings("demo", 0, "fixed", {}, Limits())


async def run(path: Path, model: ScriptedModel, limit: int | None = None) -> list[Episode]:
    benchmark = load_benchmark("gsm8k")
    tasks = list(benchmark.tasks("demo", limit))
    directory = RunDirectory.resume(path, runner.manifest(model, benchmark, SETTINGS, tasks))
    return await runner.run(
        runner.make_planner(model, benchmark, SETTINGS), benchmark, tasks, directory
    )


class Flaky:
    """Answers programs, but fails in the calls that are counted out."""

    def __init__(self, failing: range) -> None:
        self.calls, self.failing = 0, failing

    def __call__(self, prompt: Prompt, sample: int) -> str:
        if sample == 0:
            self.calls += 1
        if self.calls in self.failing:
            raise ModelError("503 for the third time")
        return "```python\nanswer = 1\n```"


async def test_one_failure_is_recorded_and_the_run_goes_on(tmp_path: Path) -> None:
    episodes = await run(tmp_path, ScriptedModel(Flaky(range(2, 3))))
    assert [e.ended == MODEL_ERROR for e in episodes] == [False, True, *[False] * 4]
    resumed = await run(tmp_path, ScriptedModel(Flaky(range(0))))
    assert not any(e.ended == MODEL_ERROR for e in resumed)


async def test_a_model_that_is_gone_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 episodes in a row .* 503 for the third time"):
        await run(tmp_path, ScriptedModel(Flaky(range(3, 99))))
    assert [e.ended for e in read_episodes(tmp_path)] == ["done"] * 2 + [MODEL_ERROR] * 3


async def test_the_only_task_failing_is_enough(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="1 episodes in a row"):
        await run(tmp_path, ScriptedModel(Flaky(range(1, 99))), limit=1)
