"""Settings: presets, and bad input that is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from amp.cost import Reward
from amp.errors import InvalidInputError
from amp.learn.config import TrainSettings, read_train_settings, train_settings


def test_the_preset_of_the_paper_is_that_of_the_specification() -> None:
    paper = train_settings({"preset": "paper"})
    assert (paper.learning_rate, paper.batch_size, paper.epochs) == (3e-5, 64, 4)
    assert paper.assessor_learning_rate == 3e-5
    assert (paper.gamma, paper.gae_lambda, paper.epsilon) == (0.99, 0.95, 0.2)
    assert not paper.anneal


def test_what_is_said_wins_over_the_preset() -> None:
    assert train_settings({}) == train_settings({"preset": "small"}) == TrainSettings()
    assert train_settings({"preset": "paper", "epochs": 9}).epochs == 9


def test_settings_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text('preset = "paper"\ncharge = "on_success"\nreference_tokens = 400\n')
    found = read_train_settings(path)
    assert found.reward == Reward(400.0, "on_success")
    assert found.learning_rate == 3e-5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rte": 1e-3}, "unknown training setting 'learning_rte'; did you mean 'learning"),
        ({"preset": "papre"}, "unknown preset 'papre'; did you mean 'paper'"),
        ({"min_trade_off": -0.1}, "min_trade_off is -0.1, expected a number from 0 to 1"),
        ({"max_trade_off": 1.5}, "max_trade_off is 1.5, expected a number from 0 to 1"),
        (
            {"min_trade_off": 0.9, "max_trade_off": 0.5},
            "min_trade_off is 0.9, expected at most max_trade_off, which is 0.5",
        ),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected a number from 1e-09"),
        ({"learning_rate": 0}, "learning_rate is 0, expected a number from 1e-09 to 1"),
        (
            {"assessor_learning_rate": -1e-3},
            "assessor_learning_rate is -0.001, expected a number from 0 to 1",
        ),
        ({"batch_size": 0}, "batch_size is 0, expected a whole number from 1"),
        ({"batch_size": 6.5}, "batch_size is 6.5, expected a whole number from 1"),
        ({"epochs": "four"}, "epochs is 'four', expected a whole number from 1"),
        ({"curriculum": 1}, "curriculum is 1, expected bool"),
        ({"charge": "never"}, "charge is 'never', expected one of always, on_success"),
        ({"reference_tokens": 0.0}, "reference_tokens is 0.0, expected a number above 0"),
        ({"seed": -1}, "seed is -1, expected a whole number from 0"),
    ],
)
def test_bad_input_is_named_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        train_settings(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "train.toml are no TOML"),
        ("epoch = 3", "train.toml: unknown training setting 'epoch'; did you mean 'epochs'"),
    ],
)
def test_a_file_that_says_nonsense_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_train_settings(path)
    with pytest.raises(InvalidInputError, match="there are no training settings"):
        read_train_settings(tmp_path / "none.toml")
