"""The demo runs to its end, compares fairly, and draws what it says."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from amp.cli import render
from amp.cli.run import run_demo
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel


def answer(prompt: Prompt, sample: int) -> str:
    return f"```python\nanswer = {len(prompt.messages[1].content) % 3 + sample % 2}\n```"


async def test_the_demo_compares_fixed_with_adaptive_on_models_of_their_own() -> None:
    opened: list[ScriptedModel] = []

    def open_model() -> ScriptedModel:
        opened.append(ScriptedModel(answer, next_tokens=lambda prompt: {"1": 1.0}))
        return opened[-1]

    shown = io.StringIO()
    outcome = await run_demo(open_model, Console(file=shown, width=120))
    assert [model.closed for model in opened] == [True, True]
    assert outcome["fixed"]["success"].endswith("/8")
    assert outcome["saved"]["completion_tokens"] == 1 - (
        outcome["adaptive"]["completion_tokens"] / outcome["fixed"]["completion_tokens"]
    )
    text = shown.getvalue()
    assert text.count("steps") >= 16
    assert "adaptive allocation spent" in text
    assert "d0 t0.7 p0.95 b1 v1 python" in text


def test_the_picture_fetches_nothing(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), record=True, width=40)
    console.print("seven of eight")
    render.save_picture(console, tmp_path / "p.svg", "amp")
    picture = (tmp_path / "p.svg").read_text()
    assert "seven" in picture
    assert "url(http" not in picture
    assert "@font-face" not in picture
