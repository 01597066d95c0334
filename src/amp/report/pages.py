"""The two HTML pages: the report of runs, with their plans, and that of complexity scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from amp.benchmarks.base import Benchmark
from amp.report import figures
from amp.report.html_page import figure, page
from amp.report.report import RunReport
from amp.report.runs import Run
from amp.report.tables import Table, tables_of
from amp.report.timeline import FULL_BYTES, LINE_BYTES, Place, anchor, timelines
from amp.report.validity import Difference, Reliability
from amp.report.validity_report import Stage, ValidityReport

if TYPE_CHECKING:
    from markupsafe import Markup

_NOTHING = ("", "-", "0.00000")
"""What a cell holds that says nothing; the last are dollars of a local model."""


def run_page(
    report: RunReport,
    runs: Sequence[Run],
    judge: Benchmark | None = None,
    full_bytes: int = FULL_BYTES,
    line_bytes: int = LINE_BYTES,
) -> str:
    """The report of runs as an HTML document.

    Args:
        report: what `make_report` made of the runs.
        runs: the runs, for their plans.
        judge: marks the candidates of the dearest failures (a simulator takes its time); None
            marks none.
        full_bytes: what all episodes that are shown with their texts may take.
        line_bytes: what all others may take, with a line a step.

    Raises:
        MissingDependencyError: if jinja2 or plotly is not installed.
    """
    plans = timelines(report, runs, judge, full_bytes, line_bytes)
    first = report.lines[0]
    seeds = f" with {first.seeds} seeds each" if first.seeds > 1 else ""
    return page(
        "run_report.html",
        report.title,
        report=report,
        conclusion=report.conclusion,
        summary=f"{len(report.lines)} runs of {first.tasks} tasks{seeds}; compared with "
        f"{report.reference}. Intervals are 95 %.",
        curve=None if report.curve is None else figure(figures.curve(report), "curve"),
        tables=[_table(table, report, runs, plans.full) for table in tables_of(report)],
        plans=plans,
    )


def _table(
    table: Table, report: RunReport, runs: Sequence[Run], unfolded: Collection[Place]
) -> dict[str, Any]:
    """A table with its figures; the tasks of failures are linked to their plans."""
    table = _filled(table)
    rows: list[list[Any]] = [list(texts) for texts in table.texts()]
    if table.name == "failures":
        places = {run.name: place for place, run in enumerate(runs)}
        for failure, cells in zip(report.failures, rows, strict=True):
            key = (places[failure.run], failure.place)
            if key in unfolded:
                task = table.heads.index("task")
                cells[task] = (cells[task], anchor(*key))
    shown: list[Markup] = []
    if table.name == "parts":
        shown = [figure(figures.parts(report), "parts")]
    elif table.name == "thirds":
        shown = [
            figure(figures.by_third(report, success=True), "success-by-third"),
            figure(figures.by_third(report, success=False), "cost-by-third"),
        ]
    elif table.name == "calibration":
        shown = [figure(figures.calibration(report), "calibration")]
    return {
        "title": table.title,
        "heads": table.heads,
        "rows": rows,
        "note": table.note,
        "figures": shown,
    }


def _filled(table: Table) -> Table:
    """The table without columns in which no row says anything; the first always stays."""
    rows = list(table.texts())
    kept = tuple(
        column
        for place, column in enumerate(table.columns)
        if place == 0 or any(row[place] not in _NOTHING for row in rows)
    )
    return replace(table, columns=kept)


def validity_page(report: ValidityReport) -> str:
    """The report on complexity scores as an HTML document.

    Raises:
        MissingDependencyError: if jinja2 or plotly is not installed.
    """
    return page(
        "validity_report.html",
        f"Complexity scores of {report.model} on {report.benchmark}",
        stages=[
            _stage(place, stage) for place, stage in enumerate((*report.stages, *report.candidates))
        ],
        note=report.candidates_note,
    )


def _stage(place: int, stage: Stage) -> dict[str, Any]:
    calibrated, contributing = bool(stage.reliability), bool(stage.importances)
    return {
        "name": stage.name,
        "rows": stage.rows,
        "tasks": stage.tasks,
        "failures": stage.failures,
        "train_rows": stage.train_rows,
        "base_rate": "unknown" if stage.base_rate is None else f"{stage.base_rate:.1%}",
        "aurocs": figure(figures.aurocs(stage), f"aurocs-{place}"),
        "score_notes": [(line.name, line.auroc.note) for line in stage.lines if line.auroc.note],
        "comparisons": [_comparison(one) for one in stage.comparisons],
        "diagram": figure(figures.reliability_diagram(stage), f"calibration-{place}")
        if calibrated
        else None,
        "calibrations": [_calibration(name, one) for name, one in stage.reliability.items()],
        "drops": figure(figures.importance_bars(stage), f"features-{place}")
        if contributing
        else None,
        "drop_notes": [(one.group, one.note) for one in stage.importances if one.note],
    }


def _comparison(one: Difference) -> list[str]:
    interval = one.estimate.interval
    return [
        one.first.name,
        one.second.name + (" (inverted)" if one.second.direction == -1 else ""),
        "-" if one.estimate.value is None else f"{one.estimate.value:+.3f}",
        "-" if interval is None else f"{interval.low:+.3f} to {interval.high:+.3f}",
        "-" if one.not_above is None else f"{one.not_above:.1%}",
        one.estimate.note,
    ]


def _calibration(name: str, one: Reliability) -> list[str]:
    numbers = (one.calibration_error, one.brier, one.constant_brier)
    return [name, *("-" if value is None else f"{value:.3f}" for value in numbers), one.note]
