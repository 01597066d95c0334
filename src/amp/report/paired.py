"""Two runs on the same tasks, paired: who solved what, and what was saved.

Runs against a reference run: tests as one family, and what they could have seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import stdev

from amp.errors import InvalidInputError
from amp.report.metrics import Interval
from amp.report.runs import Run
from amp.report.stats import (
    bootstrap_interval,
    detectable_mean_difference,
    detectable_success_difference,
    holm,
    saving,
    saving_deviation,
    sign_flip_test,
    task_totals,
)
from amp.types import Episode


@dataclass(frozen=True, slots=True)
class Saving:
    """Share of a cost that the second run saved; negative if it spent more.

    Attributes:
        share: 1 - second / first, of the sums over all tasks.
        interval: paired bootstrap over tasks, 95 %; None if there is but one task.
        p_value: that both cost the same on every task, by flipping signs over tasks, two-sided.
    """

    share: float
    interval: Interval | None
    p_value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second run against the first.

    Attributes:
        tasks: how many tasks both did.
        pairs: how many runs of them are paired: more than tasks if there are several seeds.
        won: pairs that only the second solved.
        lost: pairs that only the first solved.
        p_value: of won against lost, two-sided.
        test: what the p-value is of: the exact McNemar test or, as pairs of one task are not
            independent, sign flips over tasks if there are several seeds.
        savings: by name: tokens, completion_tokens, seconds.
    """

    tasks: int
    pairs: int
    won: int
    lost: int
    p_value: float
    test: str
    savings: dict[str, Saving]


def exact_mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value that won and lost are equally likely (McNemar 1947).

    The binomial test of the discordant pairs with p = 1/2; 1.0 if there are none.

    Raises:
        InvalidInputError: if one is negative.
    """
    if won < 0 or lost < 0:
        raise InvalidInputError(f"{won} won and {lost} lost: expected counts of 0 or more")
    n = won + lost
    tail = sum(comb(n, i) for i in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / (1 << n))


def paired_saving(
    first: Sequence[float],
    second: Sequence[float],
    tasks: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Saving:
    """Share of the first cost that the second one saves.

    Args:
        first: costs of the first run, 0 or more.
        second: those of the second, in the same order.
        tasks: task of each pair, where a task has several; else each is one of its own.
        seed: of the resamples.

    Raises:
        InvalidInputError: if the lengths differ, a cost is negative or not finite, or the first
            costs add up to nothing.
    """
    which = range(len(first)) if tasks is None else tasks
    totals = task_totals(which, (first, second))
    least = min((*first, *second), default=0.0)
    if least < 0:
        raise InvalidInputError(f"a cost is {least}, expected 0 or more")
    if not totals[:, 0].sum() > 0:
        raise InvalidInputError("the first costs add up to nothing, so no share can be saved")
    several = len(totals) > 1
    interval = bootstrap_interval(which, (first, second), saving, seed=seed) if several else None
    p_value = sign_flip_test((totals[:, 0] - totals[:, 1]).tolist(), seed=seed)
    return Saving(float(saving(totals.sum(axis=0))), interval, p_value)


def compare(
    first: Sequence[Episode],
    second: Sequence[Episode],
    *,
    costs: Sequence[str] = ("tokens", "completion_tokens", "seconds"),
) -> Comparison:
    """Compares two runs task by task.

    Args:
        first: the run that is compared with.
        second: the other.
        costs: the fields of `Usage` of which savings are told, as far as the first run spent any.

    Raises:
        InvalidInputError: if they did not do the same tasks, or one did a task twice with the same
            seed; the message names one.
    """
    one, two = _by_task(first), _by_task(second)
    if not one or one.keys() != two.keys():
        odd = sorted(one.keys() ^ two.keys())
        which = f": only one of them did {odd[0][0]} (seed {odd[0][1]})" if odd else ": none"
        raise InvalidInputError(f"the runs cannot be paired, they did not do the same tasks{which}")
    pairs = [(one[key], two[key]) for key in one]
    tasks = [task for task, _ in one]
    nets = [(b.success is True) - (a.success is True) for a, b in pairs]
    won, lost = nets.count(1), nets.count(-1)
    net_of: dict[str, int] = defaultdict(int)
    for task, net in zip(tasks, nets, strict=True):
        net_of[task] += net
    if len(net_of) == len(pairs):
        test, p_value = "exact McNemar", exact_mcnemar(won, lost)
    else:
        test, p_value = "sign flips over tasks", sign_flip_test(list(net_of.values()))
    savings = {
        name: paired_saving(
            [getattr(a.usage, name) for a, _ in pairs],
            [getattr(b.usage, name) for _, b in pairs],
            tasks,
        )
        for name in costs
        if any(getattr(a.usage, name) for a, _ in pairs)
    }
    return Comparison(len(net_of), len(pairs), won, lost, p_value, test, savings)


def _by_task(episodes: Sequence[Episode]) -> dict[tuple[str, int], Episode]:
    found: dict[tuple[str, int], Episode] = {}
    for episode in episodes:
        key = (episode.task.id, episode.task.seed)
        if key in found:
            raise InvalidInputError(
                f"the runs cannot be paired, one of them did {key[0]} (seed {key[1]}) twice"
            )
        found[key] = episode
    return found


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
