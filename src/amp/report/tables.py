"""The tables of a report, as text, Markdown, a data frame or CSV.

A `Table` is a list of objects and the columns that are read from them. People see rounded texts;
data frames and CSV files have every digit, and an interval as two columns. The Markdown is written
here and not by pandas: names, goals and notes come from models and environments, and no cell may
end its row or become markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from amp.report.metrics import Interval
from amp.report.report import RunReport
from amp.report.runs import RunLine, WorkPart
from amp.report.stats import optional

if TYPE_CHECKING:
    from pandas import DataFrame

Value: TypeAlias = str | int | float | Interval | None
_SHORT_CHARACTERS = 70


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        head: its name.
        of: what a row has there: the path of an attribute, or a function of the row.
        text: how a number reads.
    """

    head: str
    of: str | Callable[[Any], Value]
    text: Callable[[float], str] = "{:,.0f}".format

    def value(self, row: object) -> Value:
        """What a row has in this column; None reads ``-``."""
        return self.of(row) if callable(self.of) else attrgetter(self.of)(row)


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: of its CSV file.
        title: above it.
        columns: in order.
        rows: whatever the columns read.
        note: below it; may be empty.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[object]
    note: str = ""

    @property
    def heads(self) -> list[str]:
        return [column.head for column in self.columns]

    def texts(self) -> Iterator[list[str]]:
        """The rows as people read them."""
        for row in self.rows:
            yield [_text(column.value(row), column) for column in self.columns]

    def frame(self) -> DataFrame:
        """The rows as a data frame: values unrounded, an interval as two columns.

        Raises:
            MissingDependencyError: if pandas is not installed.
        """
        heads: list[str] = []
        columns: list[list[Value]] = []
        for column in self.columns:
            values = [column.value(row) for row in self.rows]
            if any(isinstance(value, Interval) for value in values):
                heads += [f"{column.head} low", f"{column.head} high"]
                columns += [
                    [getattr(value, end, None) for value in values] for end in ("low", "high")
                ]
            else:
                heads.append(column.head)
                columns.append(values)
        pandas = optional("pandas", "a table as data")
        rows = list(zip(*columns, strict=True))
        return pandas.DataFrame(rows, columns=heads, dtype=object).infer_objects()


def write_csv(tables: Sequence[Table], directory: Path) -> list[Path]:
    """Writes each table to a file of its own.

    Raises:
        OSError: if the directory cannot be made or written.
        MissingDependencyError: if pandas is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        path = directory / f"{table.name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            table.frame().map(_not_a_formula).to_csv(file, index=False)
        written.append(path)
    return written


def _not_a_formula(value: object) -> object:
    """A text that no spreadsheet works out."""
    works = isinstance(value, str) and value.startswith(("=", "+", "-", "@"))
    return f"'{value}" if works else value


def markdown(title: str, notes: Sequence[str], tables: Sequence[Table]) -> str:
    """Tables as a page of Markdown; no text in a cell can end it or become markup."""
    lines = [f"# {_cell(title)}", "", *(f"- {_cell(note)}" for note in notes)]
    for table in tables:
        lines += ["", f"## {_cell(table.title)}", "", *markdown_rows(table)]
        if table.note:
            lines += ["", _cell(table.note)]
    return "\n".join(lines) + "\n"


def markdown_rows(table: Table) -> list[str]:
    """Head, rule and rows of a table as lines of Markdown."""
    rows = [table.heads, *table.texts()]
    lines = ["| " + " | ".join(map(_cell, cells)) + " |" for cells in rows]
    return [lines[0], "|" + "---|" * len(table.heads), *lines[1:]]


def _cell(text: str) -> str:
    """A text that Markdown leaves as it is: one line, none of its signs at work."""
    plain = " ".join(text.split())
    for sign in "\\`*_[]|#":
        plain = plain.replace(sign, "\\" + sign)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(value: Value, column: Column) -> str:
    if value is None:
        return "-"
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


def tables_of(report: RunReport) -> list[Table]:
    """All tables that have rows, in the order in which they are read."""
    made = (
        _runs, _success, _savings, _gains, _areas, _spent, _parts, _unread, _thirds, _adapted,
        _calibration, _failures,
    )  # fmt: skip
    return [table for make in made if (table := make(report)).rows]


def _runs(report: RunReport) -> Table:
    seeds = any(line.seeds > 1 for line in report.lines)
    front = set() if report.curve is None else {point.name for point in report.curve.front}

    def kind(line: RunLine) -> str:
        return "fixed, on the front" if line.name in front else line.kind

    columns = (
        Column("run", "name"),
        Column("kind", kind),
        Column("tasks", "tasks"),
        *([Column("seeds", "seeds")] if seeds else []),
        Column("success", "summary.success_rate", percent),
        Column("95 % of success", "success_interval", percent),
        Column(report.unit, "cost", figure),
        Column(f"95 % of {report.unit}", "cost_interval", figure),
    )
    lines = [*report.lines, *([] if report.oracle is None else [report.oracle])]
    how = "by bootstrap over tasks"
    if report.analysis.success_interval == "wilson":
        worth = ", of as many runs as would be worth the same if those of a task were independent"
        how = f"Wilson's interval{worth if seeds else ''}"
    oracle = (
        " Oracle: task by task the cheapest fixed run that succeeds, and the cheapest if none "
        "does; it knows the verdicts beforehand."
    )
    note = (
        f"Success: {how}. {report.unit.capitalize()}: mean of a task, by bootstrap over tasks."
        f"{'' if report.oracle is None else oracle}"
    )
    return Table("runs", "Runs", columns, lines, note)


def _success(report: RunReport) -> Table:
    columns = (
        Column("run", "name"),
        Column("tasks", "tasks"),
        Column("won", "won"),
        Column("lost", "lost"),
        Column("points", "difference", points),
        Column("p", "p_value", p_value),
        Column("p (Holm)", "holm", p_value),
        Column("detectable", "detectable", points),
        Column("test", "test"),
    )
    note = (
        "Won and lost: tasks, of each seed, that only this run or only the other solved. Points: "
        f"difference of the success rates. {_family(report)} - where no task told the runs apart, "
        "or no difference would be seen."
    )
    title = f"Success, against {report.reference}"
    return Table("comparisons", title, columns, report.comparisons, note)


def _savings(report: RunReport) -> Table:
    columns = (
        Column("run", "name"),
        Column("tasks", "tasks"),
        Column("saved", "saving.share", percent),
        Column("95 % of saved", "saving.interval", percent),
        Column("p", "saving.p_value", p_value),
        Column("p (Holm)", "saving_holm", p_value),
        Column("detectable", "detectable_saving", percent),
    )
    rows = [one for one in report.comparisons if one.saving is not None]
    title = f"{report.unit[0].upper()}{report.unit[1:]} saved, against {report.reference}"
    note = f"Paired bootstrap over tasks; p by flipping signs over tasks. {_family(report)}"
    return Table("savings", title, columns, rows, note)


def _family(report: RunReport) -> str:
    tests = "of success and of savings" if report.analysis.test_savings else "of success"
    return (
        f"Holm: adjusted for all {report.family} tests of this report, {tests}. "
        "Detectable: the smallest difference that would be seen with a probability of 80 % on so "
        "many tasks, at a level of 5 % before the adjustment."
    )


def _gains(report: RunReport) -> Table:
    columns = (
        Column("run", "name"),
        Column("front there", "front", percent),
        Column("points gained", "gain", points),
        Column("95 % of points", "interval", points),
        Column("of the oracle's", "share", percent),
        Column("of its saving", "saving_share", percent),
        Column("remark", "note"),
    )
    note = (
        "The front is that of mixtures of the fixed runs: a coin for each task. Its best points "
        "are chosen on these very tasks, in its favour. Of the oracle's: the points gained by "
        "those that the oracle gains at its own cost. Of its saving: what is saved against the "
        "front at the run's own success, by what the oracle's cost would save there."
    )
    rows = () if report.curve is None else report.curve.gains
    return Table("gains", "Against the fixed front at the same cost", columns, rows, note)


def _areas(report: RunReport) -> Table:
    columns = (
        Column("of", "name"),
        Column("AIQ", "average_success", "{:.4f}".format),
        Column("hypervolume", "hypervolume", "{:.4f}".format),
    )
    limit, areas = (0.0, ()) if report.curve is None else (report.curve.limit, report.curve.areas)
    note = (
        f"Both from 0, where nothing is done, to {figure(limit)} {report.unit} a task, a tenth "
        "beyond the dearest run. AIQ is the mean height of the hull there, the hypervolume the "
        "share of that box (reference point: that cost, no success) which the runs dominate."
    )
    return Table("areas", "What can be had", columns, areas, note)


def _spent(report: RunReport) -> Table:
    def mean(name: str) -> Callable[[RunLine], float]:
        return lambda line: float(getattr(line.summary.usage, name)) / line.summary.episodes

    paid = Column("dollars", mean("dollars"), "{:.5f}".format)
    if report.cost == "dollars":  # perhaps at a reference price
        paid = Column("dollars", "cost", figure)
    columns = (
        Column("run", "name"),
        Column("model calls", mean("model_calls"), figure),
        Column("prompt tokens", mean("prompt_tokens"), figure),
        Column("of them cached", mean("cached_prompt_tokens"), figure),
        Column("written tokens", mean("completion_tokens"), figure),
        Column("FLOPs", mean("flops"), "{:.2e}".format),
        paid,
        Column("seconds", mean("seconds"), "{:.2f}".format),
    )
    note = (
        "Counted at the model, whatever the candidate came to. Seconds are those inside models and "
        "tools, on the machine that the answers are from."
    )
    return Table("spent", "Spent, mean of a task", columns, report.lines, note)


def _parts(report: RunReport) -> Table:
    def total(line: RunLine, amount: str) -> float:
        return float(sum(getattr(part, amount) for part in line.parts))

    def share(amount: str) -> Callable[[tuple[RunLine, WorkPart]], float | None]:
        def of(row: tuple[RunLine, WorkPart]) -> float | None:
            whole = total(row[0], amount)
            return getattr(row[1], amount) / whole if whole else None

        return of

    columns = (
        Column("run", lambda row: row[0].name),
        Column("part", lambda row: row[1].name),
        Column("tokens a task", lambda row: row[1].tokens / row[0].summary.episodes, figure),
        Column("share of tokens", share("tokens"), percent),
        Column(
            "seconds a task",
            lambda row: row[1].seconds / row[0].summary.episodes,
            "{:.2f}".format,
        ),
        Column("share of time", share("seconds"), percent),
    )
    rows = [(line, part) for line in report.lines for part in line.parts]
    note = (
        "Probes: what the assessor saw before a first round. Verified candidates: rounds in which "
        "the model checks its answers; a trace does not tell the two apart. A rule check costs "
        "nothing. Tokens of a tool that asks a model stand with the candidates."
    )
    return Table("parts", "Where it went", columns, rows, note)


def _unread(report: RunReport) -> Table:
    columns = (
        Column("run", "name"),
        Column("candidates", "summary.candidates"),
        Column("cut off", "summary.cut_off_rate", percent),
        Column("unread", "summary.unread_rate", percent),
        Column("steps without an action", "summary.failed_steps"),
        Column("episodes not done", "summary.limited"),
        Column("ended", "endings"),
    )
    note = (
        "Cut off: written candidates that their cap ended. Unread: candidates from which no action "
        "could be read. Not done: episodes that a limit or an error ended, or that were given up."
    )
    return Table("unread", "What could not be read or finished", columns, report.lines, note)


def _thirds(report: RunReport) -> Table:
    columns = (
        Column("run", "run"),
        Column("third", "third"),
        Column("tasks", "tasks"),
        Column("success", "success_rate", percent),
        Column("95 % of success", "success_interval", percent),
        Column(f"{report.unit} a task", "cost", figure),
        Column(f"95 % of {report.unit}", "cost_interval", figure),
    )
    note = "Thirds by the benchmark's own count, with boundaries from training tasks."
    return Table("thirds", "By difficulty", columns, report.thirds, note)


def _adapted(report: RunReport) -> Table:
    columns = (
        Column("run", "run"),
        Column("allocated", "amount"),
        Column("against", "against"),
        Column("Spearman", "spearman.value", correlation),
        Column("95 % of Spearman", "spearman.interval", correlation),
        Column("Kendall", "kendall.value", correlation),
        Column("95 % of Kendall", "kendall.interval", correlation),
        Column("remark", "spearman.note"),
    )
    note = (
        "Rank correlations over tasks, with bootstrap intervals. A failure rate of few samples is "
        "noisy, which draws them towards 0; samples that the run itself used push them up."
    )
    title = "Was more allocated where it is harder?"
    return Table("adaptivity", title, columns, report.adapted, note)


def _calibration(report: RunReport) -> Table:
    columns = (
        Column("run", "run"),
        Column("episodes", "episodes"),
        Column("complexity", "score", "{:.3f}".format),
        Column("failures", "failure_rate", percent),
        Column("calibration error", "reliability.calibration_error", "{:.3f}".format),
        Column("Brier", "reliability.brier", "{:.3f}".format),
        Column("Brier of a constant", "reliability.constant_brier", "{:.3f}".format),
        Column("AUROC", "auroc.value", "{:.2f}".format),
        Column("95 % of AUROC", "auroc.interval", "{:.2f}".format),
        Column("remark", lambda one: one.reliability.note or one.auroc.note),
    )
    note = (
        "Complexity: mean over the steps of an episode, each before its first round. Calibration "
        "error: mean distance to the failure rate in 10 bins of equal counts. The constant is the "
        "run's own failure rate. AUROC: 0.5 tells failures from successes no better than chance."
    )
    title = "Is complexity a probability of failure?"
    return Table("calibration", title, columns, report.calibrations, note)


def _failures(report: RunReport) -> Table:
    columns = (
        Column("run", "run"),
        Column("task", "task"),
        Column("seed", "seed", "{:d}".format),
        Column(report.unit, "cost", figure),
        Column("steps", "steps"),
        Column("ended", "ended"),
        Column("goal", lambda one: short(one.goal)),
    )
    return Table("failures", "The dearest failures", columns, report.failures)
