"""How sure a figure is: intervals, tests and rank statistics that know which rows make a task.

Several runs or samples of one task are not independent, so everything here counts tasks: they are
drawn, or change sides, with all their rows. Quantiles and plain rank statistics are scipy's (extra
``report``). Written out are what scipy has not: a bootstrap of whole tasks, rank statistics under
weights, so that thousands of resamples are a few passes over one matrix, and Holm's correction.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from amp.errors import InvalidInputError, MissingDependencyError
from amp.report.metrics import Interval, wilson

Array: TypeAlias = npt.NDArray[np.float64]
RESAMPLES = 10_000
_FLIPPED_CELLS = 2_000_000  # flips x tasks that are worked on at once: 16 MB an array
_RESAMPLED_CELLS = 100_000  # likewise; picking is twice as fast where a cache holds the array
_LEFT_OUT = 0.01  # more resamples without a value than this would bias what is left
_NORMAL = NormalDist()


def optional(package: str, what: str) -> Any:
    """Imports a package of the extra ``report``.

    Args:
        package: a module's name.
        what: needs it, in words.

    Raises:
        MissingDependencyError: if it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs {package.partition('.')[0]}; run: pip install"
            " 'adaptive-meta-planning[report]'"
        ) from error


def ratio(totals: Array) -> Array:
    """First total by the second one; against a column of ones it is the mean of a row."""
    return np.asarray(totals[..., 0] / totals[..., 1])


def saving(totals: Array) -> Array:
    """Share of the first total that the second one saves."""
    return np.asarray(1 - totals[..., 1] / totals[..., 0])


def bootstrap_interval(
    tasks: Sequence[Hashable],
    columns: Sequence[Sequence[float]],
    statistic: Callable[[Array], Array],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of a statistic of column totals at 95 %, by resampling whole tasks.

    The expanded percentile interval: its levels are those that would be right for a mean of as
    many normal values as there are tasks (Hesterberg 2015, The American Statistician 69:371,
    section 5.3). On skewed costs of few tasks it covers more often than percentiles and BCa do. It
    is still too short there: below some 20 tasks, read it as a sketch. (`scipy.stats.bootstrap`
    resamples rows, and takes six times as long.)

    Args:
        tasks: task of every row; the rows of a task are drawn together (Field and Welsh 2007).
        columns: one value a row each; those of paired runs side by side keep the pairing.
        statistic: maps totals (... x columns) to one value each: `ratio`, `saving`, or any other
            that works on totals.
        resamples: how many, at least 1.
        seed: of the resamples.

    Raises:
        InvalidInputError: if lengths differ, a value is not finite, there are fewer than two
            tasks, or the statistic is not defined on the rows or on 1 % of the resamples.
    """
    rows = task_totals(tasks, columns)
    n = len(rows)
    if n < 2:
        raise InvalidInputError(f"an interval needs at least 2 tasks to resample, found {n}")
    with np.errstate(divide="ignore", invalid="ignore"):
        if not np.isfinite(statistic(rows.sum(axis=0))):
            raise InvalidInputError("the statistic is not defined: it divides by a total of 0")
        values = statistic(_resampled_totals(rows, resamples, np.random.default_rng(seed)))
    values = values[np.isfinite(values)]
    if values.size < (1 - _LEFT_OUT) * resamples:
        raise InvalidInputError(
            f"no interval: the statistic is not defined on {resamples - values.size} of {resamples}"
            f" resamples; {n} tasks are too few"
        )
    tail = _NORMAL.cdf(math.sqrt(n / (n - 1)) * t_quantile(0.025, n - 1))
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


def mean_interval(tasks: Sequence[Hashable], values: Sequence[float]) -> Interval:
    """Interval of the mean of a column at 95 %, by `bootstrap_interval`."""
    return bootstrap_interval(tasks, (values, [1.0] * len(values)), ratio)


def sign_flip_test(differences: Sequence[float], flips: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value that two policies are alike on every task (Fisher 1935, section 21).

    If they are, each task's difference could as well have had the other sign. All assignments of
    signs are tried if there are no more than `flips` of them, else that many random ones, with
    the data counted among them (Phipson and Smyth 2010). On differences of -1, 0 and 1 this is the
    exact McNemar test; with several runs a task, unlike it, it stays valid.

    Args:
        differences: of each task, summed over its runs: net wins, or what was saved.
        flips: at most this many; the smallest p-value is 1 / (flips + 1).
        seed: of the flips.

    Raises:
        InvalidInputError: if there are no differences, or one is not finite.
    """
    sizes = _finite("differences", differences)
    if not sizes.size:
        raise InvalidInputError("no tasks to compare: the test needs at least 1 difference")
    observed = abs(sizes.sum())
    sizes = np.abs(sizes[sizes != 0])
    least = observed - 1e-9 * sizes.sum()  # sums that differ by rounding alone are equal
    if 2**sizes.size <= flips:
        masks = np.arange(2**sizes.size)[:, None] >> np.arange(sizes.size)
        return float(np.mean(np.abs((1.0 - 2.0 * (masks & 1)) @ sizes) >= least))
    rng, extreme = np.random.default_rng(seed), 1
    for size in _chunks(flips, sizes.size, _FLIPPED_CELLS):
        signs = 2.0 * rng.integers(0, 2, (size, sizes.size), dtype=np.int8) - 1.0
        extreme += int(np.count_nonzero(np.abs(signs @ sizes) >= least))
    return extreme / (flips + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values of a family of tests, in its order (Holm 1979).

    To call those of at most 0.05 significant is wrong about any of them in at most 5 % of families.

    Raises:
        InvalidInputError: if one is no probability.
    """
    for p_value in p_values:
        if not 0.0 <= p_value <= 1.0:
            raise InvalidInputError(f"p-value is {p_value}, expected 0 to 1")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def clustered_rate_interval(tasks: Sequence[Hashable], successes: Sequence[bool]) -> Interval:
    """Interval of a success rate over several runs a task at 95 %.

    Wilson's interval of as many runs as would be worth the same if they were independent: their
    number by the design effect, the variance between tasks relative to that of independent runs
    (Korn and Graubard 1998; with Wilson: Dean and Pagano 2015). Where all or none succeed, runs of
    a task are counted as one. With one run a task it is Wilson's interval.

    Raises:
        InvalidInputError: if lengths differ, or there are fewer than two tasks.
    """
    totals = task_totals(tasks, [[float(success) for success in successes], [1.0] * len(tasks)])
    won, runs = totals[:, 0], totals[:, 1]
    n, m = runs.sum(), len(totals)
    if m < 2:
        raise InvalidInputError(f"an interval over tasks needs at least 2 of them, found {m}")
    if n == m:
        return wilson(int(won.sum()), m)
    rate = won.sum() / n
    if rate in (0.0, 1.0):
        return wilson(rate * m, m)
    between = m / (m - 1) * ((won - rate * runs) ** 2).sum()
    design_effect = max(1.0, between / (n * rate * (1 - rate)))
    # The design effect is itself estimated, from m tasks: hence t in place of z.
    worth = n / design_effect * (_NORMAL.inv_cdf(0.975) / t_quantile(0.975, m - 1)) ** 2
    return wilson(rate * worth, worth)


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t.

    Raises:
        MissingDependencyError: if scipy is not installed.
    """
    stats = optional("scipy.stats", "an interval over tasks")
    return float(stats.t.ppf(probability, freedom))


def task_totals(tasks: Sequence[Hashable], columns: Sequence[Sequence[float]]) -> Array:
    """Sums of the columns over the rows of each task, tasks x columns."""
    places: dict[Hashable, int] = {}
    which = [places.setdefault(task, len(places)) for task in tasks]
    for number, column in enumerate(columns, start=1):
        if len(column) != len(tasks):
            raise InvalidInputError(
                f"column {number} has {len(column)} values, but there are {len(tasks)} rows"
            )
    checked = [_finite(f"column {number}", c) for number, c in enumerate(columns, start=1)]
    return np.stack([np.bincount(which, c, len(places)) for c in checked], axis=1)


def _resampled_totals(rows: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Totals of resamples of whole rows, resamples x columns."""
    totals = []
    for size in _chunks(resamples, len(rows), _RESAMPLED_CELLS):
        drawn = rng.integers(0, len(rows), (size, len(rows)))
        totals.append(np.stack([column[drawn].sum(axis=1) for column in rows.T], axis=1))
    return np.concatenate(totals)


def _chunks(rows: int, width: int, cells: int) -> list[int]:
    chunk = max(1, cells // max(1, width))
    return [min(chunk, rows - start) for start in range(0, rows, chunk)]


def _finite(name: str, values: Sequence[float]) -> Array:
    array = np.array(values, dtype=np.float64)
    if not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidInputError(
            f"{name}: value {index} is {array[index]}, expected a finite number"
        )
    return array


_CELLS = 4_000_000  # resamples x rows that are worked on at once: 32 MB an array


def auroc(scores: Sequence[float], failed: Sequence[bool]) -> float | None:
    """Probability that a random failure scores above a random success; a tie counts half.

    Returns:
        A value in [0, 1], or None if there are no failures or no successes.

    Raises:
        ValueError: if the lengths differ or a score is not finite.
    """
    one, two = _columns(scores, failed)
    failures, successes = int(two.sum()), int((1 - two).sum())
    if not failures or not successes:
        return None
    ranks = optional("scipy.stats", "a rank statistic").rankdata(one)
    above = float(ranks[two == 1].sum()) - failures * (failures + 1) / 2  # Mann and Whitney's U
    return above / (failures * successes)


def weighted_auroc(scores: Array, failed: Array, weights: Array) -> Array:
    """AUROC under each row of weights, as if every state occurred as often as its weight says.

    Args:
        scores: one a state, n.
        failed: 1 for a failure, 0 for a success, n.
        weights: counts, resamples x n.

    Returns:
        One value a resample; NaN where it is not defined.
    """
    order, starts = _ties(scores)
    if not order.size:
        return np.full(len(weights), np.nan)
    ordered, lost = weights[:, order], failed[order]
    failures = np.add.reduceat(ordered * lost, starts, axis=1)
    successes = np.add.reduceat(ordered * (1.0 - lost), starts, axis=1)
    below = np.cumsum(successes, axis=1) - successes / 2
    with np.errstate(invalid="ignore"):
        pairs = failures.sum(axis=1) * successes.sum(axis=1)
        return np.asarray((failures * below).sum(axis=1) / pairs)


def weighted_spearman(scores: Array, outcomes: Array, weights: Array) -> Array:
    """Rank correlation under each row of weights; arguments and result as `weighted_auroc`."""
    total = weights.sum(axis=1, keepdims=True)
    # Ranks of any sample, ties and all, have the mean (n + 1) / 2.
    one = _average_ranks(scores, weights) - (total + 1) / 2
    two = _average_ranks(outcomes, weights) - (total + 1) / 2
    spread = (weights * one * one).sum(axis=1) * (weights * two * two).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights * one * two).sum(axis=1) / np.sqrt(spread))


def weighted_kendall(scores: Array, outcomes: Array, weights: Array) -> Array:
    """Tau-b under each row of weights; arguments and result as `weighted_auroc`.

    Time grows with the distinct outcomes: a handful where they are failure rates over K samples.
    """
    order = np.lexsort((outcomes, scores))
    scores, outcomes, weights = scores[order], outcomes[order], weights[:, order]
    first = np.searchsorted(scores, scores)  # where the states of the same score start
    surplus = np.zeros(len(weights))
    for level in np.unique(outcomes):
        at_level = np.flatnonzero(outcomes == level)
        lower = np.cumsum(np.pad(weights[:, at_level], ((0, 0), (1, 0))), axis=1)
        lower = lower[:, np.searchsorted(at_level, first)]  # weight of lower scores at the level
        surplus += (weights * np.sign(outcomes - level) * lower).sum(axis=1)
    untied = _untied_pairs(scores, weights) * _untied_pairs(outcomes, weights)
    with np.errstate(invalid="ignore"):
        return np.asarray(surplus / np.sqrt(untied))


def _untied_pairs(values: Array, weights: Array) -> Array:
    order, starts = _ties(values)
    if not order.size:
        return np.zeros(len(weights))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    return np.asarray((weights.sum(axis=1) ** 2 - (counts**2).sum(axis=1)) / 2)


def _average_ranks(values: Array, weights: Array) -> Array:
    order, starts = _ties(values)
    counts = np.add.reduceat(weights[:, order], starts, axis=1) if order.size else weights
    ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
    result = np.empty_like(weights)
    result[:, order] = np.repeat(ranks, np.diff(np.append(starts, order.size)), axis=1)
    return result


def _ties(values: Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The order of the values, and where in it each run of equal values starts."""
    order = np.argsort(values, kind="stable")
    return order, np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)


def _columns(
    scores: Sequence[float], outcomes: Sequence[float] | Sequence[bool]
) -> tuple[Array, Array]:
    one, two = np.array(scores, dtype=np.float64), np.array(outcomes, dtype=np.float64)
    if one.shape != two.shape:
        raise ValueError(f"{one.size} scores do not go with {two.size} outcomes")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError("scores and outcomes must be finite; leave out what is missing")
    return one, two


def bootstrap(
    tasks: Sequence[str],
    statistic: Callable[[Array], Array],
    resamples: int = 2000,
    seed: int = 0,
) -> Array:
    """Values of a statistic on resamples of whole tasks (cluster bootstrap, Field and Welsh 2007).

    Args:
        tasks: task of every row; all rows of a drawn task are kept, as often as it was drawn.
        statistic: maps weights (resamples x rows) to one value a resample, NaN if not defined.
        resamples: how many, at least 1.
        seed: of the resamples.

    Returns:
        One value a resample. Paired comparisons come from a statistic that compares.
    """
    names, which = np.unique(np.array(tasks), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(
        names.size, np.full(names.size, 1 / names.size), size=resamples
    )
    chunk = max(1, _CELLS // len(tasks))
    return np.concatenate(
        [
            statistic(counts[start : start + chunk][:, which].astype(np.float64))
            for start in range(0, resamples, chunk)
        ]
    )
