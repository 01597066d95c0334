"""The figures of the README, from the recordings that ship with the sources and without a model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from amp import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DATA = ROOT.parent / "shared" / "data"

BABYAI = ("babyai", "--limit", "20", "--level", "BabyAI-GoToLocal-v0")
GSM8K = ("gsm8k", "--limit", "44", "--data", str(DATA))
PRIMITIVES = (*BABYAI, "--no-tools", "--max-steps", "24")
RUNS = [
    ("BabyAI GoToLocal, 20 test seeds, subgoals | fixed", "babyai", "fixed", BABYAI),
    ("BabyAI GoToLocal, 20 test seeds, primitives | fixed", "babyai", "fixed", PRIMITIVES),
]
if (DATA / "gsm8k").is_dir():
    RUNS.append(("GSM8K, first 44 test problems | fixed", "gsm8k", "fixed", GSM8K))
    RUNS.append(("adaptive: one or two programs", "gsm8k", "heuristic", GSM8K))


@pytest.mark.parametrize(("row", "recording", "allocator", "arguments"), RUNS)
def test_a_row_of_the_readme_is_what_the_recording_gives(
    row: str,
    recording: str,
    allocator: str,
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(ROOT / "recordings" / f"{recording}.sqlite", tmp_path)
    monkeypatch.chdir(tmp_path)
    command = ["amp", "run", *arguments, "--allocator", allocator, "--json"]
    command += ["--replay", f"{recording}.sqlite", "--out", "run"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
        raise SystemExit(0)
    assert not exit_info.value.code, capsys.readouterr().err
    summary = json.loads(capsys.readouterr().out)
    n, interval = summary["episodes"], summary["success_interval"]
    tokens = summary["usage"]["prompt_tokens"] + summary["usage"]["completion_tokens"]
    written = f"{summary['usage']['completion_tokens'] / n:,.0f}"
    cells = [
        f"{summary['successes']}/{n} ({interval['low']:.2f}-{interval['high']:.2f})",
        written,
        f"{tokens / n:,.0f}",
    ]
    (line,) = (line for line in README.splitlines() if row in line)
    assert [cell.strip() for cell in line.strip("|").split("|")[2:]] == cells
