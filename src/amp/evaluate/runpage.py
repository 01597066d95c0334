"""A run report as one HTML page that fetches nothing: figures, tables, and the traces that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING

from amp.benchmarks.base import Benchmark
from amp.evaluate.htmlpage import document, table
from amp.evaluate.runfigures import by_third, calibration, curve, parts
from amp.evaluate.runreport import RunReport
from amp.evaluate.runs import Run
from amp.evaluate.runtables import tables, title
from amp.evaluate.tabular import Table
from amp.evaluate.tracepage import STYLE, anchor, trace

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TRACE_BYTES = 4_000_000
_STYLE = """
body { max-width: 1200px; }
.wide { overflow-x: auto; } .wide td, .wide th { white-space: nowrap; }
.wide td:first-child, .wide th:first-child { position: sticky; left: 0; background: #fff; }
td:first-child { font-weight: 600; } th { border-bottom: 1px solid #999; vertical-align: bottom; }
"""


def page(
    report: RunReport,
    runs: Sequence[Run],
    judge: Benchmark | None = None,
    trace_bytes: int = _TRACE_BYTES,
) -> str:
    """The report as an HTML document.

    Args:
        report: what `make_report` made of the runs.
        runs: the runs, for their traces.
        judge: marks the candidates of the dearest failures (a simulator takes its time); None
            marks none.
        trace_bytes: what all traces together may take.

    Raises:
        MissingDependencyError: if plotly is not installed.
    """
    return document(title(report), _parts(report, runs, judge, trace_bytes), _STYLE + STYLE)


def _parts(
    report: RunReport, runs: Sequence[Run], judge: Benchmark | None, trace_bytes: int
) -> Iterator[str | Figure]:
    traces, left_out = _traces(report, runs, judge, trace_bytes)
    yield f"<p>{escape(_summary(report))}</p>"
    if report.notes:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in report.notes)}</ul>"
    if report.curve is not None:
        yield "<h2>Success against cost</h2>"
        yield curve(report)
    for one in tables(report):
        yield f"<h2>{escape(one.title)}</h2>"
        if one.name == "parts":
            yield parts(report)
        if one.name == "thirds":
            yield by_third(report, success=True)
            yield by_third(report, success=False)
        if one.name == "calibration":
            yield calibration(report)
        yield _linked(one, report, runs, traces) if one.name == "failures" else _table(one)
    if traces:
        yield f"<h2>Traces</h2><p>{escape(left_out)}</p>"
        yield from traces.values()


def _summary(report: RunReport) -> str:
    first = report.lines[0]
    seeds = f" with {first.seeds} seeds each" if first.seeds > 1 else ""
    return (
        f"{len(report.lines)} runs of {first.tasks} tasks{seeds}; compared with "
        f"{report.reference}. Intervals are 95 %."
    )


def _table(one: Table) -> str:
    note = f'<p class="note">{escape(one.note)}</p>' if one.note else ""
    return f'<div class="wide">{table(one.heads, one.texts())}</div>{note}'


def _linked(
    one: Table, report: RunReport, runs: Sequence[Run], traces: dict[tuple[int, int], str]
) -> str:
    """The table of failures, its tasks linked to their traces."""
    places = {run.name: place for place, run in enumerate(runs)}
    html = [table(one.heads, [])[: -len("</table>")]]
    for failure, texts in zip(report.failures, one.texts(), strict=True):
        cells = [escape(text) for text in texts]
        key = (places[failure.run], failure.place)
        if key in traces:
            cells[1] = f'<a href="#{anchor(*key)}">{cells[1]}</a>'
        html.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f'<div class="wide">{"".join(html)}</table></div>'


def _traces(
    report: RunReport, runs: Sequence[Run], judge: Benchmark | None, most_bytes: int
) -> tuple[dict[tuple[int, int], str], str]:
    """Traces by run and place: the dearest failures, then all runs by turns while they fit."""
    names = {run.name: place for place, run in enumerate(runs)}
    failed = [(names[failure.run], failure.place) for failure in report.failures]
    by_turns = zip_longest(
        *([(run, place) for place in range(len(runs[run].episodes))] for run in range(len(runs)))
    )
    wanted = failed + [key for keys in by_turns for key in keys if key is not None]
    made: dict[tuple[int, int], str] = {}
    left = most_bytes
    for run, place in dict.fromkeys(wanted):
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
    said = f"{len(made):,} of {total:,} traces, the dearest failures first."
    if judge is not None:
        said += " In these, candidates are marked as right or as mistakes."
    if len(made) < total:
        said += (
            " The others are left out for size; amp trace show RUN --task TASK --full shows one."
        )
    return made, said
