"""What docs/results.md reports of BabyAI, by the command it names and without a model."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amp.cli import app

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "results.md").read_text()
COMMAND = "amp eval configs/babyai.toml"


def amp(command: list[str]) -> str:
    done = CliRunner().invoke(app, command[1:])
    assert done.exit_code == 0, done.output
    return done.stdout


def expanded(line: str) -> Iterator[str]:
    """The words of a line as a shell expands their braces."""
    for word in shlex.split(line):
        before, brace, rest = word.partition("{")
        inside, _, after = rest.partition("}")
        yield from (before + one + after for one in inside.split(",")) if brace else [word]


def rows(text: str) -> list[str]:
    return re.findall(r"^\| .*\|$", text, re.MULTILINE)


def tables(page: str) -> dict[str, list[str]]:
    """The rows below each heading of a report."""
    parts = (part.partition("\n") for part in page.split("\n## ")[1:])
    return {title: rows(text) for title, _, text in parts}


def test_the_section_on_babyai_is_what_its_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minigrid")
    monkeypatch.setattr("amp.trace.os.fsync", lambda file: None)  # a busy disk takes its time
    for folder, name in (("configs", "babyai.toml"), ("recordings", "babyai.sqlite")):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / name, tmp_path / folder)
    shutil.copytree(ROOT / "recordings" / "policies", tmp_path / "recordings" / "policies")
    monkeypatch.chdir(tmp_path)
    section = PAGE.split("\n## BabyAI, GoToLocal\n", 1)[1].split("\n## ", 1)[0]
    assert section.count(COMMAND) == 1
    (line,) = (line for line in amp(COMMAND.split()).splitlines() if line.startswith("amp report"))
    report = list(expanded(line.partition(" --html ")[0]))

    amp([*report, "--markdown", "tables.md"])
    made = tables(Path("tables.md").read_text())
    assert rows(section) == [
        *made["Runs"],
        *made["Success, against path-finder"],
        *made["Against the fixed front at the same cost"],
        *made["Spent, mean of a task"],
    ]

    amp([*report, "--cost", "flops", "--markdown", "flops.md"])
    oracle = tables(Path("flops.md").read_text())["Against the fixed front at the same cost"][-1]
    points, interval = oracle.split(" | ")[2:4]
    told = f"{points.removeprefix('+')} points above the front ({interval})"
    assert told in " ".join(section.split())
