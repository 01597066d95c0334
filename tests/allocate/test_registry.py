"""Which allocator a name stands for: the bundled policy, a file, one from elsewhere, another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes.recorded import POLICY_SPACE
from tests.fakes.worlds import context

from amp import allocate
from amp.allocate import (
    ALLOCATORS,
    CONTROLS,
    AllocatorOptions,
    BudgetedAllocator,
    GivingUp,
    OverrideAllocator,
    find_allocator,
    make_allocator,
    policy_file,
)
from amp.allocate.base import FixedAllocator
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy import arm_space
from amp.allocate.policy_file import CurvePoint, Origin, save_policy
from amp.allocate.space import Space
from amp.assess.base import Training
from amp.assess.correctness import Correctness, Head, save_correctness
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError
from amp.evaluate import Assembly, PlannerConfig, RunConfig, assembly, manifest
from amp.evaluate.config import PROFILES
from amp.latency import CostModel, Lengths
from amp.mlp import Layer, content_hash
from amp.models.base import ModelCard
from amp.models.recording import Recording
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.settings import checked
from amp.simulate.lattice_states import lattice_arms
from amp.types import PLAN, Allocation, Complexity

CARD = ModelCard("base", sha256="aa")
POLICY = MlpPolicy.initial(POLICY_SPACE, ("token_entropy",), hidden=4)
CURVE = (CurvePoint(0.5, 240.0, 0.6), CurvePoint(0.8, 410.0, 0.7), CurvePoint(1.0, 700.0, 0.75))


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of policies with one in it, for the model of `CARD` on GSM8K."""
    monkeypatch.setattr(policy_file, "_BUNDLED", tmp_path)
    assembly._note.cache_clear()  # it says the same only once
    path = tmp_path / "gsm8k-base.safetensors"
    save_policy(POLICY, path, Origin("gsm8k", "base", "aa", ("gsm8k/train/0",), CURVE))
    return path


def resolved(allocator: str, benchmark: str, card: ModelCard) -> str | None:
    config = PlannerConfig(allocator=allocator)
    return Assembly.of(config, load_benchmark(benchmark)).resolved(card).config.allocator


def test_auto_is_the_policy_for_this_model_and_benchmark_or_else_the_benchmarks_default(
    shipped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert resolved("auto", "gsm8k", CARD) == str(shipped)
    assert resolved("auto", "gsm8k", replace(CARD, name="renamed")) == str(shipped)
    assert resolved("auto", "gsm8k", replace(CARD, sha256="")) == str(shipped)
    assert not caplog.messages
    assert resolved("auto", "babyai", CARD) == "heuristic"
    assert resolved("auto", "gsm8k", replace(CARD, sha256="bb")) == "heuristic"
    assert resolved("auto", "gsm8k", replace(CARD, sha256="", name="another")) == "heuristic"
    stands = "allocator heuristic stands in for a trained policy: none comes with amp for"
    told = [f"{stands} {what}" for what in ("babyai and model base", "gsm8k and model base")]
    assert caplog.messages == [*told, f"{stands} gsm8k and model another"]


def test_other_names_and_files_stand_for_themselves(shipped: Path) -> None:
    assert resolved("fixed", "gsm8k", CARD) == "fixed"
    assert resolved(str(shipped), "babyai", CARD) == str(shipped)
    with pytest.raises(InvalidInputError, match="'auto' depends on the model; resolve it first"):
        make_allocator("auto")


def test_auto_can_still_be_called_as_before(shipped: Path) -> None:
    assert resolved("amp", "gsm8k", CARD) == str(shipped)
    assert find_allocator("amp").takes == find_allocator("auto").takes


def test_a_server_that_tells_no_hash_is_rated_by_the_heads_of_its_models_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gsm8k-base.safetensors"
    save_correctness(heads(0.0), Training("base", "gsm8k", "aa"), path)
    monkeypatch.setattr("amp.assess.correctness._BUNDLED", tmp_path)
    assembly = Assembly.of(PlannerConfig(allocator="fixed"), load_benchmark("gsm8k"))
    for card in (CARD, replace(CARD, sha256="")):
        planner = assembly.planner(ScriptedModel(["4"], card=card))
        assert isinstance(planner, Planner)
        assert planner.rater is not None
    assert caplog.messages == [f"{path} rates candidates by name: model base has no hash"]
    for card in (replace(CARD, sha256="bb"), replace(CARD, sha256="", name="another")):
        planner = assembly.planner(ScriptedModel(["4"], card=card))
        assert isinstance(planner, Planner)
        assert planner.rater is None


def test_a_policy_is_planned_with_the_heads_that_it_was_learned_with_and_no_others(
    shipped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gsm8k, model = load_benchmark("gsm8k"), ScriptedModel(["4"], card=CARD)
    for name, weight in (("own", 0.0), ("other", 1.0)):
        save_correctness(heads(weight), Training("base", "gsm8k", "aa"), tmp_path / name)
    own, other = (content_hash(tmp_path / name) for name in ("own", "other"))
    origin = Origin("gsm8k", "base", "aa", ("gsm8k/train/0",), CURVE, correctness=own)
    save_policy(POLICY, shipped, origin)

    def planned(allocator: str, correctness: str) -> Assembly:
        config = PlannerConfig(allocator=allocator, correctness=correctness)
        made = Assembly.of(config, gsm8k)
        made.planner(model)
        return made.resolved(CARD)

    for allocator in ("auto", str(shipped)):
        assert planned(allocator, str(tmp_path / "own")).config.allocator == str(shipped)
    assert not caplog.messages
    told = f"correctness heads {own[:8]}, and {tmp_path / 'other'} holds {other[:8]}"
    with pytest.raises(InvalidInputError, match=told):
        planned(str(shipped), str(tmp_path / "other"))
    with pytest.raises(InvalidInputError, match="and no heads rate candidates; name those"):
        planned(str(shipped), "none")
    assert planned("auto", str(tmp_path / "other")).config.allocator == "heuristic"
    assert [told in message for message in caplog.messages] == [True]


def test_a_policy_that_plans_is_the_default_where_nothing_is_set_that_its_arms_decide(
    shipped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    babyai, model = load_benchmark("babyai"), ScriptedModel(["1"], card=CARD)
    arms = lattice_arms(babyai, ["act", "follow", "plan 8"])
    path = shipped.with_name("babyai-base.safetensors")
    policy = MlpPolicy.initial(arm_space(arms), ("plan_left",), hidden=4)
    save_policy(policy, path, Origin("babyai", "base", "aa", ("it",), CURVE), arms)

    def chosen(card: ModelCard = CARD, **planner: Any) -> str | None:
        config = PlannerConfig(**planner)
        return Assembly.of(config, babyai).resolved(card).config.allocator

    assert chosen() == chosen(max_steps=8, trade_off=0.95, verification=1) == str(path)
    told = manifest(RunConfig(benchmark="babyai"), Assembly.of(PlannerConfig(), babyai), model, [])
    assert "babyai-plan/1" in told["prompts"]
    assert not caplog.messages
    assert chosen(replace(CARD, sha256="bb")) == "heuristic"
    recordings = Path(__file__).parents[2] / "recordings"
    replays = {"babyai": "heuristic", "babyai-lattice": str(path)}
    for name, allocator in replays.items():
        replay = Recording(recordings / f"{name}.sqlite", "replay")
        made = Assembly.of(PlannerConfig(), babyai).resolved(CARD, replay)
        assert made.config.allocator == allocator
    assert caplog.messages[-1].endswith("it plans, and the recording has no plans")
    for planner in ({"tools": frozenset[str]()}, {"depth": 1}, {"beam_width": 2}):
        caplog.clear()
        assembly._note.cache_clear()
        assert chosen(**planner) == "heuristic"
        (why,) = caplog.messages
        assert "decides on tools, samples and plans itself, and some are set" in why


def heads(weight: float) -> Correctness:
    one = np.ones(1, np.float32)
    layer = Layer(np.full((2, 1), weight, np.float32), one)
    return Correctness({"text": Head(("length",), one, one, (layer,))})


def test_a_run_says_in_its_manifest_what_the_best_was(shipped: Path) -> None:
    gsm8k = load_benchmark("gsm8k")
    model = ScriptedModel(lambda prompt, index: "4")
    assembly = Assembly.of(PlannerConfig(), gsm8k)
    assert assembly.resolved(CARD).config.allocator == str(shipped)
    told = manifest(RunConfig(benchmark="gsm8k"), assembly, model, [])
    assert (told["allocator"], told["sha256"]) == ("heuristic", {})


def test_a_policy_takes_its_trade_off_from_the_run_or_from_a_budget_on_its_curve(
    shipped: Path,
) -> None:
    def trade_off(**changes: Any) -> float:
        made = make_allocator(str(shipped), AllocatorOptions(benchmark="gsm8k", **changes))
        assert isinstance(made, MlpPolicy)
        return made.trade_off

    assert trade_off() == POLICY.trade_off
    assert trade_off(trade_off=0.3) == 0.3
    assert trade_off(mean_tokens=410.0) == 0.8
    assert trade_off(mean_tokens=555.0) == pytest.approx(0.9)
    assert trade_off(mean_tokens=9999.0) == 1.0
    with pytest.raises(InvalidInputError, match="mean_tokens is 100, expected at least 240"):
        trade_off(mean_tokens=100.0)
    with pytest.raises(InvalidInputError, match="does not say what it costs in dollars"):
        trade_off(mean_dollars=1e-4)
    priced = tuple(replace(point, dollars=point.tokens * 1e-7) for point in CURVE)
    save_policy(POLICY, shipped, Origin("gsm8k", "base", "aa", (), priced))
    assert trade_off(mean_dollars=555e-7) == pytest.approx(trade_off(mean_tokens=555.0))
    with pytest.raises(InvalidInputError, match="mean_dollars is 1e-06, expected at least 2.4e-05"):
        trade_off(mean_dollars=1e-6)
    save_policy(POLICY, shipped)
    with pytest.raises(InvalidInputError, match="does not say what it costs"):
        trade_off(mean_tokens=500.0)


def test_a_profile_is_a_trade_off_in_a_word_and_the_settings_have_one_for_all_that_take_it(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gsm8k, own = load_benchmark("gsm8k"), POLICY.trade_off

    def runs_at(**planner: Any) -> tuple[float | None, str | None]:
        config = PlannerConfig(**{"allocator": str(shipped)} | planner)
        assembly = Assembly.of(config, gsm8k)
        model = ScriptedModel(lambda prompt, index: "4")
        told = manifest(RunConfig(benchmark="gsm8k", planner=config), assembly, model, [])
        allocator = assembly._allocator()
        return getattr(allocator, "trade_off", None), told.get("profile")

    assert runs_at() == (own, None)
    assert [runs_at(profile=name) for name in PROFILES] == [(PROFILES[n], n) for n in PROFILES]
    monkeypatch.setenv("AMP_PROFILE", "speed")
    assert runs_at() == (PROFILES["speed"], "speed")
    assert runs_at(profile="quality") == (PROFILES["quality"], "quality")
    assert runs_at(trade_off=0.3) == (0.3, None)
    assert runs_at(mean_tokens=410.0) == (0.8, None)
    assert runs_at(allocator="heuristic") == (None, None)
    with pytest.raises(InvalidInputError, match="profile is for trained policies, not for fixed"):
        Assembly.of(PlannerConfig(allocator="fixed", profile="speed"), gsm8k)
    with pytest.raises(InvalidInputError, match="profile and trade_off exclude each other"):
        checked(PlannerConfig, {"profile": "speed", "trade_off": 0.5})
    monkeypatch.setenv("AMP_PROFILE", "fast")
    with pytest.raises(InvalidInputError, match="AMP_PROFILE is 'fast', expected 'speed'"):
        runs_at()


def test_a_policy_with_an_assessor_of_its_own_is_not_run_without_one(shipped: Path) -> None:
    save_policy(POLICY, shipped, Origin("gsm8k", "base", "aa", (), CURVE, assessor="ff"))
    with pytest.raises(InvalidInputError, match="an assessor of its own; name that assessor, too"):
        make_allocator(str(shipped), AllocatorOptions(benchmark="gsm8k"))
    make_allocator(str(shipped), AllocatorOptions(benchmark="gsm8k", has_assessor=True))


def test_trade_off_and_mean_tokens_exclude_each_other() -> None:
    with pytest.raises(InvalidInputError, match="exclude each other"):
        checked(PlannerConfig, {"trade_off": 0.5, "mean_tokens": 300.0})
    with pytest.raises(InvalidInputError, match="mean_tokens and mean_dollars exclude each other"):
        checked(PlannerConfig, {"mean_dollars": 0.5, "mean_tokens": 300.0})
    with pytest.raises(InvalidInputError, match="mean_tokens is for trained policies"):
        Assembly.of(PlannerConfig(allocator="fixed", mean_tokens=300.0), load_benchmark("gsm8k"))


def test_a_policy_moves_to_a_benchmark_with_as_many_tools(shipped: Path) -> None:
    babyai = AllocatorOptions(space=load_benchmark("babyai").defaults.space, benchmark="babyai")
    there = make_allocator(str(shipped), babyai)
    assert isinstance(there, MlpPolicy)
    assert there.space == load_benchmark("babyai").defaults.space
    gsm8k = AllocatorOptions(space=load_benchmark("gsm8k").defaults.space, benchmark="gsm8k")
    here = make_allocator(str(shipped), gsm8k)
    assert isinstance(here, MlpPolicy)
    assert here.space == POLICY_SPACE
    with pytest.raises(InvalidInputError, match=r"use 1 tools \(python\), here are 0 \(none\)"):
        POLICY.transferred(Space())


def test_a_missing_policy_is_named_and_a_misspelt_name_is_not_taken_for_a_file() -> None:
    with pytest.raises(InvalidInputError, match=r"gone\.safetensors"):
        make_allocator("gone.safetensors")
    with pytest.raises(InvalidInputError, match="'fixd'; did you mean 'fixed'.*, or the file of"):
        make_allocator("fixd")


def test_another_package_brings_an_allocator_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(space: Space, fixed: Allocation) -> FixedAllocator:
        return FixedAllocator(replace(fixed, beam_width=space.beam_width[1]))

    monkeypatch.setattr(allocate, "plugin_names", lambda group, builtin: ("widest",))
    monkeypatch.setattr("amp.plugins.load_plugin", lambda group, name: make)
    allocator = make_allocator("widest", AllocatorOptions(space=Space(beam_width=(1, 7))))
    assert allocator == FixedAllocator(Allocation(beam_width=7))
    with pytest.raises(InvalidInputError, match="allocators: .*widest"):
        make_allocator("widst")


FIELDS = {"temperature": 0.5, "beam_width": 3, "tools": frozenset({"calculator"})}


@pytest.mark.parametrize("name", sorted(ALLOCATORS.keys() - set(CONTROLS)))
def test_what_the_user_set_is_in_every_allocation_but_for_what_a_rule_on_votes_decides(
    name: str,
) -> None:
    options = AllocatorOptions(
        space=Space(tools=frozenset({"python"})),
        fixed=Allocation(temperature=0.9, beam_width=2),
        models=("small", "big"),
    )
    allocator = make_allocator(name, options).with_overrides(FIELDS)
    granted = allocator.allocate(context(), Complexity(0.9)).allocation
    assert granted is not None
    assert granted.temperature == 0.5
    if "max_samples" not in ALLOCATORS[name].takes and not name.startswith("until"):
        assert granted.beam_width == 3
        assert granted.tools - {PLAN} == FIELDS["tools"]


def test_overrides_do_not_change_what_an_allocator_reads() -> None:
    for name, used in {"heuristic": True, "sigmoid": True, "fixed": False, "random": False}.items():
        allocator = make_allocator(name)
        assert allocator.uses_complexity is used
        assert OverrideAllocator(allocator, FIELDS).uses_complexity is used


def test_what_stands_around_an_allocator_has_its_models_and_its_bids() -> None:
    inner, step = FixedAllocator(Allocation(model="m")), context()
    for around in (
        OverrideAllocator(inner, FIELDS),
        BudgetedAllocator(inner, CostModel(CARD, Lengths(100, 20, 9))),
        GivingUp(inner),
    ):
        assert around.models == {"m"}
        assert around.uses_complexity is False
        assert around.bid(step, Complexity(0.4)) == inner.bid(step, Complexity(0.4))
