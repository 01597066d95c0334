"""The report on complexity scores as data: every score, in each stage of a step (spec 2.7).

A stage is a number of candidates known. Its rows are the states of judged episodes, scored by each
assessor and each feature. How the figures look is elsewhere: `amp.cli.render` in a terminal,
`amp.report.pages` as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np

from amp.annotations.store import Annotation
from amp.assess.base import Assessor
from amp.assess.features import FEATURES
from amp.assess.neural import NeuralAssessor
from amp.benchmarks.labels import context_at
from amp.report.validity import (
    RESAMPLES,
    Difference,
    Estimate,
    Importance,
    Oriented,
    Reliability,
    Row,
    auroc_on,
    best_single,
    correlation_on,
    difference_on,
    orient,
    permutation_importance,
    reliability,
)
from amp.types import Episode

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
        importances: of features or groups of them for one scorer; empty if they were not measured.
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
    """All stages of one model on one benchmark; `amp.trace.to_json` makes JSON of it.

    Attributes:
        model: name of the base model.
        benchmark: its name.
        stages: of complexity: whether to act fails, with so many candidates known.
        candidates: of correctness: whether one candidate is wrong, for each way to ask.
        candidates_note: why there are none of these; empty if there are.
    """

    model: str
    benchmark: str
    stages: tuple[Stage, ...]
    candidates: tuple[Stage, ...] = ()
    candidates_note: str = ""


def measure_stage(
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
            nothing is worth.
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


LENGTH, CONSTANT = "words", "constant"
"""What every score stands beside: the length of the text, and knowing nothing."""

_MAX_CANDIDATES = 8


def stage_name(candidates: int) -> str:
    """What a report calls the states with so many candidates known."""
    if candidates == 0:
        return "before the first round"
    return f"with {candidates} candidate{'s' if candidates > 1 else ''} known"


def score_rows(
    episodes: Sequence[Episode],
    annotations: Sequence[Annotation],
    assessors: Mapping[str, Assessor],
    candidates: int,
) -> list[Row]:
    """The states with so many candidates known, each with all features and scores.

    Before the first round a state stands in as many rows as it has candidates, since each of them
    may fail: the failure rate is rounded to a share of them.

    Args:
        episodes: where the states are.
        annotations: whether acting fails there (`amp.benchmarks.labels.settling`).
        assessors: by name; that of a feature would hide the feature.
        candidates: how many are known.
    """
    known = {episode.task.id: episode for episode in episodes}
    made: list[Row] = []
    for note in annotations:
        if len(note.candidates) != candidates:
            continue
        context = context_at(known[note.task], note.step, note.candidates)
        scores: dict[str, float] = {CONSTANT: 0.0}
        for name, assessor in assessors.items():
            complexity = assessor.assess(context)
            # The features are the same whoever reads them, but for the hidden state.
            scores |= complexity.features
            scores[name] = complexity.score
        count = 1
        if candidates == 0:
            step = known[note.task].steps[note.step]
            count = max(1, len(step.candidates))
        failed = round(note.complexity * count)
        made += [Row(note.task, True, scores)] * failed
        made += [Row(note.task, False, scores)] * (count - failed)
    return made


def score_kinds(assessors: Mapping[str, Assessor]) -> dict[str, Kind]:
    """What each score of a row is."""
    names: dict[str, Kind] = dict.fromkeys(assessors, "scorer")
    names |= {LENGTH: "baseline", CONSTANT: "baseline"}
    names |= {f.name: "feature" for f in FEATURES if f.name not in names}
    return names


def importances(
    assessor: NeuralAssessor,
    episodes: Sequence[Episode],
    annotations: Sequence[Annotation],
    candidates: int,
) -> tuple[Importance, ...]:
    """What the network loses when a feature is shuffled among the states, with its substitute."""
    known = {episode.task.id: episode for episode in episodes}
    states = [note for note in annotations if len(note.candidates) == candidates]
    matrix = np.array(
        [
            assessor.encode(
                assessor.observe(context_at(known[note.task], note.step, note.candidates))
            )
            for note in states
        ]
    )
    outcome = [Row(note.task, note.complexity >= 0.5, {}) for note in states]
    count = len(assessor.names)
    groups: dict[str, list[int]] = {}
    moving = np.ptp(matrix, axis=0) > 0 if len(matrix) else np.zeros(3 * count, bool)
    for index, name in enumerate(assessor.names):
        group = "hidden" if name.startswith("hidden_") else name
        columns = (index, count + index, 2 * count + index)
        if moving[list(columns)].any():  # what never differs cannot be missed
            groups.setdefault(group, []).extend(columns)
    return permutation_importance(
        lambda inputs: assessor.predict(inputs).astype(np.float64), matrix, outcome, groups
    )


def make_validity_report(
    model: str,
    benchmark: str,
    train: tuple[Sequence[Episode], Sequence[Annotation]],
    held_out: tuple[Sequence[Episode], Sequence[Annotation]],
    assessors: Mapping[str, Assessor],
) -> ValidityReport:
    """Measures all scores on held-out episodes, in every state that both sides have.

    Args:
        model: name of the base model.
        benchmark: its name.
        train: episodes, and what was judged of them; directions come from here.
        held_out: the same of other tasks; every figure is from here.
        assessors: by name.
    """
    names = score_kinds(assessors)
    stages = []
    for candidates in range(_MAX_CANDIDATES + 1):
        inside, outside = (score_rows(*side, assessors, candidates) for side in (train, held_out))
        if not inside or not outside:
            continue
        networks = [a.network for a in assessors.values() if a.network is not None]
        drops = importances(networks[0], *held_out, candidates) if networks else ()
        stages.append(measure_stage(stage_name(candidates), inside, outside, names, drops))
    return ValidityReport(model, benchmark, tuple(stages))
