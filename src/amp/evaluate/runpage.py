"""A run report as one HTML page that fetches nothing: figures, tables, and the traces that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING

from amp.benchmarks.base import Benchmark
from amp.evaluate.htmlpage import document, label, table
from amp.evaluate.metrics import Interval
from amp.evaluate.runadaptivity import THIRDS
from amp.evaluate.runclaims import unit
from amp.evaluate.runreport import RunReport
from amp.evaluate.runs import Run
from amp.evaluate.runtables import tables, title
from amp.evaluate.tabular import Table
from amp.evaluate.tracepage import STYLE, anchor, trace

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TRACE_BYTES = 4_000_000
_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d3b",
)  # fmt: skip
_MARKS = ("circle", "diamond", "triangle-up", "x", "star", "cross")
_FIXED = ("#555555", "square")
_STYLE = """
.wide { overflow-x: auto; } .wide td, .wide th { white-space: nowrap; }
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
        yield _curve(report)
    for one in tables(report):
        yield f"<h2>{escape(one.title)}</h2>"
        if one.name == "parts":
            yield _bars(report)
        if one.name == "thirds":
            yield _by_third(report, success=True)
            yield _by_third(report, success=False)
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


# --------------------------------------------------------------------------- figures


def _curve(report: RunReport) -> Figure:
    from plotly.graph_objects import Figure, Scatter

    figure, adaptive = Figure(), 0
    assert report.curve is not None
    if front := report.curve.front:
        corners = [*front, front[-1]]
        line = Scatter(
            x=[point.cost for point in corners[:-1]] + [report.curve.limit],
            y=[point.success for point in corners],
            mode="lines",
            line={"color": _FIXED[0], "dash": "dot"},
            name="front of the fixed runs",
            hoverinfo="skip",
        )
        figure.add_trace(line)
    first_fixed = next((one.name for one in report.lines if not one.adaptive), None)
    for one in report.lines:
        colour, mark = _FIXED
        if one.adaptive:
            colour, mark = _COLOURS[adaptive % len(_COLOURS)], _MARKS[adaptive % len(_MARKS)]
            adaptive += 1
        rate = one.summary.success_rate
        dot = Scatter(
            x=[one.cost],
            y=[rate],
            error_x=_whiskers([one.cost], [one.cost_interval]),
            error_y=_whiskers([rate], [one.success_interval]),
            mode="markers" if one.adaptive else "markers+text",
            text=[label(one.name)],
            textposition="bottom right",
            textfont={"size": 11, "color": "#555"},
            marker={"color": colour, "symbol": mark, "size": 11},
            name=label(one.name) if one.adaptive else "fixed runs",
            legendgroup=None if one.adaptive else "fixed",
            showlegend=one.adaptive or one.name == first_fixed,
            hovertemplate=f"%{{text}}<br>{unit(report)} %{{x:,.4g}}<br>success %{{y:.1%}}"
            "<extra></extra>",
        )
        figure.add_trace(dot)
    figure.update_layout(height=480, margin={"t": 20}, legend={"orientation": "h", "y": -0.18})
    figure.update_xaxes(title=f"{unit(report)} a task", rangemode="tozero")
    figure.update_yaxes(title="success", range=_span(report), tickformat=".0%")
    return figure


def _span(report: RunReport) -> list[float]:
    """The success rates that are seen, with their intervals and some room."""
    rates = [line.summary.success_rate for line in report.lines]
    sure = [line.success_interval for line in report.lines if line.success_interval is not None]
    low = min([*rates, *(interval.low for interval in sure)])
    high = max([*rates, *(interval.high for interval in sure)])
    return [max(-0.02, low - 0.05), min(1.02, high + 0.05)]


def _bars(report: RunReport) -> Figure:
    from plotly.graph_objects import Bar
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    lines = list(reversed(report.lines))
    names = list(dict.fromkeys(part.name for line in report.lines for part in line.parts))
    for place, name in enumerate(names):
        for column, amount in enumerate(("tokens", "seconds"), start=1):
            values = [
                sum(getattr(p, amount) for p in line.parts if p.name == name)
                / line.summary.episodes
                for line in lines
            ]
            bars = Bar(
                x=values,
                y=list(range(len(lines))),
                orientation="h",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                marker={"color": _COLOURS[place]},
                hovertemplate=f"{name} %{{x:,.4g}} {amount}<extra></extra>",
            )
            figure.add_trace(bars, row=1, col=column)
    figure.update_layout(
        barmode="stack",
        height=140 + 28 * len(lines),
        margin={"t": 40},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_yaxes(
        tickvals=list(range(len(lines))),
        ticktext=[label(line.name) for line in lines],
        automargin=True,
    )
    figure.update_xaxes(title="tokens a task", row=1, col=1)
    figure.update_xaxes(title="seconds a task", row=1, col=2)
    return figure


def _by_third(report: RunReport, success: bool) -> Figure:
    from plotly.graph_objects import Bar, Figure

    figure = Figure()
    adaptive = fixed = 0
    for line in report.lines:
        if line.adaptive:
            colour, adaptive = _COLOURS[adaptive % len(_COLOURS)], adaptive + 1
        else:
            colour, fixed = f"rgba(90, 90, 90, {max(0.25, 0.9 - 0.2 * fixed):.2f})", fixed + 1
        rows = {one.third: one for one in report.thirds if one.run == line.name}
        shown = [rows[third] for third in THIRDS if third in rows]
        values = [one.success_rate if success else one.cost for one in shown]
        bounds = [one.success_interval if success else one.cost_interval for one in shown]
        bars = Bar(
            x=[f"{one.third} ({one.tasks} tasks)" for one in shown],
            y=values,
            error_y=_whiskers(values, bounds) | {"thickness": 1, "width": 2},
            marker={"color": colour},
            name=label(line.name),
        )
        figure.add_trace(bars)
    figure.update_layout(
        barmode="group", height=320, margin={"t": 20}, legend={"orientation": "h", "y": -0.12}
    )
    if success:
        figure.update_yaxes(title="success", range=[0, 1.02], tickformat=".0%")
    else:
        figure.update_yaxes(title=f"{unit(report)} a task", rangemode="tozero")
    return figure


def _whiskers(values: Sequence[float], bounds: Sequence[Interval | None]) -> dict[str, object]:
    """Asymmetric error bars; of no length where there is no interval."""
    pairs = list(zip(values, bounds, strict=True))
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if b is None else b.high - v for v, b in pairs],
        "arrayminus": [0.0 if b is None else v - b.low for v, b in pairs],
    }
