"""A validity report as one HTML page that fetches nothing: plotly and its data are inside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from amp.evaluate.htmlpage import document, label, table
from amp.evaluate.reliability import Reliability
from amp.evaluate.validity import Difference, Estimate
from amp.evaluate.validityreport import Stage, ValidityReport

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_COLOURS = {"scorer": "#0072b2", "baseline": "#d55e00", "feature": "#707070"}
_MARKS = ("circle", "square", "diamond", "triangle-up", "x")
_LINE_PIXELS = 24
_COMPARED = ("score", "against", "AUROC gained", "95 %", "resamples without gain", "")
_CALIBRATED = ("scorer", "calibration error", "Brier score", "that of the base rate", "")


def page(report: ValidityReport) -> str:
    """The report as an HTML document.

    Raises:
        MissingDependencyError: if plotly is not installed.
    """
    title = f"Complexity scores of {report.model} on {report.benchmark}"
    return document(title, (part for stage in report.stages for part in _stage(stage)))


def _stage(stage: Stage) -> Iterator[str | Figure]:
    base_rate = "unknown" if stage.base_rate is None else f"{stage.base_rate:.1%}"
    yield (
        f"<h2>{escape(stage.name)}</h2><p>Held out: rows {stage.rows}, tasks {stage.tasks}, "
        f"failures {stage.failures}. Training rows: {stage.train_rows}, base rate {base_rate}. "
        "Intervals are 95 %, by bootstrap over tasks; those of one useless score in twenty leave "
        "0.5 out by chance.</p>"
    )
    yield "<h3>Which scores tell failures</h3>"
    yield _aurocs(stage)
    yield _notes([(line.name, line.auroc.note) for line in stage.lines])
    if stage.comparisons:
        yield "<h3>Comparisons</h3>"
        yield table(_COMPARED, [_comparison(one) for one in stage.comparisons])
    if stage.reliability:
        yield "<h3>Calibration</h3>"
        yield _diagram(stage)
        yield table(
            _CALIBRATED, [_calibration(name, one) for name, one in stage.reliability.items()]
        )
    if stage.importances:
        yield "<h3>What the features contribute</h3>"
        yield _drops(stage)
        yield _notes([(one.group, one.note) for one in stage.importances])


def _aurocs(stage: Stage) -> Figure:
    from plotly.graph_objects import Figure, Scatter

    lines = [line for line in reversed(stage.lines) if line.auroc.value is not None]
    figure = Figure()
    for kind, colour in _COLOURS.items():
        places = [place for place, line in enumerate(lines) if line.kind == kind]
        estimates = [lines[place].auroc for place in places]
        trace = Scatter(
            x=[estimate.value for estimate in estimates],
            y=places,
            error_x=_whiskers(estimates),
            mode="markers",
            marker={"color": colour, "size": 9},
            name=kind,
            text=[
                f"{label(lines[place].name)}, {lines[place].auroc.rows} rows" for place in places
            ],
            hovertemplate="%{text}<br>AUROC %{x:.3f}<extra></extra>",
        )
        figure.add_trace(trace)
    figure.add_vline(x=0.5, line={"dash": "dash", "color": "#999"})
    labels = [label(line.name) + (" (inverted)" if line.direction == -1 else "") for line in lines]
    _name_rows(figure, labels)
    figure.update_xaxes(title="AUROC: a failure scores above a success", range=[-0.02, 1.02])
    return figure


def _diagram(stage: Stage) -> Figure:
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    diagonal = Scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dash", "color": "#999"}, name="calibrated"
    )
    figure.add_trace(diagonal)
    for place, (name, result) in enumerate(stage.reliability.items()):
        trace = Scatter(
            x=[b.score for b in result.bins],
            y=[b.failure_rate for b in result.bins],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [b.interval.high - b.failure_rate for b in result.bins],
                "arrayminus": [b.failure_rate - b.interval.low for b in result.bins],
            },
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


def _drops(stage: Stage) -> Figure:
    from plotly.graph_objects import Bar, Figure

    known = [one for one in reversed(stage.importances) if one.drop is not None]
    estimates = [Estimate(one.drop, one.interval) for one in known]
    bars = Bar(
        x=[one.drop for one in known],
        y=list(range(len(known))),
        orientation="h",
        error_x=_whiskers(estimates),
        marker={"color": _COLOURS["scorer"]},
        hovertemplate="loses %{x:.3f}<extra></extra>",
    )
    figure = Figure(bars)
    _name_rows(figure, [label(one.group) for one in known])
    figure.update_xaxes(title="AUROC lost when shuffled (bars: over shuffles, not over tasks)")
    return figure


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
    figures = (one.calibration_error, one.brier, one.constant_brier)
    return [name, *("-" if value is None else f"{value:.3f}" for value in figures), one.note]


def _whiskers(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Asymmetric error bars; of no length where there is no interval."""
    above, below = [], []
    for estimate in estimates:
        value, interval = estimate.value or 0.0, estimate.interval
        above.append(0.0 if interval is None else interval.high - value)
        below.append(0.0 if interval is None else value - interval.low)
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below}


def _name_rows(figure: Figure, labels: list[str]) -> None:
    """Names the places 0, 1, ... upwards; numbers, since equal names would share a place."""
    places = list(range(len(labels)))
    figure.update_yaxes(
        tickvals=places, ticktext=labels, automargin=True, range=[-0.7, len(labels) - 0.3]
    )
    figure.update_layout(height=120 + _LINE_PIXELS * len(labels), margin={"t": 20})


def _notes(notes: Sequence[tuple[str, str]]) -> str:
    lines = [f"{escape(name)}: {escape(note)}" for name, note in notes if note]
    return f'<p class="note">{"<br>".join(lines)}</p>' if lines else ""
