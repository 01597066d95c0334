"""Two runs on the same tasks, paired: who solved what, and what was saved."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from amp.errors import InvalidInputError
from amp.evaluate.metrics import Interval
from amp.types import Episode

_RESAMPLES = 5000


@dataclass(frozen=True, slots=True)
class Saving:
    """Share of a cost that the second run saved; negative if it spent more.

    Attributes:
        share: 1 - second / first, of the sums over all tasks.
        interval: paired bootstrap over tasks, 95 %.
    """

    share: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second run against the first.

    Attributes:
        tasks: how many both did.
        won: tasks that only the second solved.
        lost: tasks that only the first solved.
        p_value: exact McNemar test of won against lost, two-sided.
        savings: by name: tokens, completion_tokens, seconds.
    """

    tasks: int
    won: int
    lost: int
    p_value: float
    savings: dict[str, Saving]


def exact_mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value that won and lost are equally likely (McNemar 1947).

    The binomial test of the discordant pairs with p = 1/2; 1.0 if there are none.
    """
    n = won + lost
    tail = sum(comb(n, i) for i in range(min(won, lost) + 1))
    return min(1.0, tail / 2.0 ** (n - 1))


def paired_saving(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Saving:
    """Share of the first cost that the second one saves, with a paired bootstrap over tasks.

    Raises:
        ValueError: if the lengths differ, or the first costs add up to nothing.
    """
    pairs = list(zip(first, second, strict=True))
    if not sum(first) > 0:
        raise ValueError("the first costs add up to nothing, so no share of them can be saved")
    rng = random.Random(seed)
    shares = sorted(_share(rng.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    cut = round(_RESAMPLES * 0.025)
    return Saving(_share(pairs), Interval(shares[cut], shares[-cut - 1]))


def compare(first: Sequence[Episode], second: Sequence[Episode]) -> Comparison:
    """Compares two runs task by task.

    Raises:
        InvalidInputError: if they did not do the same tasks; the message names one that differs.
    """
    one = {(e.task.id, e.task.seed): e for e in first}
    two = {(e.task.id, e.task.seed): e for e in second}
    if not one or one.keys() != two.keys():
        odd = sorted(one.keys() ^ two.keys())
        which = f": only one of them did {odd[0][0]} (seed {odd[0][1]})" if odd else ": none"
        raise InvalidInputError(f"the runs cannot be paired, they did not do the same tasks{which}")
    pairs = [(one[key], two[key]) for key in one]
    won = sum(b.success is True and a.success is not True for a, b in pairs)
    lost = sum(a.success is True and b.success is not True for a, b in pairs)
    savings = {
        name: paired_saving(
            [getattr(a.usage, name) for a, _ in pairs], [getattr(b.usage, name) for _, b in pairs]
        )
        for name in ("tokens", "completion_tokens", "seconds")
        if any(getattr(a.usage, name) for a, _ in pairs)
    }
    return Comparison(len(pairs), won, lost, exact_mcnemar(won, lost), savings)


def _share(pairs: Sequence[tuple[float, float]]) -> float:
    """Saved share of a resample; none where its first costs add up to nothing."""
    spent = sum(a for a, _ in pairs)
    return 1 - sum(b for _, b in pairs) / spent if spent else 0.0
