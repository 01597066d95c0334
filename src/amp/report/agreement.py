"""How far raters agree with each other, and with labels that a rule made of the same steps.

Three figures, each with an interval of 95 % that resamples whole tasks, since steps of one task are
alike:

- Krippendorff's alpha of all raters together (`amp.annotations.collect`, there for one sample);
- weighted kappa of two (Cohen 1968), with quadratic weights: one minus the mean squared difference
  over that of chance, which is Lin's coefficient of concordance, and takes any complexities;
- Spearman's rank correlation of two, which asks for the same order and not for the same numbers.

A rule has its own idea of what 0.5 is, so of a rule the correlation tells more than kappa.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from amp.annotations.store import AnnotatedState, Annotation
from amp.errors import InvalidInputError, did_you_mean
from amp.report.stats import Array, weighted_spearman
from amp.report.tables import Column, Table, correlation, percent
from amp.report.validity import RESAMPLES, Estimate, estimate

MEAN = "mean of raters"
"""Stands for all raters of a step where they are held to a rule."""

_PERSON = "person:"
_NO_STEP = "not defined: no step was annotated by both"
_ALL_EQUAL = "not defined: all say the same"

Said = Mapping[AnnotatedState, float]


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """How far two agree.

    Attributes:
        one: who, as in annotations, or `MEAN`.
        other: who else.
        steps: that both annotated.
        tasks: that these steps are of.
        same: share of the steps of which both say the same; None without steps.
        kappa: weighted kappa.
        correlation: Spearman's.
    """

    one: str
    other: str
    steps: int
    tasks: int
    same: float | None
    kappa: Estimate
    correlation: Estimate


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """How far raters agree.

    Attributes:
        rated: how many steps each has rated, by name.
        alpha: of all raters, on the steps that at least two have rated.
        pairs: raters, two by two.
        rules: each rater, the mean of them, and other rules beside each rule.
        resamples: that intervals are of.
        seed: of the resamples.
    """

    rated: Mapping[str, int]
    alpha: Estimate
    pairs: tuple[PairAgreement, ...]
    rules: tuple[PairAgreement, ...]
    resamples: int
    seed: int


def agreement_report(
    annotations: Iterable[Annotation],
    against: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AgreementReport:
    """Measures how far people agree, and how far with each rule that annotated the same steps.

    Steps are the same where task, index and state are. Of several annotations of one step by one
    author the last counts. Annotations of what was known later in a step are left out, and where
    anybody rated steps, what rules say of others.

    Args:
        annotations: of people, and of rules if there are any.
        against: the one rule that all others are held to; None for each two.
        resamples: of tasks, at least 1.
        seed: of the resamples.

    Raises:
        InvalidInputError: if there is no such rule.
    """
    said: defaultdict[str, dict[AnnotatedState, float]] = defaultdict(dict)
    for annotation in annotations:
        if not annotation.candidates:
            said[annotation.by][annotation.place] = annotation.complexity
    people = {by: said[by] for by in sorted(said) if by.startswith(_PERSON)}
    rules = {by: said[by] for by in sorted(said) if by not in people}
    if against is not None and against not in rules:
        raise InvalidInputError(
            f"no annotation is by {against}{did_you_mean(against, list(rules))}"
            f" (rules: {', '.join(rules) or 'none'})"
        )
    units: defaultdict[AnnotatedState, list[float]] = defaultdict(list)
    for one in people.values():
        for place, complexity in one.items():
            units[place].append(complexity)
    if units:
        rules = {
            by: {place: value for place, value in one.items() if place in units}
            for by, one in rules.items()
        }
    mean = {place: sum(values) / len(values) for place, values in units.items()}
    everybody = people | ({MEAN: mean} if len(people) > 1 else {})
    if against is None:
        held = [(one, rule) for rule in rules.items() for one in everybody.items()]
        held += [(one, rule) for rule, one in combinations(rules.items(), 2)]
    else:
        others = everybody | {by: one for by, one in rules.items() if by != against}
        held = [(one, (against, rules[against])) for one in others.items()]
    pair = partial(_pair, resamples=resamples, seed=seed)
    return AgreementReport(
        rated={by: len(one) for by, one in people.items()},
        alpha=_alpha(units, resamples, seed),
        pairs=tuple(pair(*two) for two in combinations(people.items(), 2)),
        rules=tuple(pair(*two) for two in held),
        resamples=resamples,
        seed=seed,
    )


def _pair(
    one: tuple[str, Said], other: tuple[str, Said], resamples: int, seed: int
) -> PairAgreement:
    (name, first), (other_name, second) = one, other
    places = [place for place in first if place in second]
    tasks = [place.task for place in places]
    x, y = (np.array([said[place] for place in places]) for said in (first, second))
    kappa, _ = estimate(tasks, partial(weighted_kappa, x, y), _ALL_EQUAL, resamples, seed)
    ranks, _ = estimate(tasks, partial(weighted_spearman, x, y), _ALL_EQUAL, resamples, seed)
    if not places:
        kappa = ranks = Estimate(None, note=_NO_STEP)
    same = float(np.mean(x == y)) if places else None
    return PairAgreement(name, other_name, len(places), len(set(tasks)), same, kappa, ranks)


def weighted_kappa(x: Array, y: Array, weights: Array) -> Array:
    """Cohen's kappa with quadratic weights, under each row of weights.

    Args:
        x: what the one says of each step.
        y: what the other says.
        weights: how often each step counts, resamples x steps.

    Returns:
        One value a resample, at most 1; NaN where both always say the same one thing.
    """
    share = weights / weights.sum(axis=1, keepdims=True)
    observed = share @ (x - y) ** 2
    by_chance = share @ (x**2 + y**2) - 2.0 * (share @ x) * (share @ y)
    # A variance of 0 may come out as 1e-17.
    varied = by_chance > 1e-12
    return np.where(varied, 1.0 - observed / np.where(varied, by_chance, 1.0), np.nan)


def _alpha(units: Mapping[AnnotatedState, Sequence[float]], resamples: int, seed: int) -> Estimate:
    shared = {place: values for place, values in units.items() if len(values) > 1}
    tasks = [place.task for place in shared]
    statistic = partial(weighted_alpha, coincidences(list(shared.values())))
    note = _ALL_EQUAL if shared else "not defined: no step was rated by two"
    return estimate(tasks, statistic, note, resamples, seed)[0]


def coincidences(units: Sequence[Sequence[float]]) -> Array:
    """How often two values stand together in each unit: units x values x values, values sorted."""
    values = sorted({value for unit in units for value in unit})
    place = {value: index for index, value in enumerate(values)}
    counts = np.zeros((len(units), len(values)))
    for row, unit in enumerate(units):
        for value in unit:
            counts[row, place[value]] += 1.0
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs -= counts[:, :, None] * np.eye(len(values))  # nobody is a pair with oneself
    return np.asarray(pairs / (counts.sum(axis=1) - 1.0)[:, None, None])


def weighted_alpha(table: Array, weights: Array) -> Array:
    """Krippendorff's alpha for ordinal values, under each row of weights.

    Args:
        table: `coincidences` of units that have two values or more.
        weights: how often each unit counts, resamples x units.

    Returns:
        One value a resample, at most 1; NaN where all values are equal.
    """
    together = np.tensordot(weights, table, axes=1)
    counts = together.sum(axis=2)
    ranks = np.cumsum(counts, axis=1) - counts / 2.0
    differences = (ranks[:, :, None] - ranks[:, None, :]) ** 2
    observed = (together * differences).sum(axis=(1, 2))
    expected = (counts[:, :, None] * counts[:, None, :] * differences).sum(axis=(1, 2))
    varied = expected > 0.0
    total = counts.sum(axis=1)
    return np.where(
        varied, 1.0 - (total - 1.0) * observed / np.where(varied, expected, 1.0), np.nan
    )


def agreement_tables(report: AgreementReport) -> list[Table]:
    """The pairs as people read them: raters, and raters beside rules where there are any."""
    columns = (
        Column("one", "one"),
        Column("other", "other"),
        Column("steps", "steps"),
        Column("tasks", "tasks"),
        Column("same", "same", percent),
        Column("kappa", "kappa.value", correlation),
        Column("95 % CI", "kappa.interval", correlation),
        Column("rank correlation", "correlation.value", correlation),
        Column("95 % CI ", "correlation.interval", correlation),
        Column("remark", lambda pair: pair.kappa.note or pair.correlation.note),
    )
    note = (
        f"kappa: Cohen's, quadratic weights; rank correlation: Spearman's; intervals from"
        f" {report.resamples:,} resamples of tasks (seed {report.seed})"
    )
    parts = (("raters", "Raters", report.pairs), ("rules", "Raters and rules", report.rules))
    return [Table(name, title, columns, rows, note) for name, title, rows in parts if rows]
