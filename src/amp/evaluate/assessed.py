"""Rows of a validity report: the states of judged episodes, as the CAM scores them (spec 2.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amp.annotations.base import Annotation
from amp.assess.base import Assessor
from amp.assess.features import FEATURES
from amp.assess.neural import NeuralAssessor
from amp.benchmarks.base import Benchmark
from amp.evaluate.outcomes import outcomes, settling
from amp.evaluate.steps import candidates_of, context_at
from amp.evaluate.validity import Importance, Row, permutation_importance
from amp.evaluate.validityreport import Kind, ValidityReport, examine
from amp.types import Episode

LENGTH, CONSTANT = "words", "constant"
"""What every score stands beside: the length of the text, and knowing nothing."""

_MOST_CANDIDATES = 8


def judged(episodes: Sequence[Episode], benchmark: Benchmark) -> list[Annotation]:
    """Whether acting fails in each state of the episodes (`outcomes.settling`)."""
    return [note for e in episodes for note in settling(e, outcomes(e, benchmark))]


def stage_name(candidates: int) -> str:
    """What a report calls the states with so many candidates known."""
    if candidates == 0:
        return "before the first round"
    return f"with {candidates} candidate{'s' if candidates > 1 else ''} known"


def rows(
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
        annotations: from `judged`.
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
            count = max(1, len(candidates_of(step)))
        failed = round(note.complexity * count)
        made += [Row(note.task, True, scores)] * failed
        made += [Row(note.task, False, scores)] * (count - failed)
    return made


def kinds(assessors: Mapping[str, Assessor]) -> dict[str, Kind]:
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


def report(
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
    names = kinds(assessors)
    stages = []
    for candidates in range(_MOST_CANDIDATES + 1):
        inside, outside = (rows(*side, assessors, candidates) for side in (train, held_out))
        if not inside or not outside:
            continue
        networks = [a for a in assessors.values() if isinstance(a, NeuralAssessor)]
        drops = importances(networks[0], *held_out, candidates) if networks else ()
        stages.append(examine(stage_name(candidates), inside, outside, names, drops))
    return ValidityReport(model, benchmark, tuple(stages))
