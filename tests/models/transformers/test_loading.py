"""What is loaded, and what is refused in a line."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.conformance import ask

from amp.errors import InvalidInputError, MissingDependencyError, ModelError
from amp.models import catalog
from amp.models.base import Request
from amp.models.transformers import TransformersModel

SMOL = "smollm2-135m"


def test_a_model_on_disk_needs_no_network(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"the network was asked: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model = TransformersModel(directory, dtype="bfloat16")
    assert model.card.name == "tiny"
    assert model.card.context_tokens == 256
    assert model._decoder._network.dtype == torch.bfloat16
    asyncio.run(model.close())


async def test_a_prompt_that_is_too_long_says_by_how_much(tiny: TransformersModel) -> None:
    with pytest.raises(ModelError, match=r"prompt has \d+ tokens, the context has 256;") as told:
        await tiny.generate(Request(ask("x " * 500)))
    assert "\n" not in str(told.value)
    with pytest.raises(ModelError, match=r"and 299 to score, the context has 256;"):
        await tiny.score(ask("x"), [" x" * 300])


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nowhere/model.gguf", "no model file or directory nowhere/model.gguf"),
        ("/nowhere/at/all", "no model file or directory /nowhere/at/all"),
        ("smollm2", "a model of the hub is OWNER/NAME"),
    ],
)
def test_a_missing_model_is_not_looked_for_on_the_hub(name: str, match: str) -> None:
    with pytest.raises(MissingDependencyError, match=match):
        TransformersModel(name)


def test_a_damaged_model_is_told_in_one_line(smol: TransformersModel, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(InvalidInputError, match="expected b'GGUF'"):
        TransformersModel(tmp_path / "text.gguf")
    with catalog.resolve(SMOL).open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(30_000))
    for damaged in (tmp_path / "cut.gguf", tmp_path):
        with pytest.raises(InvalidInputError, match="cannot be loaded") as told:
            TransformersModel(damaged)
        assert "\n" not in str(told.value)


def copy_without_template(directory: Path, where: Path) -> None:
    for file in directory.iterdir():
        if file.name != "chat_template.jinja":
            (where / file.name).symlink_to(file)


def test_a_model_without_a_chat_template_is_refused(directory: Path, tmp_path: Path) -> None:
    copy_without_template(directory, tmp_path)
    with pytest.raises(InvalidInputError, match="has no chat template"):
        TransformersModel(tmp_path)


async def test_a_template_that_refuses_a_chat_says_why(directory: Path, tmp_path: Path) -> None:
    copy_without_template(directory, tmp_path)
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    )
    template += "{% endif %}{{ m.content }}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(template)
    model = TransformersModel(tmp_path)
    with pytest.raises(
        InvalidInputError, match=r"refuses the messages \(system, user\): no system"
    ):
        await model.count_tokens(ask("x"))
    await model.close()


@pytest.mark.parametrize("name", ["threads", "slots", "context_tokens", "probe_tokens"])
def test_nonsense_sizes_are_refused(name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(InvalidInputError, match=f"{name} is 0, expected at least 1"):
        TransformersModel("any.gguf", **options)


def test_nonsense_devices_and_dtypes_are_refused(directory: Path) -> None:
    with pytest.raises(InvalidInputError, match="device is 'gpu', expected"):
        TransformersModel(directory, device="gpu")
    with pytest.raises(InvalidInputError, match="dtype is 'int4', expected one of"):
        TransformersModel(directory, dtype="int4")


@pytest.mark.parametrize("package", ["torch", "transformers", "gguf", "accelerate"])
def test_a_missing_package_says_what_to_install(
    smol: TransformersModel, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"adaptive-meta-planning\[transformers\]"):
        TransformersModel(catalog.resolve(SMOL))


def test_importing_the_back_end_loads_no_torch() -> None:
    code = "import sys, amp.models.transformers;"
    code += "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
