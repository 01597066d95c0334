"""What `amp assess report` says: every score on held-out rows, in each stage of a step (spec 2.7).

How the figures look is elsewhere: `amp.displayvalidity` in a terminal, `validitypage` as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from amp.evaluate.reliability import Reliability, reliability
from amp.evaluate.validity import (
    RESAMPLES,
    Difference,
    Estimate,
    Importance,
    Oriented,
    Row,
    auroc_on,
    best_single,
    correlation_on,
    difference_on,
    orient,
)

Kind = Literal["scorer", "baseline", "feature"]
_NO_DIRECTION = "not defined: the training rows do not tell which way it points"


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One score.

    Attributes:
        name: its name.
        kind: a scorer gives a complexity, a baseline is what it has to beat, a feature goes into
            it.
        direction: the way in which it points to failure; a scorer promises up (1), that of the
            others was learned on training rows. None if those do not tell.
        auroc: on held-out rows, in that direction.
        correlation: Spearman's, of the score as it is with failure, on held-out rows.
    """

    name: str
    kind: Kind
    direction: Literal[1, -1] | None
    auroc: Estimate
    correlation: Estimate


@dataclass(frozen=True, slots=True)
class Stage:
    """The scores at one point of a step, such as before its first round.

    Attributes:
        name: which point.
        tasks: held-out tasks.
        rows: held-out rows.
        failures: held-out rows that failed.
        train_rows: training rows, from which directions and the best feature come.
        base_rate: failure rate of the training rows; None if there are none.
        lines: one a score, best AUROC first, those without one last.
        comparisons: of scorers with baselines, with the best single feature and with each other.
        importances: of features or groups of them for one scorer; empty if nobody measured them.
        reliability: of each scorer, taken as the probability of failure.
    """

    name: str
    tasks: int
    rows: int
    failures: int
    train_rows: int
    base_rate: float | None
    lines: tuple[ScoreLine, ...]
    comparisons: tuple[Difference, ...] = ()
    importances: tuple[Importance, ...] = ()
    reliability: Mapping[str, Reliability] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ValidityReport:
    """All stages of one model on one benchmark; `amp.trace.to_json` makes JSON of it."""

    model: str
    benchmark: str
    stages: tuple[Stage, ...]


def examine(
    name: str,
    train: Sequence[Row],
    held_out: Sequence[Row],
    names: Mapping[str, Kind],
    importances: Sequence[Importance] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Stage:
    """Measures one stage.

    Args:
        name: of the stage.
        train: rows from which directions, the best single feature and the base rate are learned.
        held_out: rows of other tasks, from which every figure is.
        names: the scores and what they are. A constant among the baselines shows what knowing
            nothing looks like.
        importances: from `permutation_importance`, on the held-out rows.
        resamples: of the bootstraps.
        seed: of the bootstraps.

    Raises:
        ValueError: if a task is on both sides.
    """
    tasks = {row.task for row in held_out}
    if shared := sorted(tasks & {row.task for row in train}):
        raise ValueError(f"task {shared[0]} is in the training rows and in the held-out rows")
    base_rate = sum(row.failed for row in train) / len(train) if train else None
    lines = [_line(score, kind, train, held_out, resamples, seed) for score, kind in names.items()]
    lines.sort(key=lambda line: (line.auroc.value is None, -(line.auroc.value or 0.0)))
    scorers = [score for score, kind in names.items() if kind == "scorer"]
    return Stage(
        name=name,
        tasks=len(tasks),
        rows=len(held_out),
        failures=sum(row.failed for row in held_out),
        train_rows=len(train),
        base_rate=base_rate,
        lines=tuple(lines),
        comparisons=tuple(
            difference_on(held_out, first, second, resamples, seed)
            for first, second in _pairs(train, names, scorers)
        ),
        importances=tuple(importances),
        reliability={score: _reliability(held_out, score, base_rate) for score in scorers},
    )


def _line(
    name: str,
    kind: Kind,
    train: Sequence[Row],
    held_out: Sequence[Row],
    resamples: int,
    seed: int,
) -> ScoreLine:
    score = Oriented(name) if kind == "scorer" else orient(train, name)
    correlation = correlation_on(held_out, name, resamples, seed)
    if score is None:
        note = _NO_DIRECTION if correlation.rows else correlation.note
        unknown = Estimate(None, rows=correlation.rows, note=note)
        return ScoreLine(name, kind, None, unknown, correlation)
    return ScoreLine(
        name, kind, score.direction, auroc_on(held_out, score, resamples, seed), correlation
    )


def _pairs(
    train: Sequence[Row], names: Mapping[str, Kind], scorers: Sequence[str]
) -> list[tuple[Oriented, Oriented]]:
    """Each scorer with each rival of which a direction is known, and each two scorers."""
    baselines = [orient(train, name) for name, kind in names.items() if kind == "baseline"]
    best = best_single(train, [name for name, kind in names.items() if kind == "feature"])
    rivals = [rival for rival in (*baselines, best) if rival is not None]
    pairs = [(Oriented(scorer), rival) for scorer in scorers for rival in rivals]
    return pairs + [(Oriented(one), Oriented(two)) for one, two in combinations(scorers, 2)]


def _reliability(rows: Sequence[Row], scorer: str, base_rate: float | None) -> Reliability:
    known = [row for row in rows if scorer in row.scores]
    return reliability(
        [row.scores[scorer] for row in known], [row.failed for row in known], base_rate
    )
