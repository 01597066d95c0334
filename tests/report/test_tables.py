"""Tables of a report: cells that stay cells, values that stay values."""

from __future__ import annotations

import csv
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from tests.fakes.runs import evil, run

from amp.cost import read_cost
from amp.models.base import ModelCard
from amp.report.metrics import Interval
from amp.report.report import make_report
from amp.report.tables import Column, Table, markdown, tables_of, write_csv

RUNS = (
    run("fixed", [True, False, False], 100),
    run("amp", [True, True, False], 80, kind="adaptive"),
)


def test_markdown_cells_stay_cells() -> None:
    report = make_report((evil(),))
    text = markdown("Runs", report.notes, tables_of(report))
    assert "<img" not in text
    for line in text.splitlines():
        if line.startswith("| ") and "onerror" in line:
            assert r"\|\`=1+1" in line


def test_csv_holds_values_and_no_formula(tmp_path: Path) -> None:
    named = (replace(RUNS[0], name="=1+1"), RUNS[1])
    paths = {path.stem: path for path in write_csv(tables_of(make_report(named)), tmp_path / "csv")}
    with paths["runs"].open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert first["run"] == "'=1+1"
    assert float(first["success"]) == 1 / 3
    assert (
        0 < float(first["95 % of success low"]) < 1 / 3 < float(first["95 % of success high"]) < 1
    )


def test_a_frame_has_the_values_of_all_rows_and_an_interval_as_two_columns() -> None:
    rows = [("a", 1, None, 0.1 + 0.2), ("b", 2, Interval(0.25, 0.5), 1e-9)]
    columns = [Column(name, itemgetter(place)) for place, name in enumerate("nkix")]
    frame = Table("t", "T", tuple(columns), rows).frame()
    assert list(frame.columns) == ["n", "k", "i low", "i high", "x"]
    assert list(frame["k"]) == [1, 2]
    assert list(frame["x"]) == [0.1 + 0.2, 1e-9]
    assert list(frame["i low"].isna()) == [True, False]
    assert frame["i high"][1] == 0.5


def test_every_table_of_a_report_is_a_frame_with_its_rows() -> None:
    for table in tables_of(make_report(RUNS)):
        frame = table.frame()
        assert len(frame) == len(list(table.texts())) == len(table.rows)
        assert list(frame.iloc[:, 0]) == [texts[0] for texts in table.texts()]


def test_dollars_spent_are_those_that_are_compared() -> None:
    card = ModelCard("local", parameters=1_500_000_000)
    runs = [replace(run(name, [True, False], 1000), card=card) for name in ("one", "two")]
    for cost, said in (("dollars", "0.0001"), ("tokens", "0.00000")):
        tables = {table.name: table for table in tables_of(make_report(runs, cost=read_cost(cost)))}
        spent = tables["spent"]
        place = spent.heads.index("dollars")
        assert [row[place] for row in spent.texts()] == [said, said]
