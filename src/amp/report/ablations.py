"""Ablations: policies with one thing changed beside the whole, task by task (spec 2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean

from amp.errors import InvalidInputError
from amp.report.groups import TaskMeans, mixture_at
from amp.report.metrics import Interval
from amp.report.stats import bootstrap_interval, holm, mean_interval, saving, sign_flip_test
from amp.report.tables import Column, Table, figure


@dataclass(frozen=True, slots=True)
class Played:
    """What a policy did, over all seeds.

    Attributes:
        part: of the spec, to which it belongs.
        name: of the policy.
        means: by task.
        left: episodes that left the lattice, which count as lost.
        asks: what the tree of the first seed asks, as far as there is one.
    """

    part: str
    name: str
    means: TaskMeans
    left: int = 0
    asks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AblationRow:
    """A variant on the test tasks, beside the whole on the same ones.

    Attributes:
        part: of the spec.
        name: of the variant.
        tasks: how many.
        success: mean over tasks and seeds.
        cost: likewise.
        gained: success less that of the whole; None for the whole itself.
        gained_interval: at 95 %, over tasks; None of one task.
        saved: share of the whole's cost that it spends less; None where that is not defined.
        saved_interval: likewise.
        p: that both succeed alike, by Holm over all rows; None for the whole.
        left: episodes that left the lattice, which count as lost.
        asks: as `Played` says.
    """

    part: str
    name: str
    tasks: int
    success: float
    cost: float
    gained: float | None = None
    gained_interval: Interval | None = None
    saved: float | None = None
    saved_interval: Interval | None = None
    p: float | None = None
    left: int = 0
    asks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ablations:
    """What came of a sweep.

    Attributes:
        model: its name.
        training: how many tasks were learned on.
        seeds: how often.
        trade_off: of the whole.
        unit: of costs, as `amp.cost.COSTS` names them.
        rows: the whole first.
    """

    model: str
    training: int
    seeds: int
    trade_off: float
    unit: str
    rows: tuple[AblationRow, ...]


def mixture_beside(arms: Sequence[Played], whole: Played) -> Played:
    """The best mixture of arms at the cost of the whole; the one nearest to it if there is none."""
    means = {one.name: one.means for one in arms}
    mixed = mixture_at({name: one.point for name, one in means.items()}, whole.means.point.cost)
    made = TaskMeans(
        {t: sum(share * means[n].success[t] for share, n in mixed) for t in whole.means.success},
        {t: sum(share * means[n].cost[t] for share, n in mixed) for t in whole.means.cost},
    )
    if len(mixed) > 1:
        name = "best mixture of these at the whole's cost"
    elif made.point.cost > whole.means.point.cost:
        name = "cheapest of these, which costs more than the whole"
    else:
        name = "best of these, which costs no more than the whole"
    return Played(arms[0].part, name, made)


def ablation_rows(whole: Played, pairs: Sequence[tuple[Played, Played]]) -> tuple[AblationRow, ...]:
    """The whole, and each policy beside what it is compared with on the same tasks."""
    differences = [
        [one.means.success[task] - beside.means.success[task] for task in one.means.success]
        for one, beside in pairs
    ]
    chances = holm([sign_flip_test(each) for each in differences])
    compared = zip(pairs, differences, chances, strict=True)
    return _row(whole), *(_beside(*pair, each, p) for pair, each, p in compared)


def _row(one: Played) -> AblationRow:
    point, count = one.means.point, len(one.means.success)
    return AblationRow(
        one.part, one.name, count, point.success, point.cost, left=one.left, asks=one.asks
    )


def _beside(one: Played, beside: Played, gained: Sequence[float], p: float) -> AblationRow:
    tasks = list(one.means.success)
    costs = [[each.means.cost[task] for task in tasks] for each in (beside, one)]
    spent, sure = sum(costs[0]), None
    with suppress(InvalidInputError):  # of one task, or where most give up at once
        sure = bootstrap_interval(tasks, costs, saving)
    return replace(
        _row(one),
        gained=fmean(gained),
        gained_interval=mean_interval(tasks, gained) if len(tasks) > 1 else None,
        saved=1.0 - sum(costs[1]) / spent if spent else None,
        saved_interval=sure,
        p=p,
    )


def ablations_table(found: Ablations) -> Table:
    """The table of a sweep."""

    def with_interval(form: str, value: float | None, sure: Interval | None) -> str:
        if value is None:
            return ""
        between = "" if sure is None else f" ({sure.low:{form}} to {sure.high:{form}})"
        return f"{value:{form}}{between}"

    columns = (
        Column("part", "part"),
        Column("what", "name"),
        Column("tasks", "tasks"),
        Column("success", "success", "{:.3f}".format),
        Column(found.unit, "cost", figure),
        Column("success gained", lambda r: with_interval("+.3f", r.gained, r.gained_interval)),
        Column(f"{found.unit} saved", lambda r: with_interval(".0%", r.saved, r.saved_interval)),
        Column("left", "left"),
        Column("p (Holm)", lambda r: "" if r.p is None else f"{r.p:.2f}"),
    )
    note = (
        f"learned and tuned on {found.training} tasks; seeds: {found.seeds}; trade-off"
        f" {found.trade_off:g}; gained and saved: against the whole on the same tasks, 95 % over"
        " tasks; left: episodes that left the lattice, which count as lost"
    )
    return Table("ablations", "Ablations and transfer", columns, found.rows, note)
