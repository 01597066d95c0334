"""Whether more was allocated to harder tasks: adaptivity effectiveness (spec 2.6).

Difficulty comes from two sources: the benchmark, which scores a task before it is tried, and the
model, whose failure rate is known where it was sampled several times. Runs are held against both by
rank correlations, and by means over thirds of the tasks.

The samples of a failure rate should be others than those of the run, and the tasks not those of the
training; else the two correlate by luck that they share. A failure rate of few samples is noisy,
which moves the correlation towards 0: the figures are lower bounds.

`calibrations` asks whether the complexity that a run allocated by is the probability that a task
fails. A run has an outcome for each task and not for each step, so there a task counts once; `amp
assess report` compares every step.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np

from amp.benchmarks import benchmark_names, load_benchmark
from amp.benchmarks.base import Benchmark, Difficulty, Tercile
from amp.benchmarks.labels import label_steps
from amp.errors import InvalidInputError, MissingDependencyError
from amp.report.metrics import Interval
from amp.report.runs import Run, tasks_of
from amp.report.stats import (
    Array,
    clustered_rate_interval,
    mean_interval,
    weighted_kendall,
    weighted_spearman,
)
from amp.report.validity import (
    RESAMPLES,
    Estimate,
    Oriented,
    Reliability,
    Row,
    auroc_on,
    estimate,
    reliability,
)
from amp.types import Episode


@dataclass(frozen=True, slots=True)
class AllocatedAmount:
    """What was allocated to a step, or to a whole task, and how difficult it is.

    Attributes:
        task: id of its task; rows of one task are resampled together.
        amount: what was allocated, in any unit: tokens, beam width, rounds.
        failure_rate: share of K samples of the model that failed there, in [0, 1].

    Raises:
        InvalidInputError: if the amount is not finite or the failure rate no share.
    """

    task: str
    amount: float
    failure_rate: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.amount):
            raise InvalidInputError(
                f"amount of task {self.task} is {self.amount}, expected a finite number"
            )
        if not 0.0 <= self.failure_rate <= 1.0:
            raise InvalidInputError(
                f"failure rate of task {self.task} is {self.failure_rate}, expected 0 to 1"
            )


@dataclass(frozen=True, slots=True)
class RankCorrelations:
    """Rank correlations of what was allocated with the failure rate, each in [-1, 1].

    Attributes:
        spearman: with average ranks for ties.
        kendall: tau-b.
    """

    spearman: Estimate
    kendall: Estimate


def rank_correlations(
    rows: Sequence[AllocatedAmount], resamples: int = RESAMPLES, seed: int = 0
) -> RankCorrelations:
    """Rank correlations of amounts with failure rates, with intervals by bootstrap over tasks.

    Without variation there is no correlation: the value is then None, and the note says what did
    not vary. An interval leaves out the resamples without variation, and tells how many.
    """
    amounts = np.array([row.amount for row in rows], dtype=np.float64)
    rates = np.array([row.failure_rate for row in rows], dtype=np.float64)
    tasks, undefined = [row.task for row in rows], _undefined(rows)

    def correlation(weighted: Callable[[Array, Array, Array], Array]) -> Estimate:
        return estimate(tasks, partial(weighted, amounts, rates), undefined, resamples, seed)[0]

    return RankCorrelations(correlation(weighted_spearman), correlation(weighted_kendall))


def _undefined(rows: Sequence[AllocatedAmount]) -> str:
    if not rows:
        return "not defined: no rows"
    if len({row.amount for row in rows}) == 1:
        return f"not defined: all were given {rows[0].amount:g}"
    return f"not defined: all have the failure rate {rows[0].failure_rate:g}"


THIRDS = ("easiest", "middle", "hardest")
_CELLS = 400_000  # resamples x episodes: more tasks need fewer resamples for an interval


@dataclass(frozen=True, slots=True)
class Difficulties:
    """How difficult tasks are; what is not known is empty, and a note gives the reason.

    Attributes:
        counts: what the benchmark's score counts, in words.
        scores: by task id, of the benchmark.
        source: what the failure rates are of, in words.
        rates: failure rate by task id, of the model.
        notes: what is missing.
    """

    counts: str
    scores: Mapping[str, Difficulty]
    source: str
    rates: Mapping[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Adapted:
    """Rank correlation of an amount that a run allocated with the difficulty of tasks.

    Attributes:
        run: its name.
        amount: what was allocated: the cost of the report, rounds, or candidates.
        against: what it is held against, in words.
        spearman: rank correlation, by bootstrap over tasks.
        kendall: tau-b, likewise.
    """

    run: str
    amount: str
    against: str
    spearman: Estimate
    kendall: Estimate


@dataclass(frozen=True, slots=True)
class Third:
    """A run on the tasks of one third of difficulty.

    Attributes:
        run: its name.
        third: ``easiest``, ``middle`` or ``hardest``, by the benchmark's fixed boundaries.
        tasks: how many of the run's tasks lie there.
        success_rate: of their episodes.
        success_interval: clustered by task; None if there is but one.
        cost: mean of an episode.
        cost_interval: of that mean; None if there is but one task.
    """

    run: str
    third: str
    tasks: int
    success_rate: float
    success_interval: Interval | None
    cost: float
    cost_interval: Interval | None


def task_difficulties(runs: Sequence[Run], judge: Benchmark | None) -> Difficulties:
    """The difficulty of the tasks of runs, as far as it is known.

    The failure rate is that over the seeds of a fixed run or, if none has several, that among the
    candidates of the fixed run which has most of them a task, by the benchmark's judge.
    """
    notes = []
    scores: dict[str, Difficulty] = {}
    benchmark, counts = runs[0].benchmark, ""
    if benchmark in benchmark_names():
        try:
            home = load_benchmark(benchmark)
            counts = home.difficulty_scale.counts
            for episode in runs[0].episodes:
                if episode.task.id not in scores:
                    scores[episode.task.id] = home.difficulty(episode.task)
        except (InvalidInputError, MissingDependencyError) as error:
            scores, counts = {}, ""
            notes.append(f"no difficulty by {benchmark}: {error}")
    else:
        notes.append("no difficulty by the benchmark: the runs do not name one that has it")
    source, rates = _failure_rates(runs, judge)
    if not rates:
        notes.append(
            "no failure rates of the model: they need a fixed run with several seeds, or with "
            "several candidates a step and a judge"
        )
    return Difficulties(counts, scores, source, rates, tuple(notes))


def adapted(
    runs: Sequence[Run], cost: str, cost_of: Callable[[Episode], float], difficulties: Difficulties
) -> tuple[Adapted, ...]:
    """Correlations of every run that adapts, for all amounts and measures of difficulty."""
    against: dict[str, Mapping[str, float]] = {}
    if difficulties.scores:
        # Ranks correlate as the scores do, and they are shares, as failure rates are.
        values = sorted({score.score for score in difficulties.scores.values()})
        place = {value: index / max(1, len(values) - 1) for index, value in enumerate(values)}
        against[difficulties.counts] = {
            task: place[s.score] for task, s in difficulties.scores.items()
        }
    if difficulties.rates:
        against[difficulties.source] = difficulties.rates
    amounts: dict[str, Callable[[Episode], float]] = {
        cost: cost_of, "rounds": rounds_of, "candidates": candidates_of
    }  # fmt: skip
    found = []
    for run in runs:
        if run.kind != "adaptive":
            continue
        for what, level in against.items():
            for amount, amount_of in amounts.items():
                if amount != cost and not any(episode.steps for episode in run.episodes):
                    continue  # traces without steps tell of no rounds
                rows = [
                    AllocatedAmount(e.task.id, amount_of(e), level[e.task.id])
                    for e in run.episodes
                    if e.task.id in level
                ]
                both = rank_correlations(rows, resamples_for(len(rows)))
                found.append(Adapted(run.name, amount, what, both.spearman, both.kendall))
    return tuple(found)


def thirds(
    runs: Sequence[Run], cost_of: Callable[[Episode], float], difficulties: Difficulties
) -> tuple[Third, ...]:
    """Success and cost of every run by the benchmark's thirds; thirds without tasks are absent."""
    found = []
    for run in runs:
        parted: dict[Tercile, list[Episode]] = defaultdict(list)
        for episode in run.episodes:
            if episode.task.id in difficulties.scores:
                parted[difficulties.scores[episode.task.id].tercile].append(episode)
        for third, episodes in sorted(parted.items()):
            tasks = tasks_of(episodes)
            solved = [episode.success is True for episode in episodes]
            costs = [cost_of(episode) for episode in episodes]
            several = len(set(tasks)) > 1
            found.append(
                Third(
                    run=run.name,
                    third=THIRDS[third],
                    tasks=len(set(tasks)),
                    success_rate=sum(solved) / len(solved),
                    success_interval=clustered_rate_interval(tasks, solved) if several else None,
                    cost=sum(costs) / len(costs),
                    cost_interval=mean_interval(tasks, costs) if several else None,
                )
            )
    return tuple(found)


def resamples_for(rows: int) -> int:
    """How many resamples a rank statistic of so many rows gets: fewer where there are many."""
    return min(RESAMPLES, max(200, _CELLS // max(1, rows)))


def rounds_of(episode: Episode) -> float:
    """Rounds of an episode, over all its steps."""
    return float(sum(len(step.rounds) for step in episode.steps))


def candidates_of(episode: Episode) -> float:
    """Candidates of an episode, over all its steps and rounds."""
    return float(sum(len(made.candidates) for step in episode.steps for made in step.rounds))


def _failure_rates(runs: Sequence[Run], judge: Benchmark | None) -> tuple[str, dict[str, float]]:
    fixed = [run for run in runs if run.kind == "fixed"]
    for run in sorted(fixed, key=lambda run: -len(run.seeds)):
        if len(run.seeds) > 1:
            failed: dict[str, list[bool]] = defaultdict(list)
            for episode in run.episodes:
                failed[episode.task.id].append(episode.success is not True)
            return (
                f"failure rate over the {len(run.seeds)} seeds of {run.name}",
                {task: sum(flags) / len(flags) for task, flags in failed.items()},
            )
    sampled = [run for run in fixed if all(candidates_of(e) > 1 for e in run.episodes)]
    if judge is None or not sampled:
        return "", {}
    most = max(sampled, key=lambda run: sum(map(candidates_of, run.episodes)))
    rates = {}
    for episode in most.episodes:
        marks = [m for o in label_steps(episode, judge) for m in o.mistaken if m is not None]
        if marks:
            rates[episode.task.id] = sum(marks) / len(marks)
    return f"failure rate among the candidates of {most.name}", rates


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
