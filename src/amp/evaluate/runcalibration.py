"""Whether the complexity that runs went by is a probability of failure (spec 2.2).

By task, since a run tells for a task alone whether it failed; where a task is one step, by step.
`amp assess report` asks the same of every step, on tasks that an assessor was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from amp.evaluate.reliability import Reliability, reliability
from amp.evaluate.runadaptivity import resamples_for
from amp.evaluate.runs import Run
from amp.evaluate.validity import Estimate, Oriented, Row, auroc_on
from amp.types import Episode

_SCORE = "complexity"


@dataclass(frozen=True, slots=True)
class Calibration:
    """The complexity of a run's tasks, taken as the probability that they fail.

    Attributes:
        run: its name.
        episodes: how many have a complexity.
        score: their mean complexity.
        failure_rate: of them.
        reliability: bins, expected calibration error and Brier's score, beside that of the run's
            own failure rate said everywhere.
        auroc: how well complexity tells which fail, by bootstrap over tasks; 0.5 knows nothing.
    """

    run: str
    episodes: int
    score: float
    failure_rate: float
    reliability: Reliability
    auroc: Estimate


def calibrations(runs: Sequence[Run]) -> tuple[Calibration, ...]:
    """One a run that adapts and whose traces hold rounds."""
    return tuple(
        _calibration(run.name, rows) for run in runs if run.adaptive and (rows := _rows(run))
    )


def _calibration(name: str, rows: Sequence[Row]) -> Calibration:
    scores, failed = [row.scores[_SCORE] for row in rows], [row.failed for row in rows]
    rate = fmean(failed)
    return Calibration(
        run=name,
        episodes=len(rows),
        score=fmean(scores),
        failure_rate=rate,
        reliability=reliability(scores, failed, rate),
        auroc=auroc_on(rows, Oriented(_SCORE), resamples_for(len(rows))),
    )


def _rows(run: Run) -> list[Row]:
    return [
        Row(episode.task.id, episode.success is not True, {_SCORE: score})
        for episode in run.episodes
        if (score := _complexity(episode)) is not None
    ]


def _complexity(episode: Episode) -> float | None:
    """Mean over the steps of what was said before their first rounds; None without rounds."""
    scores = [step.rounds[0].complexity.score for step in episode.steps if step.rounds]
    return fmean(scores) if scores else None
