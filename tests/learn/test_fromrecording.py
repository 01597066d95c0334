"""From recorded samples to a policy on disk that knows where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.learn.test_tables import TABLE

from amp.allocate.mlp import MlpPolicy
from amp.allocate.weights import load_origin, load_policy
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, RecordingError
from amp.evaluate.synthetic import CARD
from amp.learn.fromrecording import CURVE, learn, table_of
from amp.learn.recipe import Recipe
from amp.learn.train import POLICY

GSM8K = load_benchmark("gsm8k")
RECIPE = Recipe(
    benchmark="gsm8k",
    recording=Path("none.sqlite"),
    features=TABLE.features,
    lessons=60,
    hidden=16,
    epochs=3,
    ppo={"decisions": 600, "episodes": 64},
)


def test_a_policy_on_disk_says_where_it_comes_from_and_what_it_takes(tmp_path: Path) -> None:
    policy = learn(RECIPE, TABLE, CARD, tmp_path)
    again, origin = load_policy(tmp_path / POLICY), load_origin(tmp_path / POLICY)
    assert isinstance(again, MlpPolicy)
    assert (again.most_rounds, again.most_samples) == (4, 3) == (policy.most_rounds, 3)
    assert origin is not None
    assert (origin.benchmark, origin.model, origin.tasks) == ("gsm8k", CARD.name, TABLE.tasks)
    assert tuple(point.trade_off for point in origin.curve) == CURVE
    assert all(0.0 <= point.success <= 1.0 < point.tokens for point in origin.curve)


def test_a_budget_of_tokens_finds_its_trade_off_on_the_curve(tmp_path: Path) -> None:
    learn(RECIPE, TABLE, CARD, tmp_path)
    origin = load_origin(tmp_path / POLICY)
    assert origin is not None
    for point in origin.curve:
        found = origin.trade_off_for(point.tokens)
        (fits,) = (p for p in origin.curve if p.trade_off == found)
        assert found >= point.trade_off
        assert fits.tokens <= point.tokens
    with pytest.raises(InvalidInputError, match="mean tokens are 1, expected at least"):
        origin.trade_off_for(1)


def test_the_same_seed_gives_the_same_policy_and_another_one_another(tmp_path: Path) -> None:
    made = [
        learn(
            RECIPE.model_copy(update={"ppo": {**RECIPE.ppo, "seed": seed}}),
            TABLE,
            CARD,
            tmp_path / name,
        )
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    one, same, other = (policy.layers[2].weight for policy in made)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_imitation_alone_is_a_policy_too(tmp_path: Path) -> None:
    alone = RECIPE.model_copy(update={"learn": False})
    policy = learn(alone, TABLE, CARD, tmp_path)
    assert policy.most_samples == TABLE.most_samples
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_training_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    made = learn(RECIPE, TABLE, CARD, tmp_path)
    kept = (tmp_path / POLICY).read_bytes()
    with pytest.raises(InvalidInputError, match="holds a training already"):
        learn(RECIPE, TABLE, CARD, tmp_path)
    assert (tmp_path / POLICY).read_bytes() == kept
    again = learn(RECIPE, TABLE, CARD, tmp_path, resume=True)
    assert np.array_equal(again.layers[2].weight, made.layers[2].weight)


def test_a_table_of_one_outcome_teaches_nothing(tmp_path: Path) -> None:
    always = replace(TABLE, right=np.ones_like(TABLE.right))
    with pytest.raises(InvalidInputError, match="the same decision|have the success 1"):
        learn(RECIPE.model_copy(update={"lessons": 0}), always, CARD, tmp_path)
    never = replace(TABLE, right=np.zeros_like(TABLE.right))
    with pytest.raises(InvalidInputError, match="have the success 0"):
        learn(RECIPE.model_copy(update={"lessons": 0}), never, CARD, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ("program", "chian")}, "unknown way to ask 'chian'; did you mean 'chain'"),
        ({"features": ("token_entropie",)}, "unknown feature 'token_entropie'; did you mean"),
    ],
)
def test_a_name_that_is_none_is_refused(change: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        table_of(RECIPE.model_copy(update={"split": "demo", **change}), GSM8K)


def test_a_recording_that_is_not_there_is_refused() -> None:
    with pytest.raises(RecordingError, match=r"none\.sqlite"):
        table_of(RECIPE.model_copy(update={"split": "demo"}), GSM8K)


def test_a_benchmark_without_a_space_to_learn_in_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="unknown benchmark to learn on 'babyai'"):
        table_of(RECIPE.model_copy(update={"benchmark": "babyai"}), load_benchmark("babyai"))
