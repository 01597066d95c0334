"""Recipes: what is read, and what is refused with the file, the key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from amp.errors import InvalidInputError
from amp.learn.config import PAPER, read_train_config

ROOT = Path(__file__).parents[2]
RECIPES = [
    *sorted((ROOT / "configs").glob("train*.toml")),
    *sorted((ROOT / "configs" / "learning").glob("*.toml")),
]
LEAST = 'benchmark = "gsm8k"\nrecording = "pool.sqlite"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    config = read_train_config(written(tmp_path, LEAST))
    assert (config.benchmark, config.recording) == ("gsm8k", Path("pool.sqlite"))
    assert config.arms == ("program", "chain")
    assert config.settings.hidden == config.hidden


def test_ppo_takes_a_preset_and_what_differs_from_it(tmp_path: Path) -> None:
    text = LEAST + '[ppo]\npreset = "paper"\nseed = 7\n'
    settings = read_train_config(written(tmp_path, text)).settings
    assert settings.learning_rate == PAPER["learning_rate"]
    assert settings.seed == 7


@pytest.mark.parametrize("path", RECIPES)
def test_every_shipped_config_can_be_read(path: Path) -> None:
    assert (ROOT / read_train_config(path).recording).is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LEAST + "demonstation = 3\n", "demonstation is no key; did you mean 'demonstrations'"),
        (LEAST + "samples = 0\n", "samples is 0: .* greater than or equal to 1"),
        (LEAST + 'rounds = "many"\n', "rounds is 'many': .* valid integer"),
        (LEAST + "arms = []\n", "arms is "),
        (LEAST + "demonstrations = 0\nlearn = false\n", "demonstrations is 0 and learn is false"),
        (LEAST + "end_to_end = true\n", "end_to_end is true and no assessor is named"),
        (
            LEAST + 'assessor = "a"\nend_to_end = true\nlearn = false\n',
            "end_to_end is true and learn is false",
        ),
        (LEAST + "[ppo]\nlerning_rate = 1\n", "unknown training setting 'lerning_rate'; did you"),
        (LEAST + "[ppo]\nmax_trade_off = 1.5\n", "max_trade_off is 1.5, expected a number from"),
        ('recording = "x"\n', "benchmark is missing"),
        ("benchmark = \n", "is no TOML"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidInputError, match=message) as refused:
        read_train_config(path)
    assert str(refused.value).startswith(f"training config {path}")
    assert "\n" not in str(refused.value)


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.toml cannot be read"):
        read_train_config(tmp_path / "none.toml")


def test_a_config_like_another_has_its_keys_but_for_those_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(LEAST + "rounds = 2\n[ppo]\nseed = 3\nepochs = 9\n")
    text = 'like = "base.toml"\nrounds = 1\n[ppo]\nseed = 4\n'
    config = read_train_config(written(tmp_path, text))
    assert (config.benchmark, config.rounds) == ("gsm8k", 1)
    assert (config.settings.seed, config.settings.epochs) == (4, 9)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ("3", "like is 3, expected the path of another config"),
        ('"none.toml"', "there is no config .*none.toml"),
        ('"second.toml"', "is like 'base.toml'; name that one"),
    ],
)
def test_what_a_config_cannot_be_like_is_refused(tmp_path: Path, like: str, message: str) -> None:
    (tmp_path / "second.toml").write_text('like = "base.toml"\n')
    with pytest.raises(InvalidInputError, match=message):
        read_train_config(written(tmp_path, f"like = {like}\n"))


def test_the_old_name_of_the_demonstrations_can_still_be_read(tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    path.write_text('benchmark = "gsm8k"\nrecording = "pool.sqlite"\nlessons = 7\n')
    assert read_train_config(path).demonstrations == 7
