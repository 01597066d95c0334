"""Runs against a reference run: tests as one family, and what they could have seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import stdev

from amp.evaluate.compare import Saving, compare, paired_saving
from amp.evaluate.power import (
    detectable_mean_difference,
    detectable_success_difference,
    saving_deviation,
)
from amp.evaluate.runs import Run
from amp.evaluate.statistics import holm
from amp.types import Episode


@dataclass(frozen=True, slots=True)
class Versus:
    """One run against the reference.

    Attributes:
        name: of the run.
        tasks: how many.
        pairs: runs of tasks that are paired.
        won: pairs that only this run solved.
        lost: pairs that only the reference solved.
        difference: of the success rates.
        p_value: of won against lost.
        holm: that, adjusted for all tests of the report.
        test: what the p-value is of.
        detectable: smallest difference that the test would have seen with a power of 80 %; None
            if there is none or it cannot be told.
        saving: of cost; None where the reference cost nothing.
        saving_holm: its p-value, adjusted for all tests of the report.
        detectable_saving: smallest share that would have been seen; None if both cost the same on
            every task, or there is but one.
    """

    name: str
    tasks: int
    pairs: int
    won: int
    lost: int
    difference: float
    p_value: float
    holm: float
    test: str
    detectable: float | None
    saving: Saving | None
    saving_holm: float | None
    detectable_saving: float | None


def comparisons(
    reference: Run, others: Sequence[Run], cost_of: Callable[[Episode], float]
) -> tuple[tuple[Versus, ...], int]:
    """Every other run against the reference, and how many tests Holm's correction counts.

    Raises:
        MissingDependencyError: if scipy is not installed.
    """
    rows = []
    for run in others:
        result = compare(reference.episodes, run.episodes, costs=())
        first, second = _task_sums(reference, cost_of), _task_sums(run, cost_of)
        spent = [first[task] for task in first], [second[task] for task in first]
        saving = paired_saving(*spent) if any(spent[0]) else None
        theirs, ours = _task_sums(reference, _solved), _task_sums(run, _solved)
        rows.append((run, result, saving, spent, [ours[task] - theirs[task] for task in first]))
    p_values = [row[1].p_value for row in rows] + [row[2].p_value for row in rows if row[2]]
    adjusted = iter(holm(p_values))
    success_holm = [next(adjusted) for _ in rows]
    found = []
    for (run, result, saving, spent, nets), corrected in zip(rows, success_holm, strict=True):
        found.append(
            Versus(
                name=run.name,
                tasks=result.tasks,
                pairs=result.pairs,
                won=result.won,
                lost=result.lost,
                difference=(result.won - result.lost) / result.pairs,
                p_value=result.p_value,
                holm=corrected,
                test=result.test,
                detectable=_detectable(result.tasks, result.pairs, result.won + result.lost, nets),
                saving=saving,
                saving_holm=None if saving is None else next(adjusted),
                detectable_saving=detectable_mean_difference(result.tasks, saving_deviation(*spent))
                if saving is not None and result.tasks > 1 and spent[0] != spent[1]
                else None,
            )
        )
    return tuple(found), len(p_values)


def _detectable(tasks: int, pairs: int, told_apart: int, nets: Sequence[float]) -> float | None:
    if not told_apart:
        return None
    if pairs == tasks:
        return detectable_success_difference(tasks, told_apart / pairs)
    if tasks < 2:
        return None
    seeds = pairs / tasks
    return detectable_mean_difference(tasks, stdev(net / seeds for net in nets))


def _task_sums(run: Run, amount_of: Callable[[Episode], float]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for episode in run.episodes:
        sums[episode.task.id] += amount_of(episode)
    return sums


def _solved(episode: Episode) -> float:
    return float(episode.success is True)
