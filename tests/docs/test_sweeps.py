"""What the pages report of studies, by the commands that they name and without a model."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.files import DATA, ROOT
from typer.testing import CliRunner

from amp.cli import app

RESULTS = (ROOT / "docs" / "results.md").read_text()
LEARNING = (ROOT / "docs" / "learning.md").read_text()


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


def study(name: str, recording: str, section: str, folder: Path) -> list[str]:
    """Runs the study that a section names; the words of the report command that it ends with."""
    for place, file in (("configs", f"{name}.toml"), ("recordings", recording)):
        (folder / place).mkdir()
        shutil.copy(ROOT / place / file, folder / place)
    shutil.copytree(ROOT / "recordings" / "policies", folder / "recordings" / "policies")
    command = f"amp sweep configs/{name}.toml"
    assert section.count(command) == 1
    (line,) = (line for line in amp(command.split()).splitlines() if line.startswith("amp report"))
    return list(expanded(line.partition(" --html ")[0]))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("amp.files.os.fsync", lambda file: None)  # a busy disk takes its time
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_section_on_babyai_is_what_its_command_makes(here: Path) -> None:
    pytest.importorskip("minigrid")
    section = RESULTS.split("\n## BabyAI, GoToLocal\n", 1)[1].split("\n## ", 1)[0]
    report = study("babyai", "babyai.sqlite", section, here)

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


@pytest.mark.data("gsm8k")
def test_the_section_on_assessment_is_what_its_command_makes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMP_DATA", str(DATA))
    section = LEARNING.split("\n## Direct or learned assessment\n", 1)[1].split("\n## ", 1)[0]
    report = study("assessment", "gsm8k.sqlite", section, here)
    amp([*report, "--markdown", "tables.md"])
    made = tables(Path("tables.md").read_text())
    front = made["Against the fixed front at the same cost"]
    assert rows(section) == [*made["Runs"], *front]
