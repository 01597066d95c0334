"""The demo says what it takes, writes from the start, compares fairly, and draws what it says."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from amp import cli
from amp.cli import render
from amp.cli.demo import announcement, run_demo
from amp.cli.terminal import new_console
from amp.errors import InvalidInputError, ModelError
from amp.models import catalog
from amp.models.base import Completion, Prompt, Request
from amp.models.scripted import ScriptedModel


def answer(prompt: Prompt, sample: int) -> str:
    return f"```python\nanswer = {len(prompt.messages[1].content) % 3 + sample % 2}\n```"


class Talking(ScriptedModel):
    """Says its first sample while it writes, as a local model does."""

    async def generate(self, request: Request) -> list[Completion]:
        made = await super().generate(request)
        if request.on_text is not None:
            for piece in made[0].text.splitlines(keepends=True):
                request.on_text(piece)
        return made


def model() -> ScriptedModel:
    return Talking(answer, next_tokens=lambda prompt: {"1": 1.0})


def plain() -> tuple[Console, io.StringIO]:
    console, shown = new_console(), io.StringIO()
    console.file, console.width = shown, 160
    return console, shown


async def test_the_demo_compares_fixed_with_adaptive_on_models_of_their_own() -> None:
    opened: list[ScriptedModel] = []

    def open_model() -> ScriptedModel:
        opened.append(model())
        return opened[-1]

    console, shown = plain()
    outcome = await run_demo(open_model, console)
    assert [one.closed for one in opened] == [True, True]
    assert outcome["fixed"]["success"].endswith("/6")
    assert outcome["saved"]["completion_tokens"] == 1 - (
        outcome["adaptive"]["completion_tokens"] / outcome["fixed"]["completion_tokens"]
    )
    text = shown.getvalue()
    assert len(re.findall(r"\d step +\d rounds? ", text)) == 12
    assert "Adaptive allocation wrote" in text
    given = text.partition("what each problem was given")[2].partition("mean of a problem")[0]
    scores = [float(score) for score in re.findall(r"[█░]+ (\d\.\d\d)", given)]
    assert len(scores) == 6
    assert scores == sorted(scores)  # those that decided, the easiest first


@pytest.mark.slow
async def test_of_each_run_the_first_problem_is_written_piece_by_piece() -> None:
    console, shown = plain()
    await run_demo(model, console)
    before, _, after = shown.getvalue().partition("tokens")
    assert before.count("```python\nanswer = ") == 1
    assert after.count("```python\nanswer = ") in (1, 2)  # rounds of the second run


async def test_a_model_that_fails_ends_the_demo_at_once() -> None:
    calls = 0

    def fails(prompt: Prompt, sample: int) -> str:
        nonlocal calls
        calls += 1
        raise ModelError("gone")

    with pytest.raises(ModelError, match="gone"):
        await run_demo(lambda: ScriptedModel(fails), plain()[0])
    assert calls == 1


def test_a_model_that_spends_nothing_can_be_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["amp", "demo", "--model", "random", "--json"])
    cli.main()
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["saved"]["seconds"] is None
    assert outcome["fixed"]["success"] == outcome["adaptive"]["success"] == "0/6"


def test_what_the_demo_takes_is_said_beforehand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AMP_MODELS", str(tmp_path / "models"))
    assert "fetched, once: 1.1 GB" in announcement(catalog.DEFAULT)
    assert "minutes on two free cores" in announcement(catalog.DEFAULT)
    assert "GB" not in announcement("openai:any")
    usage = shutil.disk_usage(tmp_path)._replace(free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InvalidInputError, match=r"takes 1\.1 GB, and .* has 0\.1 GB left"):
        announcement(catalog.DEFAULT)


def test_nothing_is_fetched_where_no_local_model_can_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AMP_MODELS", str(tmp_path / "models"))
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setattr(catalog, "pull", lambda name: pytest.fail(f"{name} was fetched"))
    refused = CliRunner().invoke(cli.app, ["demo"])
    assert "local models need xllamacpp" in str(refused.exception)


def test_the_picture_fetches_nothing(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), record=True, width=40)
    console.print("seven of eight")
    render.save_picture(console, tmp_path / "p.svg", "amp")
    picture = (tmp_path / "p.svg").read_text()
    assert "seven" in picture
    assert "url(http" not in picture
    assert "@font-face" not in picture
