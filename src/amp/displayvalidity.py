"""What people see of a validity report in a terminal: scores, comparisons, calibration."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amp.evaluate.metrics import Interval
from amp.evaluate.reliability import Bin, Reliability
from amp.evaluate.validity import Difference, Importance
from amp.evaluate.validityreport import ScoreLine, Stage, ValidityReport

_STYLES = {"scorer": "bold cyan", "baseline": "yellow", "feature": ""}
_BAR_CELLS = 10
_DIAGRAM_CELLS = 30


def report_view(report: ValidityReport, features: int | None = None) -> Group:
    """The whole report, stage by stage.

    Args:
        report: what to show.
        features: how many features a table shows at most, best first; None shows all. Scorers and
            baselines are always shown.
    """
    title = f"Complexity scores of {_plain(report.model)} on {_plain(report.benchmark)}"
    parts: list[RenderableType] = [Text(title, "bold")]
    for stage in report.stages:
        parts += [Text(), _head(stage), score_table(stage.lines, features)]
        if stage.comparisons:
            parts += [Text(), comparison_table(stage.comparisons)]
        for name, result in stage.reliability.items():
            parts += [Text(), reliability_table(name, result)]
        if stage.importances:
            parts += [Text(), importance_table(stage.importances)]
    return Group(*parts)


def score_table(lines: Sequence[ScoreLine], features: int | None = None) -> Table:
    """AUROC of each score with its interval, and its rank correlation, in the order given."""
    numbers = ("rows", "AUROC", "95 % CI", "rank corr.")
    table = _table(("score", "kind"), numbers, "")
    shown, left_out = 0, 0
    for line in lines:
        if line.kind == "feature":
            if features is not None and shown >= features:
                left_out += 1
                continue
            shown += 1
        inverted = " (inverted)" if line.direction == -1 else ""
        table.add_row(
            Text(_plain(line.name) + inverted, _STYLES[line.kind]),
            line.kind,
            str(line.auroc.rows),
            _figure(line.auroc.value),
            _range(line.auroc.interval),
            _figure(line.correlation.value, "+.2f"),
            Text.assemble(_bar(line.auroc.value), (line.auroc.note, "dim")),
        )
    if left_out:
        table.caption = f"{left_out} more features are not shown"
    return table


def comparison_table(comparisons: Sequence[Difference]) -> Table:
    """By how much scores tell failures better than others."""
    table = _table(("score", "against"), ("AUROC gained", "95 % CI", "no gain in"), "")
    for one in comparisons:
        inverted = " (inverted)" if one.second.direction == -1 else ""
        table.add_row(
            Text(_plain(one.first.name)),
            Text(_plain(one.second.name) + inverted),
            _figure(one.estimate.value, "+.3f"),
            _range(one.estimate.interval, "+.3f"),
            _figure(one.not_above, ".1%"),
            Text(one.estimate.note, "dim"),
        )
    return table


def reliability_table(name: str, result: Reliability) -> RenderableType:
    """The failure rate of each bin beside its score, and the figures over all bins."""
    head = Text(f"calibration of {_plain(name)}", "bold")
    if not result.bins:
        return Group(head, Text(result.note, "dim"))
    table = _table((), ("rows", "score", "failed", "95 % CI"), "failed █, score ┃")
    for b in result.bins:
        rates = (f"{b.score:.2f}", f"{b.failure_rate:.2f}", _range(b.interval))
        table.add_row(str(b.rows), *rates, _diagram(b))
    foot = (
        f"calibration error {_figure(result.calibration_error, '.3f')}, "
        f"Brier score {_figure(result.brier, '.3f')}, "
        f"that of the base rate {_figure(result.constant_brier, '.3f')}"
    )
    return Group(head, table, Text(foot))


def importance_table(importances: Sequence[Importance]) -> Table:
    """What each feature or group of features contributes to a scorer."""
    table = _table(("feature",), ("AUROC lost when shuffled", "95 % of shuffles"), "")
    for one in importances:
        table.add_row(
            Text(_plain(one.group)),
            _figure(one.drop, "+.3f"),
            _range(one.interval, "+.3f"),
            Text(one.note, "dim"),
        )
    return table


def _head(stage: Stage) -> Text:
    base_rate = "unknown" if stage.base_rate is None else f"{stage.base_rate:.1%}"
    return Text.assemble(
        (_plain(stage.name), "bold"),
        f"  held out: rows {stage.rows}, tasks {stage.tasks}, failures {stage.failures};"
        f" training rows {stage.train_rows}, base rate {base_rate}",
    )


def _table(left: Sequence[str], right: Sequence[str], last: str) -> Table:
    """Where a terminal is narrow, names and notes are folded, and figures stay whole."""
    table = Table(box=None, padding=(0, 1, 0, 0), caption_justify="left")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(last, overflow="fold")
    return table


def _bar(share: float | None) -> Text:
    """An AUROC as a bar; red where the score points the wrong way or nowhere."""
    if share is None:
        return Text()
    filled = round(share * _BAR_CELLS)
    bar = "█" * filled + "░" * (_BAR_CELLS - filled) + " "
    return Text(bar, "green" if share > 0.5 else "red")


def _diagram(b: Bin) -> Text:
    """The failure rate as a bar, with a mark where it would end if the score were calibrated."""
    filled = round(b.failure_rate * _DIAGRAM_CELLS)
    cells = ["█"] * filled + ["░"] * (_DIAGRAM_CELLS - filled)
    place = min(_DIAGRAM_CELLS - 1, int(b.score * _DIAGRAM_CELLS))
    before, after = "".join(cells[:place]), "".join(cells[place + 1 :])
    return Text.assemble((before, "red"), ("┃", "bold cyan"), (after, "red"))


def _range(interval: Interval | None, form: str = ".2f") -> str:
    if interval is None:
        return "-"
    between = " to " if form.startswith("+") else "-"
    return f"{interval.low:{form}}{between}{interval.high:{form}}"


def _figure(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else f"{value:{form}}"


def _plain(name: str) -> str:
    """A name without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in name)
