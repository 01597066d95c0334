"""Which allocator a run gets: the one that comes along, a file, one from elsewhere, a cheap one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import CurvePoint, Origin, save_policy
from amp.allocate.space import Space
from amp.benchmarks import load_benchmark
from amp.benchmarks.presets import POLICY_SPACES, PRESETS
from amp.errors import InvalidInputError
from amp.evaluate import config
from amp.evaluate.config import best, choose, moved
from amp.evaluate.run import RunSettings, manifest, settled
from amp.models.base import ModelCard
from amp.models.scripted import ScriptedModel
from amp.types import Limits

CARD = ModelCard("base", sha256="aa")
POLICY = MlpPolicy.initial(POLICY_SPACES["gsm8k"], ("token_entropy",), hidden=4)
CURVE = (CurvePoint(0.5, 240.0, 0.6), CurvePoint(0.8, 410.0, 0.7), CurvePoint(1.0, 700.0, 0.75))


def settings(**changes: object) -> RunSettings:
    return replace(RunSettings("demo", 0, "amp", {}, Limits()), **changes)  # type: ignore[arg-type]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of policies with one in it, for the model of `CARD` on GSM8K."""
    monkeypatch.setattr(config, "_POLICIES", tmp_path)
    path = tmp_path / "gsm8k-base.safetensors"
    save_policy(POLICY, path, Origin("gsm8k", "base", "aa", ("gsm8k/train/0",), CURVE))
    return path


def test_the_best_is_the_policy_of_this_model_and_benchmark_or_else_the_heuristic(
    shipped: Path,
) -> None:
    assert best("gsm8k", CARD) == str(shipped)
    assert best("gsm8k", replace(CARD, name="renamed")) == str(shipped)
    assert best("babyai", CARD) == "heuristic"
    assert best("gsm8k", replace(CARD, sha256="bb")) == "heuristic"
    assert best("gsm8k", replace(CARD, sha256="")) == str(shipped)
    assert best("gsm8k", replace(CARD, sha256="", name="another")) == "heuristic"


def test_a_run_says_in_its_manifest_what_the_best_was(shipped: Path) -> None:
    gsm8k = load_benchmark("gsm8k")
    model = ScriptedModel(lambda prompt, index: "4")
    assert settled(settings(), gsm8k, CARD).allocator == str(shipped)
    told = manifest(model, gsm8k, settings(), [])
    assert (told["allocator"], told["policy"]) == ("heuristic", None)


def test_a_policy_takes_its_trade_off_from_the_run_or_from_a_budget_on_its_curve(
    shipped: Path,
) -> None:
    def trade_off(**changes: object) -> float:
        made = choose(str(shipped), PRESETS["gsm8k"], settings(**changes), "gsm8k")
        assert isinstance(made, MlpPolicy)
        return made.trade_off

    assert trade_off() == POLICY.trade_off
    assert trade_off(trade_off=0.3) == 0.3
    assert trade_off(mean_tokens=410.0) == 0.8
    assert trade_off(mean_tokens=555.0) == pytest.approx(0.9)
    assert trade_off(mean_tokens=9999.0) == 1.0
    with pytest.raises(InvalidInputError, match="mean_tokens is 100, expected at least 240"):
        trade_off(mean_tokens=100.0)
    save_policy(POLICY, shipped)
    with pytest.raises(InvalidInputError, match="does not say what it costs"):
        trade_off(mean_tokens=500.0)


def test_a_policy_with_an_assessor_of_its_own_is_not_run_without_one(shipped: Path) -> None:
    save_policy(POLICY, shipped, Origin("gsm8k", "base", "aa", (), CURVE, assessor="ff"))
    with pytest.raises(InvalidInputError, match="an assessor of its own; name it with --assessor"):
        choose(str(shipped), PRESETS["gsm8k"], settings(), "gsm8k")
    choose(str(shipped), PRESETS["gsm8k"], settings(assessor=Path("cam")), "gsm8k")


def test_trade_off_and_mean_tokens_exclude_each_other() -> None:
    both = settings(trade_off=0.5, mean_tokens=300.0)
    with pytest.raises(InvalidInputError, match="exclude each other"):
        choose_checked(both)
    with pytest.raises(InvalidInputError, match="mean_tokens is for trained policies"):
        choose_checked(settings(allocator="fixed", mean_tokens=300.0))


def choose_checked(wanted: RunSettings) -> None:
    from amp.evaluate.run import check

    check(load_benchmark("gsm8k"), wanted)


def test_a_policy_moves_to_a_benchmark_with_as_many_tools(shipped: Path) -> None:
    there = choose(str(shipped), PRESETS["babyai"], settings(), "babyai")
    assert isinstance(there, MlpPolicy)
    assert there.space == PRESETS["babyai"].space
    here = choose(str(shipped), PRESETS["gsm8k"], settings(), "gsm8k")
    assert isinstance(here, MlpPolicy)
    assert here.space == POLICY_SPACES["gsm8k"]
    with pytest.raises(InvalidInputError, match=r"use 1 tools \(python\), here are 0 \(none\)"):
        moved(POLICY, Space())
