"""`amp benchmarks` shows everything whatever is missing; `amp data get` brings it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from rich.console import Console
from tests.fakes.command import exit_code
from tests.fakes.server import Answer, serving

from amp.benchmarks import BENCHMARKS
from amp.benchmarks.download import RemoteFile, survey
from amp.benchmarks.gsm8k import problems
from amp.cli import info
from amp.cli.info import benchmark_view, benchmarks_view

Amp = Callable[..., int]


@pytest.fixture
def amp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Amp:
    """Runs a command in this process and returns its exit code; no data is in any usual place."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    monkeypatch.delenv("AMP_DATA", raising=False)

    def call(*arguments: str) -> int:
        return exit_code(monkeypatch, *arguments)

    return call


def test_the_table_fits_and_its_commands_can_be_copied(
    amp: Amp, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amp("benchmarks") == 0
    shown = capsys.readouterr().out
    assert "train 10,000" in shown
    assert "alfworld: amp data get alfworld" in shown.splitlines()
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_one_benchmark_is_shown_with_its_levels_and_thirds(
    amp: Amp, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amp("benchmarks", "alfworld") == 0
    shown = capsys.readouterr().out
    assert "look_at_obj_in_light" in shown
    assert "thirds: up to 4, up to 6, more" in " ".join(shown.split())
    assert "50 plan steps" in shown


def test_machines_read_the_same(amp: Amp, capsys: pytest.CaptureFixture[str]) -> None:
    assert amp("benchmarks", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [found["name"] for found in listed] == sorted(BENCHMARKS)
    assert amp("benchmarks", "gsm8k", "--json") == 0
    assert json.loads(capsys.readouterr().out) in listed


def test_an_unknown_benchmark_is_one_line(amp: Amp, capsys: pytest.CaptureFixture[str]) -> None:
    assert amp("benchmarks", "babyia") == 2
    assert "did you mean 'babyai'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
@pytest.mark.parametrize("width", [80, 140])
def test_nothing_is_cut_off_at_any_width(name: str, width: int, tmp_path: Path) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    found = survey(name, tmp_path)
    console.print(benchmarks_view([found]), benchmark_view(found))
    words = console.export_text().split()
    assert "\u2026" not in "".join(words)
    assert set(words) >= {*found.counts.split(), *found.levels}


def test_data_is_fetched_into_the_directory_that_is_named(
    amp: Amp,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    content = b'{"question": "1 + 1?", "answer": "#### 2"}\n'
    sha256 = "0" * 64
    with serving(lambda question: Answer(200, content)) as address:
        files = [RemoteFile("train.jsonl", f"{address}/train.jsonl", sha256)]
        monkeypatch.setattr(problems, "PUBLISHED", files)
        assert amp("data", "get", "gsm8k", "--data", str(tmp_path)) == 2
    assert "it was removed, try again" in capsys.readouterr().err
    assert not (tmp_path / "gsm8k").exists()
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "train.jsonl").write_bytes(content)
    monkeypatch.setattr(problems, "PUBLISHED", ())
    assert amp("data", "get", "gsm8k", "--data", str(tmp_path)) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "gsm8k")


def test_what_a_person_has_to_get_is_listed(amp: Amp, capsys: pytest.CaptureFixture[str]) -> None:
    assert amp("data", "get", "webshop") == 3
    said = capsys.readouterr().err
    assert "items_ins_v2_1000.json" in said
    assert "\\n" not in said


def test_no_bar_is_shown_before_anything_comes(amp: Amp, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = MagicMock()
    monkeypatch.setattr(info, "progress", bar)
    assert amp("data", "get", "gsm8") == 2
    assert bar.called
    bar.return_value.__enter__.return_value.add_task.assert_not_called()


def test_help_names_what_has_data(amp: Amp, capsys: pytest.CaptureFixture[str]) -> None:
    assert amp("data", "get", "--help") == 0
    shown = capsys.readouterr().out
    assert "alfworld, gsm8k, webshop" in " ".join(shown.split())


@pytest.mark.parametrize("line", ["", "run", "trace show", "models list", "annotations agreement"])
def test_help_names_no_value_of_a_flag(
    line: str, amp: Amp, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amp(*line.split(), "--help") == 0
    assert "<bool>" not in capsys.readouterr().out


def test_a_model_that_can_be_pulled_is_of_the_catalog(
    amp: Amp, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amp("models", "pull", "smolm2-135m") == 2
    said = capsys.readouterr().err
    assert "smollm2-135m'?" in said
    assert "openai:" not in said
