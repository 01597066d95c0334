"""The plots of reports, by plotly: of runs, and of complexity scores."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import count
from typing import TYPE_CHECKING

from amp.report.adaptivity import THIRDS
from amp.report.metrics import Interval
from amp.report.report import RunReport
from amp.report.runs import RunLine
from amp.report.validity_report import Stage

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#b54708", "#007a5a", "#666666"
COLOURS = (BLUE, ORANGE, GREEN, "#9c4f7f", "#8a6100", "#2f7f9e", "#000000", "#6b5b95")
"""The one palette of all figures and pages: told apart by colour-blind people, legible as text."""
_MARKS = ("circle", "diamond", "triangle-up", "x", "pentagon", "cross")
_GROUPS = {
    "fixed": (GREY, "square", "fixed runs"),
    "rule": (GREY, "triangle-down", "rules"),
    "control": (COLOURS[4], "x-thin-open", "controls"),
    "oracle": (COLOURS[3], "star", "oracle (of the fixed runs)"),
}
"""Colour, mark and name of the runs that are shown as one group."""

_FEW = 12  # runs, of which a plot can show and name each
_KINDS = {"scorer": BLUE, "baseline": ORANGE, "feature": GREY}
_LINE_PIXELS = 24
_NAME = 40


def label(name: str) -> str:
    """A name for plotly, which reads a little HTML, links among it, and breaks no line."""
    return escape(name if len(name) <= _NAME else f"{name[:_NAME]}…")


def curve(report: RunReport) -> Figure:
    """Success against cost: the fixed runs with their front, and all others."""
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    assert report.curve is not None
    if front := report.curve.front:
        corners = [*front, front[-1]]
        line = Scatter(
            x=[point.cost for point in corners[:-1]] + [report.curve.limit],
            y=[point.success for point in corners],
            mode="lines",
            line={"color": _GROUPS["fixed"][0], "dash": "dot"},
            name="front of the fixed runs",
            hoverinfo="skip",
        )
        figure.add_trace(line)
    on_front = {point.name for point in front}
    many = len(report.lines) > _FEW
    adaptive = count()
    seen: set[str] = set()
    for one in _shown(report):
        if one.kind in _GROUPS:
            colour, mark, name = _GROUPS[one.kind]
        else:
            place, name = next(adaptive), label(one.name)
            colour, mark = COLOURS[place % len(COLOURS)], _MARKS[place % len(_MARKS)]
        rate = one.summary.success_rate
        # Where there are many, the intervals of rules and the like would hide each other.
        bare = many and one.kind in _GROUPS
        dot = Scatter(
            x=[one.cost],
            y=[rate],
            error_x=None if bare else _whiskers([one.cost], [one.cost_interval]),
            error_y=None if bare else _whiskers([rate], [one.success_interval]),
            mode="markers",
            cliponaxis=False,
            text=[label(one.name)],
            marker={"color": colour, "symbol": mark, "size": 7 if bare else 11},
            name=name,
            legendgroup=name,
            showlegend=name not in seen,
            hovertemplate=f"%{{text}}<br>{report.unit} %{{x:,.4g}}<br>success %{{y:.1%}}"
            "<extra></extra>",
        )
        figure.add_trace(dot)
        seen.add(name)
        above = one.name in on_front
        if one.kind == "fixed" and (above or not many):
            # Unlike the text of a trace, it lies over the intervals of all runs.
            figure.add_annotation(
                x=one.cost,
                y=rate,
                text=label(one.name),
                showarrow=False,
                xanchor="right" if above else "left",
                yanchor="bottom" if above else "top",
                xshift=-6 if above else 6,
                yshift=6 if above else -3,
                font={"size": 11, "color": GREY},
                bgcolor="rgba(255, 255, 255, 0.8)",
                borderpad=0,
            )
    figure.update_layout(height=480, margin={"t": 20}, legend={"orientation": "h", "y": -0.18})
    figure.update_xaxes(title=f"{report.unit} a task", rangemode="tozero")
    figure.update_yaxes(title="success", range=_span(report), tickformat=".0%")
    return figure


def _shown(report: RunReport) -> list[RunLine]:
    return [*report.lines, *([] if report.oracle is None else [report.oracle])]


def _span(report: RunReport) -> list[float]:
    """The success rates that are seen, with their intervals and some room."""
    shown = _shown(report)
    rates = [line.summary.success_rate for line in shown]
    sure = [line.success_interval for line in shown if line.success_interval is not None]
    low = min([*rates, *(interval.low for interval in sure)])
    high = max([*rates, *(interval.high for interval in sure)])
    return [max(-0.02, low - 0.05), min(1.02, high + 0.05)]


def parts(report: RunReport) -> Figure:
    """Where tokens and seconds went."""
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
                marker={"color": COLOURS[place]},
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
    figure.update_xaxes(nticks=4, tickangle=0)
    figure.update_xaxes(title="tokens a task", row=1, col=1)
    figure.update_xaxes(title="seconds a task", row=1, col=2)
    return figure


def by_third(report: RunReport, success: bool) -> Figure:
    """Success, or else cost, by thirds of difficulty."""
    from plotly.graph_objects import Bar, Figure

    figure = Figure()
    adaptive = fixed = 0
    many = len(report.lines) > _FEW
    for line in report.lines:
        if many and line.kind != "adaptive" and line.name != report.reference:
            continue
        if line.kind == "adaptive":
            colour, adaptive = COLOURS[adaptive % len(COLOURS)], adaptive + 1
        else:
            colour, fixed = f"rgba(102, 102, 102, {max(0.25, 0.9 - 0.2 * fixed):.2f})", fixed + 1
        rows = {one.third: one for one in report.thirds if one.run == line.name}
        shown = [rows[third] for third in THIRDS if third in rows]
        values = [one.success_rate if success else one.cost for one in shown]
        bounds = [one.success_interval if success else one.cost_interval for one in shown]
        bars = Bar(
            x=[f"{one.third}<br>{one.tasks} tasks" for one in shown],
            y=values,
            error_y=_whiskers(values, bounds) | {"thickness": 1, "width": 2},
            marker={"color": colour},
            name=label(line.name),
        )
        figure.add_trace(bars)
    figure.update_layout(
        barmode="group", height=340, margin={"t": 20}, legend={"orientation": "h", "y": -0.22}
    )
    figure.update_xaxes(tickangle=0)
    if success:
        figure.update_yaxes(title="success", range=[0, 1.02], tickformat=".0%")
    else:
        figure.update_yaxes(title=f"{report.unit} a task", rangemode="tozero")
    return figure


def calibration(report: RunReport) -> Figure:
    """Failure rate against the complexity that was said, in bins of equal counts."""
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    sure = Scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": _GROUPS["fixed"][0], "dash": "dot"},
        name="a probability of failure",
        hoverinfo="skip",
    )
    figure.add_trace(sure)
    for place, one in enumerate(report.calibrations):
        bins = one.reliability.bins
        rates = [found.failure_rate for found in bins]
        dots = Scatter(
            x=[found.score for found in bins],
            y=rates,
            error_y=_whiskers(rates, [found.interval for found in bins]),
            mode="lines+markers",
            marker={
                "color": COLOURS[place % len(COLOURS)],
                "symbol": _MARKS[place % len(_MARKS)],
                "size": 9,
            },
            name=label(one.run),
        )
        figure.add_trace(dots)
    figure.update_layout(height=360, margin={"t": 20}, legend={"orientation": "h", "y": -0.25})
    figure.update_xaxes(title="complexity", range=[-0.02, 1.02])
    figure.update_yaxes(title="failures", range=[-0.02, 1.02], tickformat=".0%")
    return figure


# --------------------------------------------------------------------------- complexity scores


def aurocs(stage: Stage) -> Figure:
    from plotly.graph_objects import Figure, Scatter

    lines = [line for line in reversed(stage.lines) if line.auroc.value is not None]
    figure = Figure()
    for kind, colour in _KINDS.items():
        places = [place for place, line in enumerate(lines) if line.kind == kind]
        estimates = [lines[place].auroc for place in places]
        trace = Scatter(
            x=[estimate.value for estimate in estimates],
            y=places,
            error_x=_whiskers(
                [estimate.value or 0.0 for estimate in estimates],
                [estimate.interval for estimate in estimates],
            ),
            mode="markers",
            marker={"color": colour, "size": 9},
            name=kind,
            text=[
                f"{label(lines[place].name)}, {lines[place].auroc.rows} rows" for place in places
            ],
            hovertemplate="%{text}<br>AUROC %{x:.3f}<extra></extra>",
        )
        figure.add_trace(trace)
    figure.add_vline(x=0.5, line={"dash": "dash", "color": GREY})
    labels = [label(line.name) + (" (inverted)" if line.direction == -1 else "") for line in lines]
    _name_rows(figure, labels)
    figure.update_xaxes(title="AUROC: a failure scores above a success", range=[-0.02, 1.02])
    return figure


def reliability_diagram(stage: Stage) -> Figure:
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    diagonal = Scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dash", "color": GREY}, name="calibrated"
    )
    figure.add_trace(diagonal)
    for place, (name, result) in enumerate(stage.reliability.items()):
        trace = Scatter(
            x=[b.score for b in result.bins],
            y=[b.failure_rate for b in result.bins],
            error_y=_whiskers(
                [b.failure_rate for b in result.bins], [b.interval for b in result.bins]
            ),
            mode="lines+markers",
            marker={"symbol": _MARKS[place % len(_MARKS)], "size": 9},
            name=label(name),
            text=[f"{b.rows} rows" for b in result.bins],
            hovertemplate="score %{x:.2f}, failed %{y:.2f}, %{text}",
        )
        figure.add_trace(trace)
    figure.update_layout(height=460, margin={"t": 20})
    figure.update_xaxes(title="mean score of a bin", range=[-0.02, 1.02])
    figure.update_yaxes(title="share that failed (Wilson, 95 %)", range=[-0.02, 1.02])
    return figure


def importance_bars(stage: Stage) -> Figure:
    from plotly.graph_objects import Bar, Figure

    known = [one for one in reversed(stage.importances) if one.drop is not None]
    bars = Bar(
        x=[one.drop for one in known],
        y=list(range(len(known))),
        orientation="h",
        error_x=_whiskers([one.drop or 0.0 for one in known], [one.interval for one in known]),
        marker={"color": _KINDS["scorer"]},
        hovertemplate="loses %{x:.3f}<extra></extra>",
    )
    figure = Figure(bars)
    _name_rows(figure, [label(one.group) for one in known])
    figure.update_xaxes(title="AUROC lost when shuffled (bars: over shuffles, not over tasks)")
    return figure


def _name_rows(figure: Figure, labels: list[str]) -> None:
    """Names the places 0, 1, ... upwards; numbers, since equal names would share a place."""
    places = list(range(len(labels)))
    figure.update_yaxes(
        tickvals=places, ticktext=labels, automargin=True, range=[-0.7, len(labels) - 0.3]
    )
    figure.update_layout(height=120 + _LINE_PIXELS * len(labels), margin={"t": 20})


def _whiskers(values: Sequence[float], bounds: Sequence[Interval | None]) -> dict[str, object]:
    """Asymmetric error bars; of no length where there is no interval."""
    pairs = list(zip(values, bounds, strict=True))
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if b is None else b.high - v for v, b in pairs],
        "arrayminus": [0.0 if b is None else v - b.low for v, b in pairs],
    }
