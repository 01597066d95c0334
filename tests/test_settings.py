"""Settings come from the file, then the environment, and mistakes are named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from amp.errors import InvalidInputError
from amp.settings import Config, FilePath, Settings, load_settings, load_toml, settings_file


class Part(Config):
    size: Annotated[float, Field(gt=0.0)] = 1.0
    kind: Literal["small", "large"] = "small"


class Whole(Config):
    name: str
    file: FilePath | None = None
    parts: dict[str, Part] = Field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    on: bool = False


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


# --------------------------------------------------------------------------- any TOML file

words = st.text("abcdefgh", min_size=1, max_size=8)


@given(words, st.lists(st.integers(0, 9), max_size=3), st.booleans(), words)
def test_a_file_gives_what_stands_in_it_and_paths_are_relative_to_it(
    tmp_path_factory: pytest.TempPathFactory, name: str, numbers: list[int], on: bool, file: str
) -> None:
    folder = tmp_path_factory.mktemp("configs")
    path = folder / "whole.toml"
    path.write_text(
        f'name = "{name}"\nfile = "../{file}"\nnumbers = {numbers}\non = {str(on).lower()}\n'
        '[parts.one]\nkind = "large"\n'
    )
    assert load_toml(Whole, path) == Whole(
        name=name,
        file=folder / ".." / file,
        numbers=tuple(numbers),
        on=on,
        parts={"one": Part(kind="large")},
    )
    path.write_text(f'name = "{name}"\nfile = "/{file}"\n')
    assert load_toml(Whole, path).file == Path("/", file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name is missing"),
        ('nam = "a"', r"unknown key 'nam'; did you mean 'name'\? \(keys: file, name, .*\)"),
        ("name = 3", "name is 3, expected text"),
        ('name = "a"\non = 1', "on is 1, expected true or false"),
        ('name = "a"\nnumbers = 1', "numbers is 1, expected a list"),
        ('name = "a"\nnumbers = [1, 2.5]', r"numbers\.1 is 2\.5, expected a whole number"),
        ('name = "a"\nparts = 1', "parts is 1, expected a table"),
        ('name = "a"\n[parts.one]\nsize = 0', r"parts\.one\.size is 0, expected more than 0"),
        ('name = "a"\n[parts.one]\nsiez = 0', r"unknown key 'parts\.one\.siez'; .*'size'.*kind"),
        ('name = "a"\n[parts.o.n]\nsize = 1', "a name with a dot needs quotes"),
        ('name = "a"\n[parts.one]\nkind = "smal"', "is 'smal', .*; did you mean 'small'"),
        ("name = ", "is not TOML"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_field_found_and_expected(
    text: str, message: str
) -> None:
    path = Path("any.toml")
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=f"^any.toml.*{message}") as refused:
        load_toml(Whole, path)
    assert "\n" not in str(refused.value)
    with pytest.raises(InvalidInputError, match="gone.toml cannot be read: No such file"):
        load_toml(Whole, Path("gone.toml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 20_000 + "]" * 20_000, "nested too deeply"),
        (".".join("a" * 20_000) + " = 1", "nested too deeply"),
        ("[" + ".".join("a" * 20_000) + "]", "nested too deeply"),
        ("\ufeffmodel = 3", "model is 3"),
        ("threads = " + "1" * 5000, "is not TOML: Exceeds the limit"),
    ],
)
def test_a_file_nested_without_end_is_refused_at_once(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "any.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=said):
        load_toml(Settings, path)


def test_the_nearest_file_above_counts_and_none_of_other_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert settings_file() is None
    (tmp_path / "amp.toml").write_text("threads = 3\nprices = 'p.toml'\n")
    assert (load_settings().threads, load_settings().prices) == (3, tmp_path / "p.toml")
    (tmp_path / "one" / "amp.toml").write_text("threads = 5\n")
    assert load_settings().threads == 5
    if os.geteuid() == 0:  # only root can give files away
        os.chown(tmp_path / "one" / "amp.toml", 4711, -1)
        assert load_settings().threads == 3
        assert "belongs to another user" in caplog.text
        monkeypatch.chdir(tmp_path / "one")
        assert load_settings().threads == 5  # what one stands in, one has chosen


def test_a_variable_that_is_no_setting_is_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AMP_THRAEDS", "3")
    monkeypatch.setenv("AMP_MODELS", "/nowhere")
    load_settings()
    load_settings()
    assert caplog.text.count("AMP_THRAEDS is no setting; did you mean 'AMP_THREADS'?") == 1
    assert "AMP_MODELS" not in caplog.text
