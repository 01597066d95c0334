"""Training in the real planner: it learns, goes on exactly, and spends no more than it may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes.recorded import CARD, GSM8K, POLICY_SPACE, TASKS

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import load_origin, load_policy, save_policy
from amp.errors import InvalidInputError
from amp.learn.config import TrainConfig
from amp.learn.pipeline import train_online
from amp.learn.trainer import CHECKPOINT, METRICS, POLICY
from amp.models.base import LanguageModel, ModelCard, Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.settings import checked

CONFIG: dict[str, Any] = {
    "benchmark": "gsm8k",
    "split": "demo",
    "limit": 3,
    "rounds": 2,
    "samples": 2,
    "features": ["unread"],
    "online": True,
    "ppo": {
        "decisions": 1500,
        "episodes": 48,
        "hidden": 16,
        "reference_tokens": 400,
        "learning_rate": 3e-3,
        "curriculum": False,
        "checkpoint_every": 1,
    },
}


def answer(prompt: Prompt, index: int) -> str:
    """Chains are right, programs are none; so the tool is never worth its tokens."""
    question = prompt.messages[-1].content
    (task,) = (task for task in TASKS if task.goal in question)
    return "no idea" if "Python" in question else f"1. So it is.\n#### {task.data['answer']}"


def config(**changes: Any) -> TrainConfig:
    ppo = CONFIG["ppo"] | changes.pop("ppo", {})
    return checked(TrainConfig, CONFIG | changes | {"ppo": ppo})


def scripted() -> ScriptedModel:
    return ScriptedModel(answer, card=CARD)


def trained(
    out: Path, model: LanguageModel | None = None, *, resume: bool = False, **changes: Any
) -> str | None:
    return train_online(config(**changes), GSM8K, model or scripted(), out, resume=resume)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / METRICS).read_text().splitlines()]


def weights(out: Path) -> np.ndarray:
    policy = load_policy(out / POLICY)
    assert isinstance(policy, MlpPolicy)
    return np.concatenate([layer.weight.ravel() for layer in policy.layers])


@pytest.mark.slow
def test_it_learns_which_arm_is_right(tmp_path: Path) -> None:
    assert trained(tmp_path) is None
    told = metrics(tmp_path)
    # Chance is high already: a program that cannot be read is followed by a chain half the time.
    assert told[-1]["success"] > max(0.95, told[0]["success"])
    origin = load_origin(tmp_path / POLICY)
    assert origin is not None
    assert (origin.benchmark, origin.model, origin.sha256) == ("gsm8k", CARD.name, CARD.sha256)
    assert origin.tasks == tuple(task.id for task in TASKS)


@pytest.mark.slow
def test_a_recording_of_it_trains_the_same_policy_and_what_was_broken_off_goes_on_exactly(
    tmp_path: Path,
) -> None:
    path, ppo = tmp_path / "r.sqlite", {"decisions": 300}
    trained(tmp_path / "live", RecordedModel(scripted(), path, mode="record"), ppo=ppo)
    replay = RecordedModel(None, path, mode="replay")
    ended = trained(tmp_path / "again", replay, ppo=ppo, online={"max_calls": 400})
    assert ended == "400 model calls"
    assert 0 < len(metrics(tmp_path / "again")) < len(metrics(tmp_path / "live"))
    replay = RecordedModel(None, path, mode="replay")
    assert trained(tmp_path / "again", replay, ppo=ppo, resume=True) is None
    assert np.array_equal(weights(tmp_path / "again"), weights(tmp_path / "live"))
    for one, two in zip(metrics(tmp_path / "again"), metrics(tmp_path / "live"), strict=True):
        assert (one["success"], one["cost"], one["kl"]) == (
            *(two["success"], two["cost"], two["kl"]),
        )


def test_a_limit_holds_but_for_the_episodes_under_way(tmp_path: Path) -> None:
    limits = {"max_tokens": 40_000, "jobs": 1}
    assert trained(tmp_path, online=limits) == "40000 tokens"
    assert (tmp_path / CHECKPOINT).exists()
    assert (tmp_path / POLICY).exists()
    spent = metrics(tmp_path)[-1]["spent_tokens"]
    assert 0 < spent < 40_000
    # Gone on with, the limit is that of the whole training.
    assert trained(tmp_path, resume=True, online=limits | {"max_tokens": int(spent)}) is not None


def test_it_begins_with_the_policy_of_a_file(tmp_path: Path) -> None:
    start = MlpPolicy.initial(POLICY_SPACE, ("unread",), hidden=16, seed=3)
    save_policy(start, tmp_path / "start.safetensors")
    online = {"start": str(tmp_path / "start.safetensors")}
    trained(tmp_path / "out", ppo={"decisions": 60, "learning_rate": 1e-9}, online=online)
    assert weights(tmp_path / "out") == pytest.approx(
        np.concatenate([layer.weight.ravel() for layer in start.layers]), abs=1e-6
    )


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="recording is missing"):
        config(online=False)
    with pytest.raises(InvalidInputError, match="online is set and learn is false"):
        config(learn=False)
    with pytest.raises(InvalidInputError, match="max_dollars is 1, but no price is known"):
        unknown = ScriptedModel(
            answer, card=ModelCard("somebody's", dollars_per_million_prompt_tokens=None)
        )
        trained(tmp_path, unknown, online={"max_dollars": 1.0})


def test_a_few_episodes_that_end_alike_do_not_end_the_training(tmp_path: Path) -> None:
    """With one trade-off at which success is all, two right episodes tell nothing apart."""
    start = MlpPolicy.initial(POLICY_SPACE, ("unread",), hidden=16, seed=3)
    save_policy(start, tmp_path / "start.safetensors")
    ppo = {"decisions": 60, "episodes": 2, "min_trade_off": 1.0}
    assert trained(tmp_path, ppo=ppo, online={"start": str(tmp_path / "start.safetensors")}) is None
    told = metrics(tmp_path)
    assert any(row["kl"] is None for row in told)
    assert told[-1]["decisions"] >= 60
