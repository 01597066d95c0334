"""From recorded samples to a policy on disk that knows where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.recorded import CARD as SCRIPTED
from tests.fakes.recorded import CHAIN, PROGRAM, TASKS, record
from tests.fakes.synthetic import CARD
from tests.simulate.test_table_env import (
    CONTEXTS,
    DRAWS,
    FEATURES,
    SCORED,
    SPACE,
    TABLE,
    heeding,
    network,
)

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import load_origin, load_policy
from amp.assess.base import Training, WeightedAssessor
from amp.assess.features import FEATURES as SCHEMA
from amp.assess.neural import NeuralAssessor, load_assessor, save_assessor
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, RecordingError
from amp.learn.config import PPOConfig, TrainConfig
from amp.learn.dataset import CURVE, Dataset, Scorer, load_dataset
from amp.learn.pipeline import curve, train_policy
from amp.learn.trainer import ASSESSOR, POLICY
from amp.simulate.sample_env import env_from_samples

GSM8K = load_benchmark("gsm8k")
MATERIAL = Dataset(TABLE, CARD)
TRAINED_ON = Training(CARD.name, "gsm8k", CARD.sha256, tasks=("t/0", "u/0"))
SCRIPTED_ON = Training(SCRIPTED.name, "gsm8k", SCRIPTED.sha256)
RECIPE = TrainConfig(
    benchmark="gsm8k",
    recording=Path("none.sqlite"),
    features=TABLE.features,
    demonstrations=60,
    hidden=16,
    epochs=3,
    ppo=PPOConfig(decisions=600, episodes=64, hidden=16),
)


def test_a_policy_on_disk_says_where_it_comes_from_and_what_it_takes(tmp_path: Path) -> None:
    policy = train_policy(RECIPE, MATERIAL, tmp_path)
    again, origin = load_policy(tmp_path / POLICY), load_origin(tmp_path / POLICY)
    assert isinstance(again, MlpPolicy)
    assert (again.max_rounds, again.max_samples) == (4, 3) == (policy.max_rounds, 3)
    assert origin is not None
    assert (origin.benchmark, origin.model, origin.tasks) == ("gsm8k", CARD.name, TABLE.tasks)
    assert tuple(point.trade_off for point in origin.curve) == CURVE
    assert all(0.0 <= point.success <= 1.0 < point.tokens for point in origin.curve)


def test_a_budget_of_tokens_finds_its_trade_off_on_the_curve(tmp_path: Path) -> None:
    train_policy(RECIPE, MATERIAL, tmp_path)
    origin = load_origin(tmp_path / POLICY)
    assert origin is not None
    for point in origin.curve:
        assert origin.trade_off_for(point.tokens) >= point.trade_off
    with pytest.raises(InvalidInputError, match="mean_tokens is 1, expected at least"):
        origin.trade_off_for(1)


def test_the_same_seed_gives_the_same_policy_and_another_one_another(tmp_path: Path) -> None:
    made = [
        train_policy(
            RECIPE.replace(ppo=RECIPE.ppo.replace(seed=seed)),
            MATERIAL,
            tmp_path / name,
        )
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    one, same, other = (policy.layers[2].weight for policy in made)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_imitation_alone_is_a_policy_too(tmp_path: Path) -> None:
    alone = RECIPE.replace(learn=False)
    policy = train_policy(alone, MATERIAL, tmp_path)
    assert policy.max_samples == TABLE.max_samples
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_training_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    made = train_policy(RECIPE, MATERIAL, tmp_path)
    kept = (tmp_path / POLICY).read_bytes()
    with pytest.raises(InvalidInputError, match="has a training already"):
        train_policy(RECIPE, MATERIAL, tmp_path)
    assert (tmp_path / POLICY).read_bytes() == kept
    again = train_policy(RECIPE, MATERIAL, tmp_path, resume=True)
    assert np.array_equal(again.layers[2].weight, made.layers[2].weight)


def test_a_table_of_one_outcome_teaches_nothing(tmp_path: Path) -> None:
    always = replace(TABLE, score=np.ones_like(TABLE.score))
    with pytest.raises(InvalidInputError, match="the same decision|have the success 1"):
        train_policy(
            RECIPE.replace(demonstrations=0),
            replace(MATERIAL, table=always),
            tmp_path,
        )
    never = replace(TABLE, score=np.zeros_like(TABLE.score))
    with pytest.raises(InvalidInputError, match="have the success 0"):
        train_policy(
            RECIPE.replace(demonstrations=0),
            replace(MATERIAL, table=never),
            tmp_path,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ("program", "chian")}, "unknown arm 'chian'; did you mean 'chain'"),
        ({"features": ("token_entropie",)}, "unknown feature 'token_entropie'; did you mean"),
    ],
)
def test_a_name_that_is_none_is_refused(change: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_dataset(RECIPE.replace(split="demo", **change), GSM8K)


def test_a_recording_that_is_not_there_is_refused() -> None:
    with pytest.raises(RecordingError, match=r"none\.sqlite"):
        load_dataset(RECIPE.replace(split="demo"), GSM8K)


def test_a_benchmark_without_a_space_to_learn_in_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no policy can be learned on babyai"):
        load_dataset(RECIPE.replace(benchmark="babyai"), load_benchmark("babyai"))


def test_end_to_end_the_assessor_learns_and_says_what_from(tmp_path: Path) -> None:
    both = RECIPE.replace(assessor=Path("cam"), end_to_end=True)
    train_policy(both, Dataset(SCORED, CARD, Scorer(network(0), TRAINED_ON)), tmp_path)
    learned, trained_on = load_assessor(tmp_path / ASSESSOR)
    assert isinstance(learned, NeuralAssessor)
    assert (learned.layers[1].weight != network(0).layers[1].weight).any()
    assert trained_on == replace(TRAINED_ON, tasks=tuple(sorted({"u/0", *SCORED.tasks})))


def test_the_curve_is_measured_with_what_the_assessor_became(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object, **__: object) -> MlpPolicy:
        save_assessor(network(3), TRAINED_ON, tmp_path / ASSESSOR)
        return heeding(0)

    monkeypatch.setattr("amp.learn.pipeline.train", trained)
    both = RECIPE.replace(assessor=Path("cam"), end_to_end=True, demonstrations=0)
    train_policy(both, Dataset(SCORED, CARD, Scorer(network(0), TRAINED_ON)), tmp_path)
    origin = load_origin(tmp_path / POLICY)
    assert origin is not None
    # A table that the new assessor scores by itself gives the very same curve.
    scored = env_from_samples(DRAWS, SPACE, FEATURES, network(3), CONTEXTS, max_rounds=4)
    assert origin.curve == curve(heeding(0), scored, CURVE)
    assert origin.curve != curve(heeding(0), SCORED, CURVE)


def test_an_assessor_that_does_not_learn_lies_beside_the_policy_as_it_was(tmp_path: Path) -> None:
    named = RECIPE.replace(assessor=Path("cam"))
    train_policy(named, Dataset(SCORED, CARD, Scorer(network(0), TRAINED_ON)), tmp_path)
    kept, trained_on = load_assessor(tmp_path / ASSESSOR)
    assert isinstance(kept, NeuralAssessor)
    assert (kept.layers[0].weight == network(0).layers[0].weight).all()
    assert trained_on == TRAINED_ON


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "pool.sqlite"
    record(path, [PROGRAM, CHAIN], samples=2)
    return path


def test_an_assessor_that_reads_what_is_ordered_comes_out_without_it(
    pool: Path, tmp_path: Path
) -> None:
    everything = tuple(feature.name for feature in SCHEMA)
    save_assessor(network(0, everything), SCRIPTED_ON, tmp_path / "cam")
    made = load_dataset(demo(pool, assessor=tmp_path / "cam"), GSM8K)
    assert made.scorer is not None
    assert isinstance(made.scorer.assessor, NeuralAssessor)
    assert set(everything) - set(made.scorer.assessor.names) == {"divergence"}
    width = 3 * (len(everything) - 1)
    assert made.table.assessed.shape == (len(TASKS) * 16, width)
    plain = load_dataset(demo(pool), GSM8K)
    assert plain.scorer is None
    assert plain.table.assessed.shape == (len(TASKS) * 16, 0)


@pytest.mark.parametrize(
    ("assessor", "trained_on", "message"),
    [
        (
            WeightedAssessor(probes=frozenset()),
            SCRIPTED_ON,
            "is a weighted sum, expected a network",
        ),
        (network(0), replace(SCRIPTED_ON, model="other"), "trained on model other"),
        (network(0), replace(SCRIPTED_ON, environment="babyai"), "trained on babyai, this is gsm8"),
        (replace(network(0), probes=frozenset({"options"})), SCRIPTED_ON, "probes options first"),
    ],
)
def test_an_assessor_that_cannot_learn_here_is_refused(
    assessor: NeuralAssessor | WeightedAssessor,
    trained_on: Training,
    message: str,
    pool: Path,
    tmp_path: Path,
) -> None:
    save_assessor(assessor, trained_on, tmp_path / "cam")
    with pytest.raises(InvalidInputError, match=message):
        load_dataset(demo(pool, assessor=tmp_path / "cam", end_to_end=True), GSM8K)


def demo(pool: Path, **changes: object) -> TrainConfig:
    shown = {"recording": pool, "split": "demo", "samples": 2, "features": ()}
    return RECIPE.replace(**{**shown, **changes})
