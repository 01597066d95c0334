"""The HTML pages: the report of runs with the traces that fit, and that of complexity scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from amp.benchmarks.base import Benchmark
from amp.report import figures
from amp.report.calibration import Reliability
from amp.report.html import anchor, figure, page, trace
from amp.report.report import RunReport
from amp.report.runs import Run
from amp.report.tables import Table, tables_of
from amp.report.validity import Difference
from amp.report.validity_report import Stage, ValidityReport

if TYPE_CHECKING:
    from markupsafe import Markup

_TRACE_BYTES = 4_000_000
Place = tuple[int, int]
"""A run and one of its episodes, each by its index."""


def run_page(
    report: RunReport,
    runs: Sequence[Run],
    judge: Benchmark | None = None,
    trace_bytes: int = _TRACE_BYTES,
) -> str:
    """The report of runs as an HTML document.

    Args:
        report: what `make_report` made of the runs.
        runs: the runs, for their traces.
        judge: marks the candidates of the dearest failures (a simulator takes its time); None
            marks none.
        trace_bytes: what all traces together may take.

    Raises:
        MissingDependencyError: if jinja2 or plotly is not installed.
    """
    traces, note = _traces(report, runs, judge, trace_bytes)
    first = report.lines[0]
    seeds = f" with {first.seeds} seeds each" if first.seeds > 1 else ""
    return page(
        "run_report.html",
        report.title,
        report=report,
        summary=f"{len(report.lines)} runs of {first.tasks} tasks{seeds}; compared with "
        f"{report.reference}. Intervals are 95 %.",
        curve=None if report.curve is None else figure(figures.curve(report), "curve"),
        tables=[_table(table, report, runs, traces) for table in tables_of(report)],
        traces=list(traces.values()),
        traces_note=note,
    )


def _table(
    table: Table, report: RunReport, runs: Sequence[Run], traces: dict[Place, Markup]
) -> dict[str, Any]:
    """A table with its figures; the tasks of failures are linked to their traces."""
    rows: list[list[Any]] = [list(texts) for texts in table.texts()]
    if table.name == "failures":
        places = {run.name: place for place, run in enumerate(runs)}
        for failure, cells in zip(report.failures, rows, strict=True):
            key = (places[failure.run], failure.place)
            if key in traces:
                cells[1] = (cells[1], anchor(*key))
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


def _traces(
    report: RunReport, runs: Sequence[Run], judge: Benchmark | None, max_bytes: int
) -> tuple[dict[Place, Markup], str]:
    """Traces by their place: the dearest failures, then all runs by turns while they fit."""
    names = {run.name: place for place, run in enumerate(runs)}
    failed = [(names[failure.run], failure.place) for failure in report.failures]
    by_turns = zip_longest(
        *([(run, place) for place in range(len(runs[run].episodes))] for run in range(len(runs)))
    )
    requested = failed + [key for keys in by_turns for key in keys if key is not None]
    made: dict[Place, Markup] = {}
    left = max_bytes
    for run, place in dict.fromkeys(requested):
        episode = runs[run].episodes[place]
        if not episode.steps:
            continue
        marked = judge if (run, place) in failed else None
        text = trace(episode, runs[run].name, anchor(run, place), marked)
        if (size := len(text.encode())) > left:
            break
        left -= size
        made[run, place] = text
    total = sum(bool(episode.steps) for run in runs for episode in run.episodes)
    note = f"{len(made):,} of {total:,} traces, the dearest failures first."
    if judge is not None:
        note += " In these, candidates are marked as right or as mistakes."
    if len(made) < total:
        note += (
            " The others are left out for size; amp trace show RUN --task TASK --full shows one."
        )
    return made, note


def validity_page(report: ValidityReport) -> str:
    """The report on complexity scores as an HTML document.

    Raises:
        MissingDependencyError: if jinja2 or plotly is not installed.
    """
    return page(
        "validity_report.html",
        f"Complexity scores of {report.model} on {report.benchmark}",
        stages=[_stage(place, stage) for place, stage in enumerate(report.stages)],
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
