"""How sure a figure is: intervals and tests that know which rows belong to one task.

Several runs or samples of one task are not independent, so everything here counts tasks: they are
drawn, or change sides, with all their rows. Wilson's interval is in `amp.evaluate.metrics`, the
exact McNemar test in `amp.evaluate.compare`, and what a test could have seen in
`amp.evaluate.power`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from amp.errors import InvalidInputError
from amp.evaluate.metrics import Interval, wilson

Array: TypeAlias = npt.NDArray[np.float64]
RESAMPLES = 10_000
_FLIPPED_CELLS = 2_000_000  # draws x tasks that are worked on at once: 16 MB an array
_RESAMPLED_CELLS = 100_000  # likewise; picking is twice as fast where a cache holds the array
_LEFT_OUT = 0.01  # more resamples without a value than this would bias what is left
_NORMAL = NormalDist()


def ratio(totals: Array) -> Array:
    """First total by the second one; against a column of ones it is the mean of a row."""
    return np.asarray(totals[..., 0] / totals[..., 1])


def saving(totals: Array) -> Array:
    """Share of the first total that the second one saves."""
    return np.asarray(1 - totals[..., 1] / totals[..., 0])


def difference_of_ratios(totals: Array) -> Array:
    """First by second total, less third by fourth, such as tokens a success of two policies."""
    return np.asarray(totals[..., 0] / totals[..., 1] - totals[..., 2] / totals[..., 3])


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
    is still too short there: below some 20 tasks, read it as a sketch.

    Args:
        tasks: task of every row; the rows of a task are drawn together (Field and Welsh 2007).
        columns: one value a row each; those of paired runs side by side keep the pairing.
        statistic: maps totals (... x columns) to one value each: `ratio`, `saving`,
            `difference_of_ratios`, or any other that works on totals.
        resamples: how many, at least 1.
        seed: of the draws.

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


def sign_flip_test(differences: Sequence[float], draws: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value that two policies are alike on every task (Fisher 1935, section 21).

    If they are, each task's difference could as well have had the other sign. All assignments of
    signs are looked at if there are no more than `draws` of them, else that many random ones, with
    the data counted among them (Phipson and Smyth 2010). On differences of -1, 0 and 1 this is the
    exact McNemar test; with several runs a task, unlike it, it stays valid.

    Args:
        differences: of each task, summed over its runs: net wins, or what was saved.
        draws: at most this many; the smallest p-value is 1 / (draws + 1).
        seed: of the draws.

    Raises:
        InvalidInputError: if there are no differences, or one is not finite.
    """
    sizes = _finite("differences", differences)
    if not sizes.size:
        raise InvalidInputError("no tasks to compare: the test needs at least 1 difference")
    observed = abs(sizes.sum())
    sizes = np.abs(sizes[sizes != 0])
    least = observed - 1e-9 * sizes.sum()  # sums that differ by rounding alone are equal
    if 2**sizes.size <= draws:
        masks = np.arange(2**sizes.size)[:, None] >> np.arange(sizes.size)
        return float(np.mean(np.abs((1.0 - 2.0 * (masks & 1)) @ sizes) >= least))
    rng, extreme = np.random.default_rng(seed), 1
    for size in _chunks(draws, sizes.size, _FLIPPED_CELLS):
        signs = 2.0 * rng.integers(0, 2, (size, sizes.size), dtype=np.int8) - 1.0
        extreme += int(np.count_nonzero(np.abs(signs @ sizes) >= least))
    return extreme / (draws + 1)


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
    """Quantile of Student's t, by expansion about the normal one (Abramowitz and Stegun 26.7.5).

    Between 0.025 and 0.975 it is off by less than 0.1 % from 4 degrees of freedom, by 1 % at 2.
    Written out, as comparing two runs should need no scipy.
    """
    z = _NORMAL.inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


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


def _chunks(draws: int, width: int, cells: int) -> list[int]:
    chunk = max(1, cells // max(1, width))
    return [min(chunk, draws - start) for start in range(0, draws, chunk)]


def _finite(name: str, values: Sequence[float]) -> Array:
    array = np.array(values, dtype=np.float64)
    if not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidInputError(
            f"{name}: value {index} is {array[index]}, expected a finite number"
        )
    return array
