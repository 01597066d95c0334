"""Settings come from the file, then the environment, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from amp.errors import InvalidInputError
from amp.settings import load_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("amp.toml").write_text('model = "from-file"\nthreads = 1\n')
    monkeypatch.setenv("AMP_MODEL", "from-environment")
    settings = load_settings()
    assert (settings.model, settings.threads) == ("from-environment", 1)


def test_an_unknown_key_is_named() -> None:
    Path("amp.toml").write_text("modle = 1\n")
    with pytest.raises(
        InvalidInputError, match="amp.toml: unknown key 'modle'; did you.*keys: .*model"
    ):
        load_settings()


def test_a_value_out_of_range_is_named() -> None:
    Path("amp.toml").write_text("threads = 0\n")
    with pytest.raises(InvalidInputError, match="amp.toml: threads is 0, expected at least 1"):
        load_settings()


def test_a_value_of_the_environment_is_named_as_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AMP_THREADS", "many")
    with pytest.raises(InvalidInputError, match="^AMP_THREADS is 'many', expected a whole number"):
        load_settings()


def test_a_broken_file_is_named() -> None:
    Path("amp.toml").write_text("model =")
    with pytest.raises(InvalidInputError, match=r"amp\.toml is not TOML"):
        load_settings()


def test_a_key_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMP_API_KEY", "sk-very-secret")
    assert "very-secret" not in repr(load_settings())
