"""The tables of a run report: those of what was done stand here, the others in `runclaims`."""

from __future__ import annotations

from amp.evaluate.runclaims import (
    adapted_table,
    areas_table,
    calibration_table,
    gains_table,
    savings_table,
    success_table,
    thirds_table,
    unit,
)
from amp.evaluate.runline import RunLine
from amp.evaluate.runreport import RunReport
from amp.evaluate.tabular import (
    Column,
    Table,
    Value,
    figure,
    percent,
    short,
)

_ORACLE = (
    "Oracle: task by task the cheapest fixed run that succeeds, and the cheapest if none does; it "
    "knows the verdicts beforehand."
)


def tables(report: RunReport) -> list[Table]:
    """All tables that have rows, in the order in which they are read."""
    made = (
        _runs, success_table, savings_table, gains_table, areas_table, _spent, _parts, _unread,
        thirds_table, adapted_table, calibration_table, _failures,
    )  # fmt: skip
    return [table for make in made if (table := make(report)).rows]


def title(report: RunReport) -> str:
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
