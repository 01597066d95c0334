"""A run report as one HTML page that fetches nothing: figures, tables, and the traces that fit.

A validity report as one HTML page that fetches nothing: plotly and its data are inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from amp.benchmarks.base import Benchmark
from amp.report.calibration import Reliability
from amp.report.figures import by_third, calibration, curve, parts
from amp.report.html import STYLE, anchor, document, label, table, trace
from amp.report.report import RunReport
from amp.report.runs import Run
from amp.report.tables import Table, tables_of
from amp.report.validity import Difference, Estimate
from amp.report.validity_report import Stage, ValidityReport

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


_TRACE_BYTES = 4_000_000
_STYLE = """
body { max-width: 1200px; }
.wide { overflow-x: auto; } .wide td, .wide th { white-space: nowrap; }
.wide td:first-child, .wide th:first-child { position: sticky; left: 0; background: #fff; }
td:first-child { font-weight: 600; } th { border-bottom: 1px solid #999; vertical-align: bottom; }
"""


def run_page(
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
    return document(report.title, _parts(report, runs, judge, trace_bytes), _STYLE + STYLE)


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
    for one in tables_of(report):
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
    report: RunReport, runs: Sequence[Run], judge: Benchmark | None, max_bytes: int
) -> tuple[dict[tuple[int, int], str], str]:
    """Traces by run and place: the dearest failures, then all runs by turns while they fit."""
    names = {run.name: place for place, run in enumerate(runs)}
    failed = [(names[failure.run], failure.place) for failure in report.failures]
    by_turns = zip_longest(
        *([(run, place) for place in range(len(runs[run].episodes))] for run in range(len(runs)))
    )
    wanted = failed + [key for keys in by_turns for key in keys if key is not None]
    made: dict[tuple[int, int], str] = {}
    left = max_bytes
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


_COLOURS = {"scorer": "#0072b2", "baseline": "#d55e00", "feature": "#707070"}
_MARKS = ("circle", "square", "diamond", "triangle-up", "x")
_LINE_PIXELS = 24
_COMPARED = ("score", "against", "AUROC gained", "95 %", "resamples without gain", "")
_CALIBRATED = ("scorer", "calibration error", "Brier score", "that of the base rate", "")


def validity_page(report: ValidityReport) -> str:
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
