"""How a policy is trained: presets, files like others, and bad input that is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.learn.config import PAPER, PPOConfig, load_train_config, with_preset
from amp.reward import Reward
from amp.settings import checked

ROOT = Path(__file__).parents[2]
SHIPPED = [
    *sorted((ROOT / "configs").glob("train*.toml")),
    *sorted((ROOT / "configs" / "learning").glob("*.toml")),
]
LEAST = 'benchmark = "gsm8k"\nrecording = "pool.sqlite"\n'


def ppo(values: dict[str, Any]) -> PPOConfig:
    return checked(PPOConfig, with_preset(values))


def written(folder: Path, text: str) -> Path:
    path = folder / "train.toml"
    path.write_text(text)
    return path


def test_the_preset_of_the_paper_is_that_of_the_specification() -> None:
    paper = ppo({"preset": "paper"})
    assert (paper.learning_rate, paper.batch_size, paper.epochs) == (3e-5, 64, 4)
    assert paper.assessor_learning_rate == 3e-5
    assert (paper.gamma, paper.gae_lambda, paper.epsilon) == (0.99, 0.95, 0.2)
    assert not paper.anneal


def test_what_is_set_wins_over_the_preset() -> None:
    assert ppo({}) == ppo({"preset": "small"}) == PPOConfig()
    assert ppo({"preset": "paper", "epochs": 9}).epochs == 9
    priced = ppo({"preset": "paper", "charge": "on_success", "reference_tokens": 400})
    assert priced.reward == Reward(400.0, "on_success")


@given(st.floats(0.0, 1.0), st.integers(1, 10**6), st.sampled_from(["always", "on_success", "log"]))
def test_what_a_checkpoint_keeps_reads_back_as_it_was(
    trade_off: float, decisions: int, charge: Any
) -> None:
    settings = PPOConfig(min_trade_off=trade_off, decisions=decisions, charge=charge)
    assert checked(PPOConfig, settings.model_dump()) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rte": 1e-3}, "unknown key 'learning_rte'; did you mean 'learning_rate'"),
        ({"preset": "papre"}, "unknown preset 'papre'; did you mean 'paper'"),
        ({"min_trade_off": -0.1}, "min_trade_off is -0.1, expected at least 0"),
        ({"max_trade_off": 1.5}, "max_trade_off is 1.5, expected at most 1"),
        (
            {"min_trade_off": 0.9, "max_trade_off": 0.5},
            "min_trade_off is 0.9, expected at most max_trade_off, which is 0.5",
        ),
        (
            {"min_trade_off": 0.0, "max_trade_off": 0.0, "dual_rate": 0.1},
            "max_trade_off is 0, expected more where dual_rate is set",
        ),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected at"),
        ({"learning_rate": 0}, "learning_rate is 0, expected at least 1e-09"),
        ({"assessor_learning_rate": -1e-3}, "assessor_learning_rate is -0.001, expected at least"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"batch_size": 6.5}, "batch_size is 6.5, expected a whole number"),
        ({"epochs": "four"}, "epochs is 'four', expected a whole number"),
        ({"curriculum": 1}, "curriculum is 1, expected true or false"),
        ({"charge": "alway"}, "charge is 'alway', expected 'always', .*; did you mean 'always'"),
        ({"reference_tokens": 0.0}, "reference_tokens is 0.0, expected more than 0"),
        ({"cost": "dollar"}, "cost is 'dollar', expected .*; did you mean 'dollars'"),
        ({"cost": "dollars"}, "reference_cost is missing, expected what counts as 1 in dollars"),
        ({"cost": "flops", "reference_tokens": 400}, "reference_cost is in tokens, expected .* FL"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
    ],
)
def test_bad_settings_of_ppo_are_named_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        ppo(values)
    assert "\n" not in str(caught.value)


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    config = load_train_config(written(tmp_path, LEAST))
    assert (config.benchmark, config.recording) == ("gsm8k", tmp_path / "pool.sqlite")
    assert config.arms == ("program", "chain")
    assert config.ppo.hidden == config.hidden
    assert load_train_config(written(tmp_path, LEAST + "hidden = 8\n")).ppo.hidden == 8


def test_ppo_takes_a_preset_and_what_differs_from_it(tmp_path: Path) -> None:
    text = LEAST + '[ppo]\npreset = "paper"\nseed = 7\n'
    settings = load_train_config(written(tmp_path, text)).ppo
    assert settings.learning_rate == PAPER["learning_rate"]
    assert settings.seed == 7


@pytest.mark.parametrize("path", SHIPPED)
def test_every_file_that_comes_along_can_be_read(path: Path) -> None:
    config = load_train_config(path)
    assert config.recording is None or config.recording.is_file()
    assert config.online is not None or config.recording is not None
    assert config.assessor is None or config.assessor.is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LEAST + "demonstation = 3\n", "unknown key 'demonstation'; did you mean 'demonstrations'"),
        (LEAST + "samples = 0\n", "samples is 0, expected at least 1"),
        (LEAST + 'rounds = "many"\n', "rounds is 'many', expected a whole number"),
        (LEAST + "arms = []\n", r"arms is \[\], expected at least 1"),
        (LEAST + "[lattice]\nlevels = []\n", r"lattice.levels is \[\], expected at least 1"),
        (LEAST + "demonstrations = 0\nlearn = false\n", "demonstrations is 0 and learn is false"),
        (LEAST + "end_to_end = true\n", "end_to_end is true and no assessor is named"),
        (
            LEAST + 'assessor = "a"\nend_to_end = true\nlearn = false\n',
            "end_to_end is true and learn is false",
        ),
        (LEAST + "[ppo]\nlerning_rate = 1\n", "unknown key 'ppo.lerning_rate'; did you mean"),
        (LEAST + "[ppo]\nmax_trade_off = 1.5\n", "ppo.max_trade_off is 1.5, expected at most 1"),
        ('recording = "x"\n', "benchmark is missing"),
        ("benchmark = \n", "is not TOML"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidInputError, match=message) as refused:
        load_train_config(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.toml cannot be read"):
        load_train_config(tmp_path / "none.toml")


def test_a_file_like_another_has_its_keys_but_for_those_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(LEAST + "rounds = 2\n[ppo]\nseed = 3\nepochs = 9\n")
    (tmp_path / "own").mkdir()
    text = 'like = "../base.toml"\nrounds = 1\nassessor = "cam"\n[ppo]\nseed = 4\n'
    config = load_train_config(written(tmp_path / "own", text))
    assert (config.benchmark, config.rounds) == ("gsm8k", 1)
    assert (config.ppo.seed, config.ppo.epochs) == (4, 9)
    # Each path is relative to the file that names it.
    assert config.recording is not None
    assert config.recording.resolve() == tmp_path / "pool.sqlite"
    assert config.assessor == tmp_path / "own" / "cam"


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ("3", "like is 3, expected the path of another file"),
        ('"none.toml"', "there is no file .*none.toml"),
        ('"second.toml"', "is like 'base.toml'; name that one"),
    ],
)
def test_what_a_file_cannot_be_like_is_refused(tmp_path: Path, like: str, message: str) -> None:
    (tmp_path / "second.toml").write_text('like = "base.toml"\n')
    with pytest.raises(InvalidInputError, match=message):
        load_train_config(written(tmp_path, f"like = {like}\n"))


def test_the_old_name_of_the_demonstrations_can_still_be_read(tmp_path: Path) -> None:
    assert load_train_config(written(tmp_path, LEAST + "lessons = 7\n")).demonstrations == 7
