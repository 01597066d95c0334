"""Tables of many policies, a line each: what people read first, costs in every unit, adaptivity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import get_args

from amp.cost import COSTS, Cost, Costing, costing
from amp.errors import InvalidInputError
from amp.files import writing
from amp.report.adaptivity import RankCorrelations
from amp.report.frontier import Gain
from amp.report.metrics import Interval
from amp.report.paired import Saving, Versus
from amp.report.report import RunReport
from amp.report.runs import Kind, Run, RunLine
from amp.report.tables import Column, Table, correlation, figure, markdown_rows, write_csv
from amp.report.validity import Estimate


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """All that a report says of one run, or of the oracle, in its overview.

    Attributes:
        line: its figures.
        reference: whether it is the run that the others are compared with.
        gain: against the front of the fixed runs; None for these, or without a curve.
        versus: against the reference; None for that itself.
    """

    line: RunLine
    reference: bool
    gain: Gain | None
    versus: Versus | None

    @property
    def name(self) -> str:
        """The run's; of the oracle no more than that."""
        return self.line.kind if self.line.kind == "oracle" else self.line.name

    def mean(self, amount: str) -> float:
        """Mean of a field of `amp.types.Usage` over its episodes."""
        return float(getattr(self.line.summary.usage, amount)) / self.line.summary.episodes


def policies_of(report: RunReport) -> list[PolicyFigures]:
    """One a run, in the order of their kinds and costs, the oracle last."""
    order = get_args(Kind)
    lines = sorted(
        [*report.lines, *([] if report.oracle is None else [report.oracle])],
        key=lambda line: (order.index(line.kind), line.cost),
    )
    gains = {} if report.curve is None else {gain.name: gain for gain in report.curve.gains}
    versus = {one.name: one for one in report.comparisons}
    return [
        PolicyFigures(
            line, line.name == report.reference, gains.get(line.name), versus.get(line.name)
        )
        for line in lines
    ]


def overview(report: RunReport) -> Table:
    """The table that people read first where there are many policies."""

    def name(one: PolicyFigures) -> str:
        return f"{one.name} (reference)" if one.reference else one.name

    def success(one: PolicyFigures) -> str:
        rate, interval = one.line.summary.success_rate, one.line.success_interval
        sure = "" if interval is None else f" ({interval.low:.2f}-{interval.high:.2f})"
        return f"{rate:.3f}{sure}"

    def above(one: PolicyFigures) -> str:
        if one.gain is None or one.gain.gain is None:
            return ""
        return _difference(one.gain.gain, one.gain.interval)

    columns = (
        Column("kind", "line.kind"),
        Column("policy", name),
        Column("success", success),
        Column("written", lambda one: one.mean("completion_tokens"), "{:.0f}".format),
        *_all_tokens(report),
        *([] if report.cost == "written" else [_paid(report)]),
        Column("calls", lambda one: one.mean("model_calls"), "{:.1f}".format),
        Column("above the front", above),
        Column(
            "of the oracle's gain",
            lambda one: "" if not one.gain or one.gain.share is None else f"{one.gain.share:.0%}",
        ),
        Column(f"{report.unit} saved", lambda one: _saved(one.versus and one.versus.saving)),
        Column(
            "p (Holm)",
            lambda one: (
                "" if not one.versus or one.versus.holm is None else f"{one.versus.holm:.2f}"
            ),
        ),
    )
    first = report.lines[0]
    smallest = "" if report.detectable is None else f"; detectable: {report.detectable:.2f}"
    note = (
        f"{first.tasks} tasks, samples in {first.seeds} orders{smallest}\n"
        "of the oracle's gain: success above the front by that of the oracle, each at its own "
        f"{report.unit}"
    )
    return Table("overview", "Policies", columns, policies_of(report), note)


def _all_tokens(report: RunReport) -> list[Column]:
    """All tokens beside another cost."""
    if report.cost == "tokens":
        return []
    return [Column("tokens", lambda one: one.mean("tokens"), "{:.0f}".format)]


def _paid(report: RunReport) -> Column:
    text = "{:.0f}".format if report.cost == "tokens" else figure
    return Column(report.unit, "line.cost", text)


def overview_data(report: RunReport) -> Table:
    """The same with every digit, for a data frame or a CSV file."""
    saved = f"{report.cost}_saved"
    columns = (
        Column("kind", "line.kind"),
        Column("policy", "name"),
        Column("reference", lambda one: int(one.reference)),
        Column("success", "line.summary.success_rate"),
        Column("success", "line.success_interval"),
        Column("completion_tokens", lambda one: one.mean("completion_tokens")),
        *_all_tokens(report),
        Column(report.cost, "line.cost"),
        Column("calls", lambda one: one.mean("model_calls")),
        Column("above_front", lambda one: one.gain and one.gain.gain),
        Column("above_front", lambda one: one.gain and one.gain.interval),
        Column("oracle_share", lambda one: one.gain and one.gain.share),
        Column(saved, lambda one: getattr(one.versus and one.versus.saving, "share", None)),
        Column(saved, lambda one: getattr(one.versus and one.versus.saving, "interval", None)),
        Column("p_holm", lambda one: one.versus and one.versus.holm),
    )
    return Table("overview", "Policies", columns, policies_of(report))


def overview_markdown(report: RunReport) -> str:
    """The overview and the duels as Markdown, with no heading."""
    shown = [table for table in (overview(report), duels(report)) if table.rows]
    lines = [line for table in shown for line in (*markdown_rows(table), "")]
    return "\n".join([*lines, shown[0].note, *filter(None, [report.price])])


def write_overview(report: RunReport, path: Path) -> None:
    """Writes the overview with every digit to a CSV file.

    Raises:
        InvalidInputError: if it cannot be written.
        MissingDependencyError: if pandas is not installed.
    """
    with writing(path):
        write_csv([replace(overview_data(report), name=path.stem)], path.parent)


def duels(report: RunReport) -> Table:
    """Some policies against each other one."""
    columns = (
        Column("policy", "name"),
        Column("against", "against"),
        Column("success gained", lambda one: _difference(one.difference, one.interval)),
        Column(f"{report.unit} saved", lambda one: _saved(one.saving)),
        Column("won : lost", lambda one: f"{one.won} : {one.lost}"),
        Column("p", "p_value", "{:.2f}".format),
    )
    return Table("duels", "One against each", columns, report.duels)


def _difference(value: float, interval: Interval | None) -> str:
    sure = "" if interval is None else f" ({interval.low:+.2f} to {interval.high:+.2f})"
    return f"{value:+.3f}{sure}"


def _saved(saving: Saving | None) -> str:
    if saving is None:
        return ""
    interval = saving.interval
    sure = "" if interval is None else f" ({interval.low:.0%} to {interval.high:.0%})"
    return f"{saving.share:.0%}{sure}"


_UNITS: tuple[Cost, ...] = ("tokens", "written", "flops", "dollars")


def costs(runs: Sequence[Run]) -> Table:
    """Success and mean cost of every run, in all units that are known of its model."""
    known: dict[Cost, Costing] = {}
    for unit in _UNITS:
        with suppress(InvalidInputError):  # not known of this model
            if runs and runs[0].card is not None:
                known[unit] = costing(unit, runs[0].card)

    def mean(measure: Costing) -> Callable[[Run], float]:
        return lambda run: fmean(measure.of(episode.usage) for episode in run.episodes)

    def success(run: Run) -> float:
        return fmean(episode.success is True for episode in run.episodes)

    columns = (
        Column("kind", "kind"),
        Column("policy", "name"),
        Column("success", success, "{:.3f}".format),
        *(Column(COSTS[unit], mean(measure), figure) for unit, measure in known.items()),
        Column("given up", lambda run: sum(e.ended == "given up" for e in run.episodes)),
        Column("episodes", lambda run: len(run.episodes)),
    )
    return Table("costs", "Mean cost of a task in every unit", columns, list(runs))


def adaptivity(rows: Sequence[tuple[str, int, RankCorrelations]]) -> Table:
    """Rank correlation of what steps were allocated with what the oracle would allocate there."""

    def told(estimate: Estimate) -> str:
        if estimate.value is None:
            return estimate.note
        sure = estimate.interval
        low_high = "" if sure is None else f" ({sure.low:+.2f} to {sure.high:+.2f})"
        return f"{correlation(estimate.value)}{low_high}"

    columns = (
        Column("policy", lambda row: row[0]),
        Column("steps", lambda row: row[1]),
        Column("Spearman", lambda row: told(row[2].spearman)),
        Column("Kendall", lambda row: told(row[2].kendall)),
    )
    return Table("adaptivity", "Allocated against needed, by step", columns, list(rows))
