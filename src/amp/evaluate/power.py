"""What a paired comparison could have seen: the smallest detectable difference of its kind."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from amp.errors import InvalidInputError, MissingDependencyError
from amp.evaluate.statistics import t_quantile, task_totals


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
    try:
        from scipy.optimize import brentq
        from scipy.stats import binom
    except ImportError as error:
        raise MissingDependencyError(
            "the smallest detectable difference needs scipy; run: pip install"
            " 'adaptive-meta-planning[report]'"
        ) from error
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
    return float(brentq(excess, 0.0, discordance, xtol=1e-6))


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
