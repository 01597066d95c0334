"""Whether a score is a probability of failure: of those scored 0.3, do 30 % fail? (spec 2.2)

`reliability` compares any scores with outcomes; `calibrations` asks it of the complexity that runs
allocated by. A run has an outcome for each task and not for each step, so there a task counts once;
`amp assess report` compares every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from amp.report.adaptivity import resamples_for
from amp.report.metrics import Interval, wilson
from amp.report.runs import Run
from amp.report.validity import Estimate, Oriented, Row, auroc_on
from amp.types import Episode


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
    """One a run that adapts and whose traces have rounds."""
    return tuple(
        _calibration(run.name, rows)
        for run in runs
        if run.kind == "adaptive" and (rows := _rows(run))
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
