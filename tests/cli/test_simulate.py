"""The comparison of all policies as people and machines read it, and what it refuses at once."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.synthetic import synthetic

from amp import cli
from amp.errors import InvalidInputError
from amp.report.overview import overview_markdown, policies_of, write_overview
from amp.report.report import OF_SAMPLES, RunReport, make_report
from amp.simulate.compare import simulate


@pytest.fixture(scope="module")
def made() -> RunReport:
    test, training = (
        replace(
            table := synthetic(12, seed=seed, samples=1),
            tasks=tuple(replace(row, task=f"{seed}/{row.task}") for row in table.tasks),
        )
        for seed in (1, 2)
    )
    runs, reference = simulate(test, training, {}, {}, 1)
    return make_report(runs, reference, analysis=OF_SAMPLES)


def test_a_csv_file_has_every_row_unrounded(made: RunReport, tmp_path: Path) -> None:
    write_overview(made, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = policies_of(made)
    assert [line["policy"] for line in lines] == [row.name for row in rows]
    assert [line["policy"] for line in lines if line["reference"] == "1"] == [made.reference]
    for line, row in zip(lines, rows, strict=True):
        interval, share = row.line.success_interval, row.gain and row.gain.share
        assert interval is not None
        assert float(line["success"]) == row.line.summary.success_rate
        assert float(line["success low"]) == interval.low
        assert line["oracle_share"] == ("" if share is None else str(share))
        assert (line["tokens_saved"] == "") == (row.versus is None)


def test_a_csv_file_that_cannot_be_written_is_named(made: RunReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="rows.csv cannot be written"):
        write_overview(made, tmp_path / "file" / "rows.csv")


def test_markdown_says_what_the_share_of_the_oracle_is(made: RunReport) -> None:
    head, rule, *rows = overview_markdown(made).splitlines()
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
        ("--correctness logistik", "unknown kind 'logistik'; did you mean 'logistic'"),
        ("--csv rows.txt", "--csv is rows.txt, expected a file whose name ends in .csv"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_read(
    wrong: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"amp simulate none.sqlite --train none.sqlite {wrong}"
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
