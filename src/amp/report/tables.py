"""The tables of a run report: those of what was done stand here, the others in `runclaims`.

The tables of a run report that claim something: of differences, the front, adaptivity.

Tables as values, which read as text, as Markdown or as CSV.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from amp.report.metrics import Interval
from amp.report.report import RunReport
from amp.report.runs import RunLine

Value: TypeAlias = str | int | float | Interval | None
_SHORT_CHARACTERS = 70


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, and how a value reads in text."""

    head: str
    text: Callable[[float], str] = "{:,.0f}".format


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: of its CSV file.
        title: above it.
        columns: in order.
        rows: values, one a column; None reads ``-``.
        note: below it; may be empty.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    @property
    def heads(self) -> list[str]:
        return [column.head for column in self.columns]

    def texts(self) -> Iterator[list[str]]:
        """The rows as people read them."""
        for row in self.rows:
            yield [_text(value, c) for value, c in zip(row, self.columns, strict=True)]


def markdown(title: str, notes: Sequence[str], tables: Sequence[Table]) -> str:
    """Tables as a page of Markdown; no text in a cell can end it or become markup."""
    lines = [f"# {_cell(title)}", "", *(f"- {_cell(note)}" for note in notes)]
    for table in tables:
        lines += ["", f"## {_cell(table.title)}", "", _line(table.heads)]
        lines += ["|" + "---|" * len(table.heads), *map(_line, table.texts())]
        if table.note:
            lines += ["", _cell(table.note)]
    return "\n".join(lines) + "\n"


def write_csv(tables: Sequence[Table], directory: Path) -> list[Path]:
    """Writes each table to a file of its own: values unrounded, an interval as two columns.

    Raises:
        OSError: if the directory cannot be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        path = directory / f"{table.name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            wide = {place for row in table.rows for place, v in enumerate(row) if _is_interval(v)}
            writer = csv.writer(file)
            writer.writerow(
                head
                for place, name in enumerate(table.heads)
                for head in ([f"{name} low", f"{name} high"] if place in wide else [name])
            )
            for row in table.rows:
                writer.writerow(
                    value for place, v in enumerate(row) for value in _csv(v, place in wide)
                )
        written.append(path)
    return written


# --------------------------------------------------------------------------- texts of values


def _text(value: Value, column: Column) -> str:
    if value is None or value == "":
        return "-" if value is None else ""
    if isinstance(value, str):
        return value
    if isinstance(value, Interval):
        return f"{column.text(value.low)} to {column.text(value.high)}"
    return column.text(value)


def percent(share: float) -> str:
    """A share."""
    return f"{share:.1%}"


def points(difference: float) -> str:
    """A difference of two shares, in percentage points."""
    return f"{100 * difference:+.1f}"


def correlation(value: float) -> str:
    """A correlation, with its sign."""
    return f"{value:+.2f}"


def p_value(value: float) -> str:
    """A p-value; of the smallest ones only how small they are at most."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def figure(value: float) -> str:
    """Three or more digits, whatever the unit."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if 100 <= abs(value) < 1e9 else f"{value:.3g}"


def short(text: str) -> str:
    """One line of a text, with its end left out where it is long."""
    words = " ".join(text.split())
    return words if len(words) <= _SHORT_CHARACTERS else words[: _SHORT_CHARACTERS - 1] + "…"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """A text that Markdown leaves as it is: one line, none of its signs at work."""
    plain = " ".join(text.split())
    for sign in "\\`*_[]|#":
        plain = plain.replace(sign, "\\" + sign)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _is_interval(value: Value) -> bool:
    return isinstance(value, Interval)


def _csv(value: Value, wide: bool) -> list[str | int | float]:
    if isinstance(value, Interval):
        return [value.low, value.high]
    if value is None:
        return ["", ""] if wide else [""]
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@")):
        return ["'" + value]  # a spreadsheet would work it out
    return [value]


_UNITS = {
    "tokens": "tokens",
    "completion_tokens": "written tokens",
    "flops": "FLOPs",
    "seconds": "seconds",
    "dollars": "dollars",
}


def unit(report: RunReport) -> str:
    """What the costs of a report are, in words."""
    return _UNITS[report.cost]


def success_table(report: RunReport) -> Table:
    return Table(
        "comparisons",
        f"Success, against {report.reference}",
        (
            Column("run"),
            Column("tasks"),
            Column("won"),
            Column("lost"),
            Column("points", points),
            Column("p", p_value),
            Column("p (Holm)", p_value),
            Column("detectable", points),
            Column("test"),
        ),
        tuple(
            (
                one.name, one.tasks, one.won, one.lost, one.difference, one.p_value, one.holm,
                one.detectable, one.test,
            )
            for one in report.comparisons
        ),
        "Won and lost: tasks, of each seed, that only this run or only the other solved. Points: "
        "difference of the success rates. "
        f"{_family(report)} - where no task told the runs apart, or no difference would be seen.",
    )  # fmt: skip


def savings_table(report: RunReport) -> Table:
    return Table(
        "savings",
        f"{unit(report)[0].upper() + unit(report)[1:]} saved, against {report.reference}",
        (
            Column("run"),
            Column("tasks"),
            Column("saved", percent),
            Column("95 %", percent),
            Column("p", p_value),
            Column("p (Holm)", p_value),
            Column("detectable", percent),
        ),
        tuple(
            (
                one.name, one.tasks, one.saving.share, one.saving.interval, one.saving.p_value,
                one.saving_holm, one.detectable_saving,
            )
            for one in report.comparisons
            if one.saving is not None
        ),
        f"Paired bootstrap over tasks; p by flipping signs over tasks. {_family(report)}",
    )  # fmt: skip


def _family(report: RunReport) -> str:
    return (
        f"Holm: adjusted for all {report.family} tests of this report, of success and of savings. "
        "Detectable: the smallest difference that would be seen with a probability of 80 % on so "
        "many tasks, at a level of 5 % before the adjustment."
    )


def gains_table(report: RunReport) -> Table:
    gains = () if report.curve is None else report.curve.gains
    return Table(
        "gains",
        "Against the fixed front at the same cost",
        (
            Column("run"),
            Column("front there", percent),
            Column("points gained", points),
            Column("95 %", points),
            Column("of the oracle's", percent),
            Column("of its saving", percent),
            Column("remark"),
        ),
        tuple(
            (
                one.name, one.front, one.gain, one.interval, one.share, one.saving_share, one.note,
            )
            for one in gains
        ),
        "The front is that of mixtures of the fixed runs: a coin for each task. Its best points "
        "are chosen on these very tasks, in its favour. Of the oracle's: the points gained by "
        "those that the oracle gains at its own cost. Of its saving: what is saved against the "
        "front at the run's own success, by what the oracle's cost would save there.",
    )  # fmt: skip


def areas_table(report: RunReport) -> Table:
    curve = report.curve
    return Table(
        "areas",
        "What can be had",
        (Column("of"), Column("AIQ", "{:.4f}".format), Column("hypervolume", "{:.4f}".format)),
        ()
        if curve is None
        else tuple((one.name, one.average_success, one.hypervolume) for one in curve.areas),
        ""
        if curve is None
        else f"Both from 0, where nothing is done, to {figure(curve.limit)} {unit(report)} a "
        "task, a tenth beyond the dearest run. AIQ is the mean height of the hull there, the "
        "hypervolume the share of that box (reference point: that cost, no success) which the "
        "runs dominate.",
    )


def thirds_table(report: RunReport) -> Table:
    return Table(
        "thirds",
        "By difficulty",
        (
            Column("run"),
            Column("third"),
            Column("tasks"),
            Column("success", percent),
            Column("95 %", percent),
            Column(f"{unit(report)} a task", figure),
            Column("95 % of it", figure),
        ),
        tuple(
            (
                one.run, one.third, one.tasks, one.success_rate, one.success_interval, one.cost,
                one.cost_interval,
            )
            for one in report.thirds
        ),
        "Thirds by the benchmark's own count, with boundaries from training tasks.",
    )  # fmt: skip


def adapted_table(report: RunReport) -> Table:
    return Table(
        "adaptivity",
        "Was more allocated where it is harder?",
        (
            Column("run"),
            Column("allocated"),
            Column("against"),
            Column("Spearman", correlation),
            Column("95 %", correlation),
            Column("Kendall", correlation),
            Column("95 % of it", correlation),
            Column("remark"),
        ),
        tuple(
            (
                one.run, one.amount, one.against, one.spearman.value, one.spearman.interval,
                one.kendall.value, one.kendall.interval, one.spearman.note,
            )
            for one in report.adapted
        ),
        "Rank correlations over tasks, with bootstrap intervals. A failure rate of few samples is "
        "noisy, which draws them towards 0; samples that the run itself used push them up.",
    )  # fmt: skip


def calibration_table(report: RunReport) -> Table:
    return Table(
        "calibration",
        "Is complexity a probability of failure?",
        (
            Column("run"),
            Column("episodes"),
            Column("complexity", "{:.3f}".format),
            Column("failures", percent),
            Column("calibration error", "{:.3f}".format),
            Column("Brier", "{:.3f}".format),
            Column("Brier of a constant", "{:.3f}".format),
            Column("AUROC", "{:.2f}".format),
            Column("95 %", "{:.2f}".format),
            Column("remark"),
        ),
        tuple(
            (
                one.run, one.episodes, one.score, one.failure_rate,
                one.reliability.calibration_error, one.reliability.brier,
                one.reliability.constant_brier, one.auroc.value, one.auroc.interval,
                one.reliability.note or one.auroc.note,
            )
            for one in report.calibrations
        ),
        "Complexity: mean over the steps of an episode, each before its first round. Calibration "
        "error: mean distance to the failure rate in 10 bins of equal counts. The constant is the "
        "run's own failure rate. AUROC: 0.5 tells failures from successes no better than chance.",
    )  # fmt: skip


_ORACLE = (
    "Oracle: task by task the cheapest fixed run that succeeds, and the cheapest if none does; it "
    "knows the verdicts beforehand."
)


def tables_of(report: RunReport) -> list[Table]:
    """All tables that have rows, in the order in which they are read."""
    made = (
        _runs, success_table, savings_table, gains_table, areas_table, _spent, _parts, _unread,
        thirds_table, adapted_table, calibration_table, _failures,
    )  # fmt: skip
    return [table for make in made if (table := make(report)).rows]


def report_title(report: RunReport) -> str:
    """The title of a report."""
    named = " of ".join(filter(None, (report.benchmark, report.model)))
    return f"Runs on {named}" if named else "Runs"


# --------------------------------------------------------------------------- the tables


def _runs(report: RunReport) -> Table:
    seeds = any(line.seeds > 1 for line in report.lines)
    columns = (
        Column("run"),
        Column("kind"),
        Column("tasks"),
        *([Column("seeds")] if seeds else []),
        Column("success", percent),
        Column("95 %", percent),
        Column(unit(report), figure),
        Column("95 % of it", figure),
    )
    front = set() if report.curve is None else {point.name for point in report.curve.front}
    lines = [*report.lines, *([] if report.oracle is None else [report.oracle])]
    worth = ", of as many runs as would be worth the same if those of a task were independent"
    return Table(
        "runs",
        "Runs",
        columns,
        tuple(
            (
                line.name,
                "fixed, on the front" if line.name in front else line.kind,
                line.tasks,
                *([line.seeds] if seeds else []),
                line.summary.success_rate,
                line.success_interval,
                line.cost,
                line.cost_interval,
            )
            for line in lines
        ),
        f"Success: Wilson's interval{worth if seeds else ''}. {unit(report).capitalize()}: mean of "
        "a task, by bootstrap over tasks." + ("" if report.oracle is None else f" {_ORACLE}"),
    )


def _spent(report: RunReport) -> Table:
    def mean(line: RunLine, name: str) -> float:
        return float(getattr(line.summary.usage, name)) / line.summary.episodes

    names = (
        "model_calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens", "flops",
        "dollars", "seconds",
    )  # fmt: skip
    return Table(
        "spent",
        "Spent, mean of a task",
        (
            Column("run"),
            Column("model calls", figure),
            Column("prompt tokens", figure),
            Column("of them cached", figure),
            Column("written tokens", figure),
            Column("FLOPs", "{:.2e}".format),
            Column("dollars", "{:.5f}".format),
            Column("seconds", "{:.2f}".format),
        ),
        tuple((line.name, *(mean(line, name) for name in names)) for line in report.lines),
        "Counted at the model, whatever the candidate came to. Seconds are those inside models and "
        "tools, on the machine that the answers are from.",
    )


def _parts(report: RunReport) -> Table:
    rows: list[tuple[Value, ...]] = []
    for line in report.lines:
        tokens = sum(part.tokens for part in line.parts)
        seconds = sum(part.seconds for part in line.parts)
        rows += [
            (
                line.name,
                part.name,
                part.tokens / line.summary.episodes,
                part.tokens / tokens if tokens else None,
                part.seconds / line.summary.episodes,
                part.seconds / seconds if seconds else None,
            )
            for part in line.parts
        ]
    return Table(
        "parts",
        "Where it went",
        (
            Column("run"),
            Column("part"),
            Column("tokens a task", figure),
            Column("share of tokens", percent),
            Column("seconds a task", "{:.2f}".format),
            Column("share of time", percent),
        ),
        tuple(rows),
        "Looks: what the assessor saw before a first round. Verified candidates: rounds in which "
        "the model checks its answers; a trace does not tell the two apart. A rule check costs "
        "nothing. Tokens of a tool that asks a model stand with the candidates.",
    )


def _unread(report: RunReport) -> Table:
    return Table(
        "unread",
        "What could not be read or finished",
        (
            Column("run"),
            Column("candidates"),
            Column("cut off", percent),
            Column("unread", percent),
            Column("steps without an action"),
            Column("episodes not done"),
            Column("ended"),
        ),
        tuple(
            (
                line.name,
                line.summary.candidates,
                line.summary.cut_off_rate,
                line.summary.unread_rate,
                line.summary.failed_steps,
                line.summary.limited,
                ", ".join(f"{why} {count}" for why, count in line.ended.items()),
            )
            for line in report.lines
        ),
        "Cut off: written candidates that their cap ended. Unread: candidates from which no action "
        "could be read. Not done: episodes that a limit or an error ended.",
    )


def _failures(report: RunReport) -> Table:
    return Table(
        "failures",
        "The dearest failures",
        (
            Column("run"),
            Column("task"),
            Column("seed", "{:d}".format),
            Column(unit(report), figure),
            Column("steps"),
            Column("ended"),
            Column("goal"),
        ),
        tuple(
            (one.run, one.task, one.seed, one.cost, one.steps, one.ended, short(one.goal))
            for one in report.failures
        ),
    )
