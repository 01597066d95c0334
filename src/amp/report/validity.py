"""Whether a complexity score tells failures from successes (spec 2.2, 2.6, 2.7).

Every figure is of rows: the states in which one could act, each with its scores and its outcome.
Rows of one task are not independent, so every interval resamples whole tasks. The direction of a
score and the best single feature are learned on training rows; figures are of held-out rows.

`reliability` asks whether a score is a probability of failure: of those scored 0.3, do 30 % fail?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from amp.report.metrics import Interval, wilson
from amp.report.stats import Array, auroc, bootstrap, weighted_auroc, weighted_spearman

RESAMPLES = 2000
_NO_INTERVAL = "no interval: one task"
_NO_RESAMPLE = "no interval: not defined on any resample"


@dataclass(frozen=True, slots=True)
class Row:
    """One state in which one could act, and whether acting failed.

    Attributes:
        task: id of its task.
        failed: whether acting there failed.
        scores: features and scorers by name; unavailable ones are absent.

    Raises:
        ValueError: if a score is not finite.
    """

    task: str
    failed: bool
    scores: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, score in self.scores.items():
            if not math.isfinite(score):
                raise ValueError(
                    f"score {name} of task {self.task} is {score}, expected a finite number;"
                    " leave out what is missing"
                )


@dataclass(frozen=True, slots=True)
class Oriented:
    """A score by name, and the way in which it points to failure: up (1) or down (-1)."""

    name: str
    direction: Literal[1, -1] = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic of some rows.

    Attributes:
        value: None where it is not defined.
        interval: 95 %, by bootstrap over tasks; None where it is not defined. A bootstrap sees
            nothing beyond its rows: of a perfect AUROC it says [1, 1], however few the tasks.
        rows: how many rows it is of.
        undefined: resamples that the interval leaves out, since the statistic is not defined there.
        note: why value or interval are not defined; empty if they are.
    """

    value: float | None
    interval: Interval | None = None
    rows: int = 0
    undefined: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """AUROC of the first score less that of the second, on the rows that have both.

    Attributes:
        first: the score that should be better.
        second: its rival.
        estimate: the difference; its interval is paired.
        not_above: share of the resamples in which the first is not above the second; None without
            an interval.
    """

    first: Oriented
    second: Oriented
    estimate: Estimate
    not_above: float | None = None


@dataclass(frozen=True, slots=True)
class Importance:
    """What a prediction loses when a group of features is shuffled (Breiman 2001).

    Attributes:
        group: its name.
        drop: mean loss of AUROC over the shuffles; None where the AUROC is not defined.
        interval: from the 2.5 % to the 97.5 % quantile over the shuffles. It tells how much chance
            there is in the shuffling, and nothing of how few the tasks are.
        note: why the drop is not defined or says nothing; empty otherwise.
    """

    group: str
    drop: float | None
    interval: Interval | None = None
    note: str = ""


def orient(train: Sequence[Row], name: str) -> Oriented | None:
    """The way in which a score points to failure, learned on training rows.

    Returns:
        The score pointing up if it has no effect at all; None if the rows cannot tell, since none
        has it or all that have it ended alike.
    """
    value = _training_auroc(train, name)
    return None if value is None else Oriented(name, 1 if value >= 0.5 else -1)


def best_single(
    train: Sequence[Row], names: Sequence[str], coverage: float = 0.9
) -> Oriented | None:
    """The score that tells failures best on training rows, whichever way it points.

    Args:
        train: training rows.
        names: the scores to choose from; the first of equally good ones wins.
        coverage: the least share of rows that must have a score, so that luck on the few rows that
            have a rare one does not win.

    Returns:
        None if no score is known often enough, or no AUROC is defined.
    """
    strengths = {}
    for name in names:
        value = _training_auroc(train, name)
        known = sum(name in row.scores for row in train)
        if value is not None and known >= coverage * len(train):
            strengths[name] = abs(value - 0.5)
    return orient(train, max(strengths, key=strengths.__getitem__)) if strengths else None


def auroc_on(
    rows: Sequence[Row], score: Oriented, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """AUROC of a score in the direction that it was given; below 0.5 it points the wrong way."""
    known, failed = _known(rows, score.name)
    column = _column(known, score)
    statistic = partial(weighted_auroc, column, failed)
    return estimate(_tasks(known), statistic, _undefined(known), resamples, seed)[0]


def correlation_on(
    rows: Sequence[Row], name: str, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Spearman's correlation of a score, as it is, with failure."""
    known, failed = _known(rows, name)
    column = _column(known, Oriented(name))
    if known and np.ptp(column) == 0:
        return Estimate(None, rows=len(known), note="not defined: the score is constant")
    statistic = partial(weighted_spearman, column, failed)
    return estimate(_tasks(known), statistic, _undefined(known), resamples, seed)[0]


def difference_on(
    rows: Sequence[Row],
    first: Oriented,
    second: Oriented,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Whether one score tells failures better than another, on the same rows and resamples."""
    known, failed = _known(rows, first.name, second.name)
    if not known:
        return Difference(first, second, Estimate(None, note="not defined: no row has both"))
    one, two = _column(known, first), _column(known, second)

    def advantage(weights: Array) -> Array:
        return weighted_auroc(one, failed, weights) - weighted_auroc(two, failed, weights)

    gain, values = estimate(_tasks(known), advantage, _undefined(known), resamples, seed)
    not_above = None if gain.interval is None else float(np.mean(values <= 0))
    return Difference(first, second, gain, not_above)


def permutation_importance(
    predict: Callable[[Array], Array],
    matrix: Array,
    rows: Sequence[Row],
    groups: Mapping[str, Sequence[int]],
    repeats: int = 20,
    seed: int = 0,
) -> tuple[Importance, ...]:
    """What each group of features contributes to a prediction, largest first.

    The columns of a group move together, so that what they say of each other stays true. A feature
    whose news others carry, too, may lose nothing: it is then not useless, but replaceable.

    Args:
        predict: maps a matrix (rows x features, NaN for missing) to one score a row.
        matrix: the held-out features.
        rows: the same states, for their outcomes.
        groups: columns of the matrix by name of the group.
        repeats: shuffles a group.
        seed: of the shuffles.

    Raises:
        ValueError: if matrix and rows differ in number, or a prediction is not finite.
    """
    if len(matrix) != len(rows):
        raise ValueError(f"a matrix of {len(matrix)} rows does not go with {len(rows)} rows")
    failed = [row.failed for row in rows]
    if len(set(failed)) < 2:
        return tuple(Importance(group, None, note=_undefined(rows)) for group in groups)

    def skill(features: Array) -> float:
        value = auroc(predict(features).tolist(), failed)
        assert value is not None, "there are failures and successes"
        return value

    whole, results = skill(matrix), []
    for group, columns in groups.items():
        rng, drops = np.random.default_rng(seed), []
        for _ in range(repeats):
            shuffled = matrix.copy()
            shuffled[:, columns] = matrix[rng.permutation(len(rows))][:, columns]
            drops.append(whole - skill(shuffled))
        known = np.isfinite(matrix[:, columns]).any()
        note = "" if known else "says nothing: no row has it"
        results.append(Importance(group, float(np.mean(drops)), _percentiles(drops), note))
    return tuple(sorted(results, key=lambda one: -(one.drop or 0.0)))


def _training_auroc(train: Sequence[Row], name: str) -> float | None:
    known = [row for row in train if name in row.scores]
    return auroc([row.scores[name] for row in known], [row.failed for row in known])


def _known(rows: Sequence[Row], *names: str) -> tuple[list[Row], Array]:
    """The rows that have all these scores, and their outcomes."""
    known = [row for row in rows if all(name in row.scores for name in names)]
    return known, np.array([row.failed for row in known], dtype=np.float64)


def _tasks(rows: Sequence[Row]) -> list[str]:
    return [row.task for row in rows]


def _column(known: Sequence[Row], score: Oriented) -> Array:
    return np.array([score.direction * row.scores[score.name] for row in known], dtype=np.float64)


def estimate(
    tasks: Sequence[str],
    statistic: Callable[[Array], Array],
    undefined: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Estimate, Array]:
    """A statistic and its interval, with its value on each resample where it is defined.

    Args:
        tasks: task of every row.
        statistic: as in `amp.report.stats.bootstrap`.
        undefined: why the statistic is not defined, if it turns out not to be.
        resamples: how many, at least 1.
        seed: of the resamples.
    """
    nothing = np.empty(0)
    value = float(statistic(np.ones((1, len(tasks))))[0]) if tasks else math.nan
    if math.isnan(value):
        return Estimate(None, rows=len(tasks), note=undefined), nothing
    if len(set(tasks)) == 1:
        return Estimate(value, rows=len(tasks), note=_NO_INTERVAL), nothing
    values = bootstrap(tasks, statistic, resamples, seed)
    values = values[~np.isnan(values)]
    left_out = resamples - values.size
    if not values.size:
        return Estimate(value, None, len(tasks), left_out, _NO_RESAMPLE), nothing
    return Estimate(value, _percentiles(values), len(tasks), left_out), values


def _percentiles(values: Sequence[float] | Array) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(low), float(high))


def _undefined(rows: Sequence[Row]) -> str:
    if not rows:
        return "not defined: no row has it"
    kind = "failure" if rows[0].failed else "success"
    return f"not defined: every row is a {kind}"


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of similar scores.

    Attributes:
        score: their mean score.
        failure_rate: how many of them failed.
        interval: Wilson's, of the failure rate. It takes rows for independent; those of one task
            are not, so the truth is wider where tasks have many rows.
        rows: how many.
    """

    score: float
    failure_rate: float
    interval: Interval
    rows: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """A score taken as the probability of failure.

    Attributes:
        bins: in ascending order of score; empty without rows.
        calibration_error: expected calibration error: mean distance of score and failure rate over
            the bins, weighted by rows (Naeini et al. 2015). Chance alone keeps it above 0, the more
            the fewer rows a bin has.
        brier: mean squared distance of score and outcome (Brier 1950).
        constant_brier: that of the training rows' failure rate said everywhere, which a score that
            knows anything has to beat; None without that rate, too.
        note: why nothing is defined (no bins, all figures None); empty otherwise.
    """

    bins: tuple[Bin, ...]
    calibration_error: float | None
    brier: float | None
    constant_brier: float | None
    note: str = ""


def reliability(
    scores: Sequence[float], failed: Sequence[bool], base_rate: float | None, bins: int = 10
) -> Reliability:
    """Compares scores with failure rates in bins of equal counts.

    Equal scores stay in one bin, so there may be fewer and less equal bins than requested.

    Args:
        scores: probabilities of failure; where one leaves [0, 1], nothing is defined.
        failed: the outcomes.
        base_rate: failure rate of the training rows in [0, 1]; None if there are none.
        bins: how many, at least 1.

    Raises:
        ValueError: if the lengths differ, or the base rate is no probability.
    """
    pairs = sorted(zip(scores, failed, strict=True))
    if base_rate is not None and not 0.0 <= base_rate <= 1.0:
        raise ValueError(f"base rate is {base_rate}, expected 0 to 1")
    if not pairs:
        return Reliability((), None, None, None, "not defined: no row has it")
    for score in (pairs[0][0], pairs[-1][0]):
        if not 0.0 <= score <= 1.0:
            why = f"not defined: {score:.3g} is no probability, it leaves [0, 1]"
            return Reliability((), None, None, None, why)
    made = tuple(_bin(part) for part in _equal_counts(pairs, bins))
    return Reliability(
        bins=made,
        calibration_error=sum(b.rows * abs(b.score - b.failure_rate) for b in made) / len(pairs),
        brier=_brier(scores, failed),
        constant_brier=None if base_rate is None else _brier([base_rate] * len(pairs), failed),
    )


def _equal_counts(pairs: list[tuple[float, bool]], bins: int) -> list[list[tuple[float, bool]]]:
    """Cuts sorted pairs into parts of equal size, each cut moved up to the end of its ties."""
    parts, start, n = [], 0, len(pairs)
    for number in range(1, bins + 1):
        end = max(start, round(number * n / bins))
        while start < end < n and pairs[end][0] == pairs[end - 1][0]:
            end += 1
        if end > start:
            parts.append(pairs[start:end])
        start = end
    return parts


def _bin(part: list[tuple[float, bool]]) -> Bin:
    n, failures = len(part), sum(failed for _, failed in part)
    mean = sum(score for score, _ in part) / n
    return Bin(mean, failures / n, wilson(failures, n), n)


def _brier(scores: Sequence[float], failed: Sequence[bool]) -> float:
    squares = ((score - outcome) ** 2 for score, outcome in zip(scores, failed, strict=True))
    return sum(squares) / len(scores)
