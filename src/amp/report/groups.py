"""Success and cost by group of tasks, thirds by difficulty or levels, beside fixed runs.

A run is worth something in a group if it solves more there than fixed runs of equal cost do: the
best mixture of two of them (`amp.report.frontier`), from the tasks of that group alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from amp.report.adaptivity import THIRDS, task_difficulties
from amp.report.frontier import Point, hull
from amp.report.metrics import Interval
from amp.report.runs import Kind, Run
from amp.report.stats import mean_interval
from amp.report.tables import Column, Table, figure
from amp.types import Episode, Usage

Mixture = Sequence[tuple[float, str]]
"""Shares of the tasks, and the name of the run that does them."""


@dataclass(frozen=True, slots=True)
class TaskMeans:
    """What a run does of each task, on average over its seeds.

    Attributes:
        success: by task, the share of its episodes that succeed.
        cost: by task.
    """

    success: Mapping[str, float]
    cost: Mapping[str, float]

    @classmethod
    def of(cls, episodes: Iterable[Episode], cost_of: Callable[[Usage], float]) -> TaskMeans:
        """That of some episodes."""
        success, cost = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
        for episode in episodes:
            success[episode.task.id].append(float(episode.success is True))
            cost[episode.task.id].append(cost_of(episode.usage))
        return cls(_means(success), _means(cost))

    def on(self, tasks: Iterable[str]) -> TaskMeans:
        """That of some of the tasks."""
        kept = [task for task in tasks if task in self.success]
        return TaskMeans({t: self.success[t] for t in kept}, {t: self.cost[t] for t in kept})

    @property
    def point(self) -> Point:
        """Mean cost and success."""
        return Point(fmean(self.cost.values()), fmean(self.success.values()))


@dataclass(frozen=True, slots=True)
class GroupGain:
    """A run on the tasks of one group.

    Attributes:
        group: its name.
        kind: of the run.
        run: its name.
        tasks: how many.
        success: mean over the tasks.
        cost: likewise.
        fixed: success of the best mixture of fixed runs of equal cost there, or of the cheapest one
            where none is so cheap.
        gain: success less that; None for fixed runs.
        interval: of the gain over that very mixture; None for fixed runs, and of one task.
    """

    group: str
    kind: Kind
    run: str
    tasks: int
    success: float
    cost: float
    fixed: float
    gain: float | None
    interval: Interval | None


def task_groups(runs: Sequence[Run]) -> dict[str, str]:
    """The group of each task: its third by difficulty among these, else its level.

    Thirds are of equal size, but for one task, so that each says something, and are for tasks of
    three difficulties at least; equally difficult tasks are parted in their order. Empty where
    the benchmark tells neither difficulty nor level.
    """
    scores = {task: d.score for task, d in task_difficulties(runs, None).scores.items()}
    if len(set(scores.values())) >= len(THIRDS):
        ordered = sorted(scores, key=scores.__getitem__)
        return {t: THIRDS[len(THIRDS) * n // len(ordered)] for n, t in enumerate(ordered)}
    levels = {e.task.id: e.task.data.get("level") for run in runs for e in run.episodes}
    return {task: level for task, level in levels.items() if isinstance(level, str)}


def mixture_at(points: Mapping[str, Point], cost: float) -> Mixture:
    """The best mixture of points at a mean cost; below that of all, the cheapest one alone."""
    corners = hull([Point(p.cost, p.success, name) for name, p in points.items()])
    if cost <= corners[0].cost:
        return [(1.0, corners[0].name)]
    right = next((at for at, corner in enumerate(corners) if corner.cost > cost), None)
    if right is None:
        return [(1.0, corners[-1].name)]
    one, two = corners[right - 1], corners[right]
    share = (cost - one.cost) / (two.cost - one.cost)
    return [(1.0 - share, one.name), (share, two.name)]


def gains_by_group(
    runs: Sequence[Run], group_of: Mapping[str, str], cost_of: Callable[[Usage], float]
) -> tuple[GroupGain, ...]:
    """Every run in every group, in the order of the groups' names in ``group_of``.

    Args:
        runs: of the same tasks, fixed ones among them.
        group_of: of each task, by its id; others are left out.
        cost_of: what a usage costs.
    """
    means = {run.name: TaskMeans.of(run.episodes, cost_of) for run in runs}
    found = []
    for group in dict.fromkeys(group_of.values()):
        tasks = [task for task, its in group_of.items() if its == group]
        here = {name: one.on(tasks) for name, one in means.items()}
        points = {run.name: here[run.name].point for run in runs if run.kind == "fixed"}
        for run in runs:
            mine = here[run.name]
            mixed = mixture_at(points, mine.point.cost)
            beside = {
                task: sum(share * here[name].success[task] for share, name in mixed)
                for task in mine.success
            }
            gains = [mine.success[task] - beside[task] for task in mine.success]
            several, compared = len(gains) > 1, run.kind != "fixed"
            found.append(
                GroupGain(
                    group,
                    run.kind,
                    run.name,
                    len(gains),
                    mine.point.success,
                    mine.point.cost,
                    fmean(beside.values()),
                    fmean(gains) if compared else None,
                    mean_interval(list(mine.success), gains) if compared and several else None,
                )
            )
    return tuple(found)


def groups_table(gains: Sequence[GroupGain], unit: str) -> Table:
    """What `gains_by_group` found."""

    def gain(one: GroupGain) -> str:
        sure = one.interval
        between = "" if sure is None else f" ({sure.low:+.2f} to {sure.high:+.2f})"
        return "" if one.gain is None else f"{one.gain:+.3f}{between}"

    columns = (
        Column("group", "group"),
        Column("tasks", "tasks"),
        Column("kind", "kind"),
        Column("policy", "run"),
        Column("success", "success", "{:.3f}".format),
        Column(unit, "cost", figure),
        Column("fixed, equal cost", "fixed", "{:.3f}".format),
        Column("more than these", gain),
    )
    note = (
        "fixed, equal cost: the best mixture of fixed runs on these tasks; where a policy is"
        " cheaper than all of them, the cheapest one, which costs more"
    )
    return Table("groups", "By group of tasks", columns, gains, note)


def _means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {task: fmean(each) for task, each in values.items()}
