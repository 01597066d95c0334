"""The comparison of all policies as people and machines read it, and what it refuses at once."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.synthetic import synthetic

from amp import cli
from amp.cli import report
from amp.errors import InvalidInputError
from amp.simulate.compare import Results, results


@pytest.fixture(scope="module")
def found() -> Results:
    test, training = (
        replace(
            made := synthetic(12, seed=seed, samples=1),
            tasks=tuple(replace(row, task=f"{seed}/{row.task}") for row in made.tasks),
        )
        for seed in (1, 2)
    )
    return results(test, training, {}, {}, 1)


def test_a_csv_file_has_every_row_unrounded(found: Results, tmp_path: Path) -> None:
    report.write_results_csv(found, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["policy"] for line in lines] == [row.name for row in found.rows]
    assert [line["policy"] for line in lines if line["reference"] == "1"] == [found.reference]
    for line, row in zip(lines, found.rows, strict=True):
        assert float(line["success"]) == row.success
        assert float(line["success low"]) == row.interval.low
        assert line["oracle_share"] == ("" if row.oracle_share is None else str(row.oracle_share))
        assert (line["tokens_saved"] == "") == (row.versus is None)


def test_a_csv_file_that_cannot_be_written_is_named(found: Results, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="rows.csv cannot be written"):
        report.write_results_csv(found, tmp_path / "file" / "rows.csv")


def test_markdown_says_what_the_share_of_the_oracle_is(found: Results) -> None:
    head, rule, *rows = report.results_markdown(found).splitlines()
    assert "| of the oracle's gain |" in head
    assert head.count("|") == rule.count("|") == rows[0].count("|")
    assert "| 100% |" in next(row for row in rows if row.startswith("| oracle |"))
    assert rows[-1].startswith("of the oracle's gain: ")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--arm programm", "unknown arm 'programm'; did you mean 'program'"),
        ("--policy mine=", "--policy is 'mine=', expected FILE or NAME=FILE"),
        ("--trade-off 0.9", "--trade-off is of learned policies; name one with --policy"),
        ("--csv rows.txt", "--csv is rows.txt, expected a file whose name ends in .csv"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_read(
    wrong: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"amp results none.sqlite --train none.sqlite {wrong}"
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
