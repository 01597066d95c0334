"""A run keeps what it has when the model goes away, and tries it again when resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from amp.allocate.affordable import AffordableAllocator
from amp.allocate.baselines import FixedAllocator
from amp.allocate.heuristic import HeuristicAllocator
from amp.allocate.policy import SigmoidPolicy
from amp.benchmarks import load_benchmark
from amp.errors import ModelError
from amp.evaluate import runner
from amp.evaluate.presets import PRESETS
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.profile import Profile, cores, machine
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


def planner_for(allocator: str, limits: Limits) -> Planner:
    settings = runner.RunSettings("demo", 0, allocator, {}, limits)
    planner = runner.make_planner(ScriptedModel([""]), load_benchmark("gsm8k"), settings)
    assert isinstance(planner, Planner)
    return planner


def test_an_adaptive_allocator_is_told_what_fits_the_limits() -> None:
    free = planner_for("heuristic", Limits()).allocator
    assert isinstance(free, HeuristicAllocator)
    bound = planner_for("heuristic", Limits(tokens=500)).allocator
    assert bound == AffordableAllocator(free, ScriptedModel([""]).card, PRESETS["gsm8k"].lengths)
    fixed = planner_for("fixed", Limits(tokens=500)).allocator
    assert isinstance(fixed, FixedAllocator)


def test_a_policy_knows_its_surroundings_and_serves_without_chance() -> None:
    policy = planner_for("sigmoid", Limits(tokens=500)).allocator
    assert isinstance(policy, SigmoidPolicy)
    assert policy.deterministic
    assert policy.surroundings.candidate.tokens == 222  # a prompt of 110 and an answer of 112
    assert policy.surroundings.tools is not None
    assert policy.surroundings.tools["python"].seconds > 0
    assert policy.surroundings.limits.tokens == 500


def test_a_measured_machine_bounds_the_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    unmeasured = planner_for("heuristic", Limits(seconds=9.0)).allocator
    assert isinstance(unmeasured, AffordableAllocator)
    assert unmeasured.profile is None
    law = (0.0, 0.01, 0.0, 0.0, (1, 4), (0.05, 0.1), 0.0, ())
    Profile("scripted", "", machine(), cores(), *law).save()
    measured = planner_for("heuristic", Limits(seconds=9.0)).allocator
    assert isinstance(measured, AffordableAllocator)
    assert measured.profile is not None
