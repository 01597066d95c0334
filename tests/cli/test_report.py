"""The command that reports runs, from directories to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.report.test_runs import saved
from typer.testing import CliRunner

from amp.cli import app
from amp.errors import InvalidInputError


def test_a_report_is_written_in_every_form(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two", allocator="heuristic")
    html, text, folder = tmp_path / "r.html", tmp_path / "r.md", tmp_path / "csv"
    arguments = ["report", str(one), f"mine={two}", "--html", str(html), "--markdown", str(text)]
    result = CliRunner().invoke(app, [*arguments, "--csv", str(folder), "--no-judge"])
    assert result.exit_code == 0, result.output
    assert "Success, against one" in result.output
    assert html.read_text().startswith("<!doctype html>")
    assert "| mine | adaptive |" in text.read_text()
    assert (folder / "comparisons.csv").exists()


def test_json_is_for_machines(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(saved(tmp_path / "one")), "--json"])
    assert json.loads(result.output)["lines"][0]["summary"]["successes"] == 2


def test_an_unknown_cost_is_one_line_that_helps(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"unknown cost 'token'; did you mean 'tokens'\?"):
        CliRunner().invoke(
            app,
            ["report", str(saved(tmp_path / "one")), "--cost", "token"],
            catch_exceptions=False,
        )


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    run, file = str(saved(tmp_path / "one")), tmp_path / "file"
    file.write_text("")
    for option in ("--csv", "--markdown"):
        where = file if option == "--csv" else file / "r.md"
        with pytest.raises(InvalidInputError, match="cannot be written"):
            CliRunner().invoke(
                app, ["report", run, "--no-judge", option, str(where)], catch_exceptions=False
            )


def test_a_killed_run_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    trace = saved(tmp_path / "one") / "episodes.jsonl"
    trace.write_text(trace.read_text()[:-100])
    result = CliRunner().invoke(app, ["report", str(trace.parent), "--no-judge"])
    assert result.exit_code == 0, result.output
    assert "one: 1 of 2 episodes are counted here" in result.output
