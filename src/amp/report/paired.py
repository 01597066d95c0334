"""Runs on the same tasks, paired: who solved what, what was saved, and how sure that is.

`compare` pairs the episodes of two runs. `against` says it of a run and another one, `comparisons`
of many runs and a reference, with their tests corrected as one family. What a test could have seen
is the smallest detectable difference of its kind.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import get_args

import numpy as np

from amp.cost import Cost, Costing
from amp.errors import InvalidInputError
from amp.report.metrics import Interval
from amp.report.runs import Kind, Run, tasks_of
from amp.report.stats import (
    bootstrap_interval,
    holm,
    optional,
    ratio,
    saving,
    sign_flip_test,
    t_quantile,
    task_totals,
)
from amp.types import Episode

MEASURED: tuple[Costing, ...] = (Costing("tokens"), Costing("written"), Costing("seconds"))
"""What every model's runs tell."""


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
        savings: by cost.
    """

    tasks: int
    pairs: int
    won: int
    lost: int
    p_value: float
    test: str
    savings: dict[Cost, Saving]


def exact_mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value that won and lost are equally likely (McNemar 1947).

    The binomial test of the discordant pairs with p = 1/2; 1.0 if there are none.

    Raises:
        InvalidInputError: if one is negative.
        MissingDependencyError: if scipy is not installed.
    """
    if won < 0 or lost < 0:
        raise InvalidInputError(f"{won} won and {lost} lost: expected counts of 0 or more")
    if won + lost == 0:
        return 1.0
    stats = optional("scipy.stats", "a test of two runs")
    return float(stats.binomtest(won, won + lost).pvalue)


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
    costs: Sequence[Costing] = MEASURED,
) -> Comparison:
    """Compares two runs task by task.

    Args:
        first: the run that is compared with.
        second: the other.
        costs: by which savings are reported, as far as the first run spent any.

    Raises:
        InvalidInputError: if they did not do the same tasks, or one did a task twice with the same
            seed; the message names one.
    """
    one, two = _by_task(first), _by_task(second)
    if not one or one.keys() != two.keys():
        single = sorted(one.keys() ^ two.keys())
        which = (
            f": only one of them did {single[0][0]} (seed {single[0][1]})" if single else ": none"
        )
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
        cost.cost: paired_saving(
            [cost.of(a.usage) for a, _ in pairs], [cost.of(b.usage) for _, b in pairs], tasks
        )
        for cost in costs
        if any(cost.of(a.usage) for a, _ in pairs)
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
    """One run against another, such as the reference.

    Attributes:
        name: of the run.
        against: name of the other.
        tasks: how many.
        pairs: runs of tasks that are paired.
        won: pairs that only this run solved.
        lost: pairs that only the other solved.
        difference: of the success rates.
        interval: of that, 95 %, by paired bootstrap over tasks; None if there is but one.
        p_value: of won against lost.
        holm: that, adjusted for all tests of the report; None if it is none of them.
        test: what the p-value is of.
        detectable: smallest difference that the test would have seen with a power of 80 %; None
            if there is none or it is unknown.
        saving: of cost; None where the other cost nothing.
        saving_holm: its p-value, adjusted for all tests of the report; None if it is none of them.
        detectable_saving: smallest share that would have been seen; None if both cost the same on
            every task, or there is but one.
    """

    name: str
    against: str
    tasks: int
    pairs: int
    won: int
    lost: int
    difference: float
    interval: Interval | None
    p_value: float
    holm: float | None
    test: str
    detectable: float | None
    saving: Saving | None
    saving_holm: float | None
    detectable_saving: float | None

    @property
    def saving_share(self) -> float:
        """The share of cost that it saved; 0 where the other cost nothing."""
        return 0.0 if self.saving is None else self.saving.share


def against(other: Run, run: Run, cost_of: Callable[[Episode], float]) -> Versus:
    """A run against another one on the same tasks, without any correction.

    Raises:
        MissingDependencyError: if scipy is not installed.
    """
    result = compare(other.episodes, run.episodes, costs=())
    theirs, ours = _task_sums(other, _solved), _task_sums(run, _solved)
    nets = [ours[task] - theirs[task] for task in theirs]
    first, second = _task_sums(other, cost_of), _task_sums(run, cost_of)
    spent = [first[task] for task in first], [second[task] for task in first]
    saving = paired_saving(*spent) if any(spent[0]) else None
    several = result.tasks > 1
    return Versus(
        name=run.name,
        against=other.name,
        tasks=result.tasks,
        pairs=result.pairs,
        won=result.won,
        lost=result.lost,
        difference=(result.won - result.lost) / result.pairs,
        interval=_interval(other, nets) if several else None,
        p_value=result.p_value,
        holm=None,
        test=result.test,
        detectable=_detectable(result, nets),
        saving=saving,
        saving_holm=None,
        detectable_saving=detectable_mean_difference(result.tasks, saving_deviation(*spent))
        if saving is not None and several and spent[0] != spent[1]
        else None,
    )


def comparisons(
    reference: Run,
    others: Sequence[Run],
    cost_of: Callable[[Episode], float],
    *,
    tested: Collection[Kind] = get_args(Kind),
    test_savings: bool = True,
) -> tuple[tuple[Versus, ...], int]:
    """Every other run against the reference, and how many tests Holm's correction counts.

    Args:
        reference: the run that the others are compared with.
        others: the runs.
        cost_of: cost of an episode.
        tested: kinds of runs whose difference is tested; that of the others is only reported.
        test_savings: whether savings are tests of the family, too.

    Raises:
        MissingDependencyError: if scipy is not installed.
    """
    rows = [against(reference, run, cost_of) for run in others]
    places = [place for place, run in enumerate(others) if run.kind in tested]
    saved = [place for place in places if test_savings and rows[place].saving is not None]
    p_values = [rows[place].p_value for place in places]
    p_values += [saving.p_value for place in saved if (saving := rows[place].saving)]
    adjusted = iter(holm(p_values))
    for place in places:
        rows[place] = replace(rows[place], holm=next(adjusted))
    for place in saved:
        rows[place] = replace(rows[place], saving_holm=next(adjusted))
    return tuple(rows), len(p_values)


def detectable_with_one_seed(one: Run, other: Run) -> float | None:
    """Smallest difference that the exact test would have seen if each task had been done once.

    As many tasks are taken to differ as do between these two runs in their first seed. It answers
    what a run of the planner on these tasks could show, where the seeds are orders of recorded
    samples, of which there are as many as one likes.

    Returns:
        None if they never differ.

    Raises:
        MissingDependencyError: if scipy is not installed.
    """
    first = min(one.seeds)
    solved = {e.task.id: e.success is True for e in one.episodes if e.task.seed == first}
    differ = sum(
        (e.success is True) != solved[e.task.id] for e in other.episodes if e.task.seed == first
    )
    return detectable_success_difference(len(solved), differ / len(solved)) if differ else None


def _interval(run: Run, nets: Sequence[float]) -> Interval:
    """Of a difference in success, from the net wins of each task."""
    pairs = list(Counter(tasks_of(run.episodes)).values())
    return bootstrap_interval(range(len(pairs)), (nets, pairs), ratio)


def _detectable(result: Comparison, nets: Sequence[float]) -> float | None:
    discordant = result.won + result.lost
    if not discordant:
        return None
    if result.pairs == result.tasks:
        return detectable_success_difference(result.tasks, discordant / result.pairs)
    if result.tasks < 2:
        return None
    seeds = result.pairs / result.tasks
    return detectable_mean_difference(result.tasks, stdev(net / seeds for net in nets))


def _task_sums(run: Run, amount_of: Callable[[Episode], float]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for episode in run.episodes:
        sums[episode.task.id] += amount_of(episode)
    return sums


def _solved(episode: Episode) -> float:
    return float(episode.success is True)


def detectable_success_difference(
    tasks: int, discordance: float, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """Smallest difference of two success rates that the exact McNemar test would probably see.

    The power is exact: over the binomial number of discordant tasks and of wins among them.

    Args:
        tasks: how many both policies did once.
        discordance: share of tasks that exactly one of them solves, in (0, 1].
        power: wanted probability of p <= alpha, two-sided.
        alpha: level of the test.

    Returns:
        In (0, discordance], or None if not even wins on every discordant task would be seen.

    Raises:
        InvalidInputError: if an argument is out of range.
        MissingDependencyError: if scipy is not installed.
    """
    if tasks < 1 or not 0.0 < discordance <= 1.0:
        raise InvalidInputError(
            f"{tasks} tasks and a discordance of {discordance}: expected at least 1, and (0, 1]"
        )
    _check_levels(power, alpha)
    binom = optional("scipy.stats", "the smallest detectable difference").binom
    solve = optional("scipy.optimize", "the smallest detectable difference").brentq
    sizes = np.arange(tasks + 1)
    chances = binom.pmf(sizes, tasks, discordance)
    sizes, chances = sizes[chances > 1e-12], chances[chances > 1e-12]
    losses = binom.ppf(alpha / 2, sizes, 0.5)
    losses -= binom.cdf(losses, sizes, 0.5) > alpha / 2  # as many at most are significant

    def excess(difference: float) -> float:
        win = 0.5 + difference / (2 * discordance)
        seen = binom.cdf(losses, sizes, win) + binom.sf(sizes - losses - 1, sizes, win)
        return float(chances @ seen) - power

    if excess(discordance) < 0:
        return None
    return float(solve(excess, 0.0, discordance, xtol=1e-6))


def detectable_mean_difference(
    tasks: int, deviation: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Smallest paired mean difference that a two-sided t-test would probably see.

    (t(1 - alpha / 2) + t(power)) deviation / sqrt(n), with n - 1 degrees of freedom (Lachin 1981).

    Args:
        tasks: how many pairs, at least 2.
        deviation: standard deviation of the differences over tasks, in any unit; for a share saved
            it is `saving_deviation`.
        power: wanted probability of p <= alpha.
        alpha: level of the test.

    Returns:
        In the unit of the deviation.

    Raises:
        InvalidInputError: if an argument is out of range.
    """
    if tasks < 2 or not 0.0 <= deviation < math.inf:
        raise InvalidInputError(
            f"{tasks} tasks and a deviation of {deviation}: expected at least 2, and 0 or more"
        )
    _check_levels(power, alpha)
    levels = t_quantile(1 - alpha / 2, tasks - 1) + t_quantile(power, tasks - 1)
    return levels * deviation / math.sqrt(tasks)


def saving_deviation(first: Sequence[float], second: Sequence[float]) -> float:
    """Standard deviation over tasks that stands behind a share saved.

    That of ((1 - s) a - b) / mean(a), the first-order change of s = 1 - sum(b) / sum(a) by one task
    (ratio estimator, Cochran 1977, section 6.3).

    Raises:
        InvalidInputError: if lengths differ, a cost is not finite, there are fewer than two tasks,
            or the first costs add up to nothing.
    """
    rows = task_totals(range(len(first)), [first, second])
    if len(rows) < 2 or not rows[:, 0].sum() > 0:
        raise InvalidInputError("a deviation needs at least 2 tasks, and first costs above 0")
    kept = rows[:, 1].sum() / rows[:, 0].sum()
    return float(np.std((kept * rows[:, 0] - rows[:, 1]) / rows[:, 0].mean(), ddof=1))


def _check_levels(power: float, alpha: float) -> None:
    if not 0.0 < alpha < power < 1.0:
        raise InvalidInputError(
            f"alpha is {alpha} and power {power}: expected 0 < alpha < power < 1"
        )
