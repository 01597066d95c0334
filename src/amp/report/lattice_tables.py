"""Tables of policies of long plans: what they cost in every unit, and how far they adapt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import fmean

from amp.cost import COSTS, Cost, Costing, costing
from amp.errors import InvalidInputError
from amp.report.adaptivity import RankCorrelations
from amp.report.runs import Run
from amp.report.tables import Column, Table, correlation, figure
from amp.report.validity import Estimate

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
