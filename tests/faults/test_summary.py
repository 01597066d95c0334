"""A run says at its end what its figures hide: model errors, and calls charged by an estimate."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.faults.server import serving

from amp import cli

COMMAND = ("run", "gsm8k", "--split", "demo", "--limit", "4", "--allocator", "fixed")


def end_of_run(
    quirk: str,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *options: str,
) -> str:
    """What `amp run` prints at a server with this quirk."""
    with serving() as server:
        monkeypatch.chdir(out.parent)
        monkeypatch.setenv("AMP_BASE_URL", server.openai(quirk))
        monkeypatch.setenv("COLUMNS", "200")
        arguments = [*COMMAND, "--model", "openai:m", "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", ["amp", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            raise SystemExit(0)
    assert not ended.value.code
    return capsys.readouterr().out


def test_a_run_says_how_many_episodes_a_model_error_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = end_of_run("filtered-once", tmp_path / "text", monkeypatch, capsys)
    assert "1 episode ended by a model error, which counts as a failure" in text
    said = end_of_run("filtered-once", tmp_path / "json", monkeypatch, capsys, "--json")
    assert json.loads(said)["model_errors"] == 1


def test_a_run_says_how_many_calls_are_charged_by_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = end_of_run("completion-negative", tmp_path / "run", monkeypatch, capsys)
    assert "4 of 4 model calls are charged by an estimate" in text
    said = end_of_run(
        "never", tmp_path / "slow", monkeypatch, capsys, "--max-seconds", "0.3", "--json"
    )
    usage = json.loads(said)["usage"]
    assert usage["model_calls"] == usage["estimated_calls"] == 4
    assert usage["prompt_tokens"] > 400
    assert usage["seconds"] >= 1.2


def test_an_honest_run_has_nothing_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = end_of_run("", tmp_path / "run", monkeypatch, capsys)
    assert "model error" not in text
    assert "estimate" not in text
