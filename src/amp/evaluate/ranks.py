"""Rank statistics of scores and outcomes, and a bootstrap that resamples whole tasks.

Everything is written for weights: a resample is a row of counts that says how often each state
occurs in it, so thousands of resamples are a few passes over one matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
_CELLS = 4_000_000  # resamples x rows that are worked on at once: 32 MB an array


def auroc(scores: Sequence[float], failed: Sequence[bool]) -> float | None:
    """Probability that a random failure scores above a random success; a tie counts half.

    Returns:
        A value in [0, 1], or None if there are no failures or no successes.

    Raises:
        ValueError: if the lengths differ or a score is not finite.
    """
    return _at_face_value(weighted_auroc, scores, failed)


def spearman(scores: Sequence[float], outcomes: Sequence[float]) -> float | None:
    """Rank correlation with average ranks for ties (Spearman 1904).

    The outcomes may be failures (0 and 1) or, with a row a task, failure rates.

    Returns:
        A value in [-1, 1], or None if the scores or the outcomes are all equal.

    Raises:
        ValueError: if the lengths differ or a value is not finite.
    """
    return _at_face_value(weighted_spearman, scores, outcomes)


def kendall(scores: Sequence[float], outcomes: Sequence[float]) -> float | None:
    """Kendall's tau-b: pairs in the same order less pairs in the opposite one (Kendall 1945).

    Their share of the geometric mean of the pairs that the scores, and the outcomes, do not tie.

    Returns:
        A value in [-1, 1], or None if the scores or the outcomes are all equal.

    Raises:
        ValueError: if the lengths differ or a value is not finite.
    """
    return _at_face_value(weighted_kendall, scores, outcomes)


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


def _at_face_value(
    statistic: Callable[[Array, Array, Array], Array],
    scores: Sequence[float],
    outcomes: Sequence[float] | Sequence[bool],
) -> float | None:
    one, two = np.array(scores, dtype=np.float64), np.array(outcomes, dtype=np.float64)
    if one.shape != two.shape:
        raise ValueError(f"{one.size} scores do not go with {two.size} outcomes")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError("scores and outcomes must be finite; leave out what is missing")
    value = float(statistic(one, two, np.ones((1, one.size)))[0])
    return None if math.isnan(value) else value


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
        seed: of the draws.

    Returns:
        One value a resample. Paired comparisons come from a statistic that compares.
    """
    names, which = np.unique(np.array(tasks), return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(
        names.size, np.full(names.size, 1 / names.size), size=resamples
    )
    chunk = max(1, _CELLS // len(tasks))
    return np.concatenate(
        [
            statistic(draws[start : start + chunk][:, which].astype(np.float64))
            for start in range(0, resamples, chunk)
        ]
    )
