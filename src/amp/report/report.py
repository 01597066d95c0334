"""What `amp report` says of runs on the same tasks, as data (spec 2.6).

How it looks is elsewhere: `runtables` as tables, `runpage` as HTML. What was allocated against how
hard a task is, is in `runadaptivity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, did_you_mean
from amp.report.adaptivity import Adapted, Third, adapted, difficulties, thirds
from amp.report.calibration import Calibration, calibrations
from amp.report.frontier import Curve, draw_curve
from amp.report.paired import Versus, comparisons
from amp.report.runs import Run, RunLine, measure_run, oracle_of
from amp.types import Episode

Cost = Literal["tokens", "completion_tokens", "flops", "seconds", "dollars"]
_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """A dear episode that failed.

    Attributes:
        run: its run.
        place: which of the run's episodes it is, from 0.
        task: its task.
        seed: that of the task.
        cost: in the unit of the report.
        steps: plan steps.
        ended: why it ended.
        goal: what was to be done.
    """

    run: str
    place: int
    task: str
    seed: int
    cost: float
    steps: int
    ended: str
    goal: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """All of it; `amp.trace.to_json` makes JSON of it.

    Attributes:
        benchmark: its name; empty if unknown.
        model: the base model's name; empty if unknown.
        cost: what costs are: a field of `amp.types.Usage`.
        reference: the run that the others are compared with.
        lines: one a run.
        oracle: the cheapest fixed run that succeeds, task by task; None without a choice of them.
        curve: None if no run cost anything.
        comparisons: one a run other than the reference.
        family: how many tests Holm's correction counts.
        adapted: what was allocated against how hard tasks are.
        thirds: success and cost by thirds of difficulty.
        calibrations: of the complexity that adaptive runs went by.
        failures: the dearest failed episodes.
        notes: what a reader has to know of the data.
    """

    benchmark: str
    model: str
    cost: Cost
    reference: str
    lines: tuple[RunLine, ...]
    oracle: RunLine | None
    curve: Curve | None
    comparisons: tuple[Versus, ...]
    family: int
    adapted: tuple[Adapted, ...]
    thirds: tuple[Third, ...]
    calibrations: tuple[Calibration, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def make_report(
    runs: Sequence[Run],
    reference: str | None = None,
    cost: Cost = "tokens",
    judge: Benchmark | None = None,
) -> RunReport:
    """Measures runs.

    Args:
        runs: as `amp.report.runs.comparable` returns them.
        reference: name of the run to compare with; the best fixed one if None.
        cost: what costs are.
        judge: the benchmark, to tell right candidates from wrong ones; None goes without.

    Raises:
        InvalidInputError: for an unknown cost, or a reference that is none of the runs.
        MissingDependencyError: if two runs are compared and scipy is not installed.
    """
    if cost not in get_args(Cost):
        known = get_args(Cost)
        raise InvalidInputError(
            f"unknown cost {cost!r}{did_you_mean(cost, known)} (costs: {', '.join(known)})"
        )

    def cost_of(episode: Episode) -> float:
        return float(getattr(episode.usage, cost))

    lines = tuple(
        measure_run(run, cost_of, "adaptive" if run.adaptive else "fixed") for run in runs
    )
    chosen = _best(lines) if reference is None else reference
    by_name = {run.name: run for run in runs}
    if chosen not in by_name:
        raise InvalidInputError(
            f"reference {chosen!r} is none of the runs{did_you_mean(chosen, list(by_name))} "
            f"(runs: {', '.join(by_name)})"
        )
    others = [run for run in runs if run.name != chosen]
    versus, family = comparisons(by_name[chosen], others, cost_of)
    hard = difficulties(runs, judge)
    oracle = oracle_of(runs, cost_of)
    return RunReport(
        benchmark=runs[0].benchmark,
        model=runs[0].model,
        cost=cost,
        reference=chosen,
        lines=lines,
        oracle=None if oracle is None else measure_run(oracle, cost_of, "oracle"),
        curve=draw_curve(runs, oracle, cost_of),
        comparisons=versus,
        family=family,
        adapted=adapted(runs, cost, cost_of, hard),
        thirds=thirds(runs, cost_of, hard),
        calibrations=calibrations(runs),
        failures=_failures(runs, cost_of),
        notes=(*_notes(runs, lines), *_choice(lines, chosen, reference), *hard.notes),
    )


def _best(lines: Sequence[RunLine]) -> str:
    """The fixed run that succeeds most often, of equals the cheapest; without any, the first."""
    fixed = [line for line in lines if line.kind == "fixed"] or lines[:1]
    return max(fixed, key=lambda line: (line.summary.success_rate, -line.cost)).name


def _choice(lines: Sequence[RunLine], chosen: str, wanted: str | None) -> list[str]:
    if wanted is not None or sum(line.kind == "fixed" for line in lines) < 2:
        return []
    return [
        f"the others are compared with {chosen}, the fixed run that succeeds most often; it was "
        "chosen on these very tasks, which favours it"
    ]


def _failures(runs: Sequence[Run], cost_of: Callable[[Episode], float]) -> tuple[Failure, ...]:
    failed = [
        (run, place, episode)
        for run in runs
        for place, episode in enumerate(run.episodes)
        if episode.success is not True
    ]
    failed.sort(key=lambda one: -cost_of(one[2]))
    return tuple(
        Failure(
            run.name, place, episode.task.id, episode.task.seed, cost_of(episode),
            len(episode.steps), episode.ended, episode.task.goal,
        )
        for run, place, episode in failed[:_FAILURES]
    )  # fmt: skip


def _notes(runs: Sequence[Run], lines: Sequence[RunLine]) -> list[str]:
    notes = []
    for run, line in zip(runs, lines, strict=True):
        if run.planned is not None and len(run.episodes) < run.planned:
            notes.append(
                f"{run.name}: {len(run.episodes)} of {run.planned} episodes are counted here"
            )
        if unjudged := sum(episode.success is None for episode in run.episodes):
            notes.append(f"{run.name}: {unjudged} episodes without a verdict count as failures")
        if errors := line.ended.get("model error"):
            notes.append(
                f"{run.name}: {errors} episodes ended by a model error count as failures; "
                "amp run --resume tries them again"
            )
    if lines[0].tasks == 1:
        notes.append("one task: no interval over tasks, and no test can tell runs apart")
    limits = {run.name: _limits(run) for run in runs}
    if len(set(limits.values())) > 1:
        told = "; ".join(f"{name}: {limit}" for name, limit in limits.items())
        notes.append(f"the runs had different limits ({told})")
    return notes


def _limits(run: Run) -> str:
    limits = run.settings.get("limits") or {}
    set_ones = (f"{value} {what}" for what, value in limits.items() if value is not None)
    return ", ".join(set_ones) or "none"
