"""A run keeps what it has when the model goes away, and tries it again when resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amp.allocate.base import BudgetedAllocator, FixedAllocator, OverrideAllocator, RandomAllocator
from amp.allocate.giving_up import FailureHead, GivingUp
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.policy_file import load_head, save_head, save_policy
from amp.allocate.rules import HeuristicAllocator
from amp.allocate.stopping import AdaptiveConsistency, EarlyStopping
from amp.assess.base import AblatedAssessor, Training
from amp.assess.correctness import Correctness, Head, save_correctness
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, ModelError
from amp.evaluate import Assembly, PlannerConfig, RunConfig, build_planner, manifest, run_tasks
from amp.latency import CostModel, Profile, cores, machine
from amp.mlp import Layer, content_hash
from amp.models.base import ModelCard, Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.trace import RunDirectory, read_episodes
from amp.types import MODEL_ERROR, Episode

CONFIG = RunConfig(benchmark="gsm8k", split="demo", planner=PlannerConfig(allocator="fixed"))


async def run_all(path: Path, model: ScriptedModel, limit: int | None = None) -> list[Episode]:
    config = CONFIG.replace(limit=limit)
    benchmark = config.load_benchmark()
    tasks, assembly = config.load_tasks(benchmark), Assembly.of(config.planner, benchmark)
    directory = RunDirectory.resume(path, manifest(config, assembly, model, tasks))
    return list(await run_tasks(assembly.planner(model), benchmark, tasks, directory))


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
    episodes = await run_all(tmp_path, ScriptedModel(Flaky(range(2, 3))))
    assert [e.ended == MODEL_ERROR for e in episodes] == [False, True, *[False] * 4]
    resumed = await run_all(tmp_path, ScriptedModel(Flaky(range(0))))
    assert not any(e.ended == MODEL_ERROR for e in resumed)


async def test_a_model_that_is_gone_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 episodes in a row .* 503 for the third time"):
        await run_all(tmp_path, ScriptedModel(Flaky(range(3, 99))))
    assert [e.ended for e in read_episodes(tmp_path)] == ["done"] * 2 + [MODEL_ERROR] * 3


async def test_the_only_task_failing_is_enough(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^1 episode ended by a model error: 503"):
        await run_all(tmp_path, ScriptedModel(Flaky(range(1, 99))), limit=1)


def planned(**settings: Any) -> Planner:
    config = PlannerConfig(**settings)
    planner = build_planner(config, ScriptedModel([""]), load_benchmark("gsm8k"))
    assert isinstance(planner, Planner)
    return planner


def told(**settings: Any) -> dict[str, Any]:
    config = CONFIG.replace(planner=PlannerConfig(**settings))
    assembly = Assembly.of(config.planner, load_benchmark("gsm8k"))
    return manifest(config, assembly, ScriptedModel([""]), [])


def test_an_adaptive_allocator_is_told_what_fits_the_limits() -> None:
    free = planned(allocator="heuristic").allocator
    assert isinstance(free, HeuristicAllocator)
    bound = planned(allocator="heuristic", budget_tokens=500).allocator
    assert bound == BudgetedAllocator(
        free, CostModel(ScriptedModel([""]).card, load_benchmark("gsm8k").defaults.lengths)
    )
    fixed = planned(allocator="fixed", budget_tokens=500).allocator
    assert isinstance(fixed, FixedAllocator)


def test_a_policy_knows_what_things_cost_and_serves_without_chance() -> None:
    policy = planned(allocator="sigmoid", budget_tokens=500).allocator
    assert isinstance(policy, SigmoidPolicy)
    assert policy.deterministic
    assert policy.env.candidate.tokens == 222  # a prompt of 110 and an answer of 112
    assert policy.env.tools is not None
    assert policy.env.tools["python"].seconds > 0
    assert policy.env.limits.tokens == 500


def test_a_measured_machine_bounds_the_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    unmeasured = planned(allocator="heuristic", max_seconds=9.0).allocator
    assert isinstance(unmeasured, BudgetedAllocator)
    assert unmeasured.costs.profile is None
    law = (0.0, 0.01, 0.0, 0.0, (1, 4), (0.05, 0.1), 0.0, ())
    Profile("scripted", "", machine(), cores(), *law).save()
    measured = planned(allocator="heuristic", max_seconds=9.0).allocator
    assert isinstance(measured, BudgetedAllocator)
    assert measured.costs.profile is not None


# --------------------------------------------------------------------------- what can be set


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.safetensors"
    save_policy(MlpPolicy.initial(load_benchmark("gsm8k").defaults.space, ("uncertainty",)), path)
    return path


def test_a_policy_file_is_an_allocator_that_serves_without_chance(policy_file: Path) -> None:
    planner = planned(allocator=str(policy_file), trade_off=0.9)
    assert isinstance(planner.allocator, MlpPolicy)
    assert planner.allocator.deterministic
    assert planner.allocator.trade_off == 0.9
    assert planner.allocator.env.candidate.tokens > 0
    assert planner.probes  # as it uses the complexity
    made = told(allocator=str(policy_file), trade_off=0.9)
    assert made["allocator"] == "policy"
    assert len(made["sha256"]["allocator"]) == 64
    assert made["config"]["planner"]["trade_off"] == 0.9


def test_a_run_goes_on_with_a_policy_that_was_saved_anew_by_any_version(
    policy_file: Path, tmp_path: Path
) -> None:
    def anew(turn: int) -> dict[str, Any]:
        """The manifest after the header was written in another order, as was done before."""
        content = policy_file.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        words = sorted(header["__metadata__"].items())
        header["__metadata__"] = dict(words[turn:] + words[:turn])
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        policy_file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
        return told(allocator=str(policy_file))

    first, second = anew(2), anew(3)
    assert first["sha256"] != second["sha256"]
    RunDirectory.create(tmp_path / "run", first).close()
    RunDirectory.resume(tmp_path / "run", second).close()
    # A run of before knows its files by their bytes only.
    old = {key: value for key, value in first.items() if key != "contents_sha256"}
    RunDirectory.create(tmp_path / "old", old).close()
    RunDirectory.resume(tmp_path / "old", first).close()
    with pytest.raises(InvalidInputError, match="was run with sha256 of allocator"):
        RunDirectory.resume(tmp_path / "old", second)


def test_a_policy_that_takes_no_trade_off_says_so(tmp_path: Path) -> None:
    path = tmp_path / "sigmoid.safetensors"
    save_policy(SigmoidPolicy.initial(load_benchmark("gsm8k").defaults.space), path)
    assert isinstance(planned(allocator=str(path)).allocator, SigmoidPolicy)
    with pytest.raises(InvalidInputError, match="takes no trade_off; leave it out"):
        planned(allocator=str(path), trade_off=0.5)


async def test_what_the_user_set_wins_over_a_policy(policy_file: Path) -> None:
    overrides = {"beam_width": 3, "tools": [], "temperature": None}
    planner = planned(allocator=str(policy_file), **overrides)
    assert isinstance(planner.allocator, OverrideAllocator)
    benchmark = load_benchmark("gsm8k")
    (task,) = benchmark.tasks("demo", 1)
    episode = await planner.run(task, benchmark.environment(task))
    granted = [executed.allocation for executed in episode.steps[0].rounds]
    assert {(one.beam_width, one.tools) for one in granted} == {(3, frozenset())}
    made = told(allocator=str(policy_file), **overrides)["config"]["planner"]
    assert (made["beam_width"], made["tools"], made["temperature"]) == (3, [], None)


def test_a_pinned_tool_is_always_used_even_by_chance() -> None:
    allocator = planned(allocator="random", tools=["python"]).allocator
    assert isinstance(allocator, OverrideAllocator)
    assert isinstance(allocator.inner, RandomAllocator)


def test_giving_up_goes_before_any_allocator_and_its_head_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_head(FailureHead("steps", ("refused",), (0.5,), (0.1,), (5.0,), 0.0, (0.2,) * 40), path)
    allocator = planned(allocator="fixed", give_up=path, recall=0.9).allocator
    assert isinstance(allocator, GivingUp)
    assert (allocator.head, allocator.recall) == (load_head(path), 0.9)
    assert allocator.inner == planned(allocator="fixed").allocator
    usual = planned(allocator="fixed", give_up=path).allocator
    assert isinstance(usual, GivingUp)
    assert usual.recall == 0.95
    assert told(allocator="fixed", give_up=path)["sha256"]["give_up"] == content_hash(path)
    save_head(replace(load_head(path), benchmark="babyai"), path)
    with pytest.raises(InvalidInputError, match="was learned on babyai, where episodes behave"):
        planned(allocator="fixed", give_up=path)


def test_rounds_bound_any_allocator() -> None:
    assert planned(allocator="until_agreement", rounds=1).max_rounds == 1
    assert told(allocator="fixed", rounds=1)["config"]["planner"]["rounds"] == 1


def test_max_samples_bounds_the_samples_of_the_rules_on_votes() -> None:
    fixed = load_benchmark("gsm8k").defaults.fixed
    asked = planned(allocator="adaptive_consistency", max_samples=4).allocator
    assert asked == AdaptiveConsistency(fixed, max_samples=4)
    assert planned(allocator="early_stopping", max_samples=4).allocator == EarlyStopping(
        fixed, 2, 4
    )
    usual = planned(allocator="early_stopping").allocator
    assert usual == planned(allocator="early_stopping", max_samples=8).allocator


def test_excluded_features_are_hidden_from_the_assessor() -> None:
    planner = planned(allocator="heuristic", exclude={"distance"})
    assert isinstance(planner.assessor, AblatedAssessor)
    assert planner.assessor.exclude == {"distance"}
    made = told(allocator="heuristic", exclude={"distance"})
    assert made["config"]["planner"]["exclude"] == ["distance"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"max_samples": 4},
            "max_samples is for adaptive_consistency, .* and until_sure_mixed, not for f",
        ),
        ({"trade_off": 0.5}, "trade_off is for trained policies, not for fixed"),
        ({"exclude": {"distance"}}, "exclude is for allocators that use"),
        (
            {"method": "react", "allocator": None, "rounds": 1},
            "rounds is for planners that have rounds, not for reac",
        ),
        ({"source_run": "x"}, "source_run is for histogram and shuffled, not for fixed"),
        ({"allocator": "shuffled"}, "shuffled needs source_run"),
        ({"recall": 0.9}, "recall is for giving up; name a head as give_up"),
        ({"give_up": "none.safetensors"}, "there is no head none.safetensors; check the path"),
        (
            {"method": "react", "allocator": None, "give_up": "x"},
            "give_up is for planners that have an allocator, not for react",
        ),
        (
            {"allocator": "heuristic", "exclude": {"structure"}},
            "exclude is structure, but the weighted sum reads",
        ),
        (
            {"allocator": "heuristic", "exclude": {"uncertainty", "indicators", "distance"}},
            "exclude names all terms of the weighted sum",
        ),
        ({"allocator": "none.safetensors"}, "none.safetensors"),
        ({"allocator": "fxed"}, "did you mean 'fixed'"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    config = PlannerConfig(**{"allocator": "fixed", **settings})
    with pytest.raises(InvalidInputError, match=message):
        Assembly.of(config, load_benchmark("gsm8k"))


def test_choices_are_rated_by_heads_of_their_own_benchmark_alone(tmp_path: Path) -> None:
    layer = Layer(np.array([[-1.0], [0.0]], np.float32), np.zeros(1, np.float32))
    head = Head(("tried",), np.zeros(1, np.float32), np.ones(1, np.float32), (layer,))
    config = PlannerConfig(correctness=str(tmp_path / "heads.safetensors"))
    save_correctness(
        Correctness({"choice": head}), Training("m", "webshop"), tmp_path / "heads.safetensors"
    )
    model = ScriptedModel([], card=ModelCard("m"))
    planner = build_planner(config, model, load_benchmark("webshop"))
    assert isinstance(planner, Planner)
    assert planner.rater is not None
    with pytest.raises(
        InvalidInputError, match="it was trained on webshop, this is babyai"
    ) as told:
        build_planner(config, model, load_benchmark("babyai"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["babyai", "alfworld", "webshop"])
def test_where_there_is_no_head_no_choice_is_rated(name: str) -> None:
    planner = build_planner(PlannerConfig(), ScriptedModel([]), load_benchmark(name))
    assert isinstance(planner, Planner)
    assert planner.rater is None
