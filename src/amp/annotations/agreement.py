"""How far annotators agree: Krippendorff's alpha.

K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011. One minus the disagreement that
was observed over the disagreement that chance would bring: 1 is perfect agreement, 0 that of
chance, below 0 worse than chance. It takes any number of annotators, and ratings may be missing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from math import fsum
from typing import Literal

from amp.annotations.store import Annotation, Place

Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far annotators agree.

    Attributes:
        alpha: Krippendorff's alpha, at most 1; None where it is not defined.
        level: how differences count.
        annotators: who annotated, sorted.
        shared_steps: steps that at least two of them annotated, which alpha is from.
    """

    alpha: float | None
    level: Level
    annotators: tuple[str, ...]
    shared_steps: int


def measure_agreement(
    annotations: Iterable[Annotation], level: Level = "ordinal", rules: bool = False
) -> Agreement:
    """Measures how far annotators agree on the complexity of steps.

    Steps are the same where task, index and state are. Of several annotations of one step by one
    annotator the last counts.

    Args:
        annotations: of any number of annotators.
        level: how differences count; see `krippendorff_alpha`.
        rules: whether rules count as annotators, beside the people.
    """
    units: defaultdict[Place, dict[str, float]] = defaultdict(dict)
    annotators = set()
    for annotation in annotations:
        if rules or annotation.by.startswith("person:"):
            annotators.add(annotation.by)
            units[annotation.place][annotation.by] = annotation.complexity
    shared = [list(unit.values()) for unit in units.values() if len(unit) > 1]
    alpha = krippendorff_alpha(shared, level)
    return Agreement(alpha, level, tuple(sorted(annotators)), len(shared))


def krippendorff_alpha(units: Iterable[Sequence[float]], level: Level = "ordinal") -> float | None:
    """Krippendorff's alpha of ratings (module docstring).

    Args:
        units: for each unit the ratings that it got, without the missing ones. Who gave which is
            of no matter to alpha.
        level: ``nominal``: ratings are equal or not; ``ordinal``: their ranks count;
            ``interval``: their differences count.

    Returns:
        Alpha, at most 1; None where no unit has two ratings or all ratings are equal, since then
        there is no disagreement to be had by chance.
    """
    paired = [unit for unit in units if len(unit) > 1]
    counts = Counter(value for unit in paired for value in unit)
    difference = _DIFFERENCES[level](counts)
    observed = fsum(
        difference(one, other) / (len(unit) - 1)
        for unit in paired
        for one, other in combinations(unit, 2)
    )
    expected = fsum(
        counts[one] * counts[other] * difference(one, other)
        for one, other in combinations(counts, 2)
    )
    if expected == 0:
        return None
    return 1 - (counts.total() - 1) * observed / expected


Difference = Callable[[float, float], float]
"""The squared difference of two values; 0 for equal ones."""


def _nominal(counts: Mapping[float, int]) -> Difference:
    return lambda one, other: float(one != other)


def _ordinal(counts: Mapping[float, int]) -> Difference:
    """Squared number of ratings from the one value to the other, those at the ends by half."""
    values = sorted(counts)
    below = accumulate((counts[value] for value in values), initial=0)
    rank = {value: before + counts[value] / 2 for value, before in zip(values, below, strict=False)}
    return lambda one, other: (rank[one] - rank[other]) ** 2


def _interval(counts: Mapping[float, int]) -> Difference:
    return lambda one, other: (one - other) ** 2


_DIFFERENCES: Mapping[Level, Callable[[Mapping[float, int]], Difference]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
}
