"""The command line, run in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from amp import cli


class Outcome(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    error: str


Amp = Callable[..., Outcome]
"""Runs a command with these arguments."""


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs a command as a shell does, errors in one line among it."""
    monkeypatch.setattr(sys, "argv", ["amp", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
        raise SystemExit(0)
    return int(exit_info.value.code or 0)


def outcome(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> Outcome:
    """As `exit_code`, with what it wrote."""
    code = exit_code(monkeypatch, *arguments)
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


def amp(*arguments: object) -> str:
    """Runs a command that succeeds; returns what it prints."""
    told = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    return told.stdout
