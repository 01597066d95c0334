"""Whether more was spent where the model fails more: adaptivity effectiveness (spec 2.6).

Difficulty is that for the model at hand: its failure rate on a step or task over K samples. The
samples should be others than those that the allocation was made with, and the tasks not those of
the training; else what correlates is luck that both had a share in. A failure rate of few samples
is noisy, which draws the correlation towards 0: the figures are lower bounds of what stands behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from amp.errors import InvalidInputError
from amp.evaluate.ranks import Array, weighted_kendall, weighted_spearman
from amp.evaluate.validity import RESAMPLES, Estimate, estimate


@dataclass(frozen=True, slots=True)
class Spent:
    """What a step, or a whole task, was given, and how hard it is.

    Attributes:
        task: id of its task; rows of one task are resampled together.
        amount: what was allocated, in any unit: tokens, beam width, rounds.
        failure_rate: share of K samples of the model that failed there, in [0, 1].

    Raises:
        InvalidInputError: if the amount is not finite or the failure rate no share.
    """

    task: str
    amount: float
    failure_rate: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.amount):
            raise InvalidInputError(
                f"amount of task {self.task} is {self.amount}, expected a finite number"
            )
        if not 0.0 <= self.failure_rate <= 1.0:
            raise InvalidInputError(
                f"failure rate of task {self.task} is {self.failure_rate}, expected 0 to 1"
            )


@dataclass(frozen=True, slots=True)
class Adaptivity:
    """Rank correlations of what was allocated with the failure rate, each in [-1, 1].

    Attributes:
        spearman: with average ranks for ties.
        kendall: tau-b.
    """

    spearman: Estimate
    kendall: Estimate


def adaptivity(rows: Sequence[Spent], resamples: int = RESAMPLES, seed: int = 0) -> Adaptivity:
    """Rank correlations of amounts with failure rates, with intervals by bootstrap over tasks.

    Without variation there is no correlation: the value is then None, and the note says what did
    not vary. An interval leaves out the resamples without variation, and tells how many.
    """
    amounts = np.array([row.amount for row in rows], dtype=np.float64)
    rates = np.array([row.failure_rate for row in rows], dtype=np.float64)
    tasks, undefined = [row.task for row in rows], _undefined(rows)

    def correlation(weighted: Callable[[Array, Array, Array], Array]) -> Estimate:
        return estimate(tasks, partial(weighted, amounts, rates), undefined, resamples, seed)[0]

    return Adaptivity(correlation(weighted_spearman), correlation(weighted_kendall))


def _undefined(rows: Sequence[Spent]) -> str:
    if not rows:
        return "not defined: no rows"
    if len({row.amount for row in rows}) == 1:
        return f"not defined: all were given {rows[0].amount:g}"
    return f"not defined: all have the failure rate {rows[0].failure_rate:g}"
