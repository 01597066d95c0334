"""What `amp report` says of runs on the same tasks, as data (spec 2.6).

How it looks is elsewhere: `runtables` as tables, `runpage` as HTML. What was allocated against how
hard a task is, is in `runadaptivity`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, did_you_mean
from amp.evaluate.curves import Point
from amp.evaluate.metrics import Interval, Summary, summarise, wilson
from amp.evaluate.runadaptivity import Adapted, Third, adapted, difficulties, thirds
from amp.evaluate.runcurve import Curve, draw_curve
from amp.evaluate.runs import Run, tasks_of
from amp.evaluate.runversus import Versus, comparisons
from amp.evaluate.statistics import bootstrap_interval, clustered_rate_interval, ratio
from amp.types import Episode, Usage

Cost = Literal["tokens", "completion_tokens", "flops", "seconds", "dollars"]
_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of the work took, over all episodes of a run.

    Attributes:
        name: ``looks`` of the assessor; ``candidates``; ``verified candidates``, of rounds in which
            the model checks its answers, whose traces do not tell both apart; ``tools``.
        tokens: prompt and completion tokens.
        seconds: time inside models and tools.
    """

    name: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run.

    Attributes:
        name: its name.
        adaptive: whether tasks may be given different amounts.
        tasks: distinct tasks.
        seeds: runs of each.
        planned: episodes that it was to have; None if nobody said.
        summary: its figures. With several seeds their interval is that over tasks, which is None
            where there is but one task.
        success_interval: of the success rate, clustered by task.
        cost: mean of an episode.
        cost_interval: of that mean; None if there is but one task.
        parts: where tokens and seconds went; empty if the traces hold no steps.
        ended: why episodes ended, with how many.
    """

    name: str
    adaptive: bool
    tasks: int
    seeds: int
    planned: int | None
    summary: Summary
    success_interval: Interval | None
    cost: float
    cost_interval: Interval | None
    parts: tuple[Part, ...]
    ended: Mapping[str, int]

    @property
    def point(self) -> Point:
        return Point(self.cost, self.summary.success_rate, self.name)


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
        curve: None if no run cost anything.
        comparisons: one a run other than the reference.
        family: how many tests Holm's correction counts.
        adapted: what was allocated against how hard tasks are.
        thirds: success and cost by thirds of difficulty.
        failures: the dearest failed episodes.
        notes: what a reader has to know of the data.
    """

    benchmark: str
    model: str
    cost: Cost
    reference: str
    lines: tuple[RunLine, ...]
    curve: Curve | None
    comparisons: tuple[Versus, ...]
    family: int
    adapted: tuple[Adapted, ...]
    thirds: tuple[Third, ...]
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
        runs: as `amp.evaluate.runs.comparable` returns them.
        reference: name of the run to compare with; the first if None.
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
    by_name = {run.name: run for run in runs}
    chosen = reference or runs[0].name
    if chosen not in by_name:
        raise InvalidInputError(
            f"reference {chosen!r} is none of the runs{did_you_mean(chosen, list(by_name))} "
            f"(runs: {', '.join(by_name)})"
        )

    def cost_of(episode: Episode) -> float:
        return float(getattr(episode.usage, cost))

    lines = tuple(_line(run, cost_of) for run in runs)
    others = [run for run in runs if run.name != chosen]
    versus, family = comparisons(by_name[chosen], others, cost_of)
    hard = difficulties(runs, judge)
    return RunReport(
        benchmark=runs[0].benchmark,
        model=runs[0].model,
        cost=cost,
        reference=chosen,
        lines=lines,
        curve=draw_curve(runs, {line.name: line.point for line in lines}, cost_of),
        comparisons=versus,
        family=family,
        adapted=adapted(runs, cost, cost_of, hard),
        thirds=thirds(runs, cost_of, hard),
        failures=_failures(runs, cost_of),
        notes=(*_notes(runs, lines), *hard.notes),
    )


def _line(run: Run, cost_of: Callable[[Episode], float]) -> RunLine:
    tasks, summary = tasks_of(run.episodes), summarise(run.episodes)
    costs = [cost_of(episode) for episode in run.episodes]
    several = len(set(tasks)) > 1
    if several:
        succeeded = [episode.success is True for episode in run.episodes]
        sure: Interval | None = clustered_rate_interval(tasks, succeeded)
    else:
        sure = wilson(summary.successes, 1) if len(tasks) == 1 else None
    return RunLine(
        name=run.name,
        adaptive=run.adaptive,
        tasks=len(set(tasks)),
        seeds=len(run.seeds),
        planned=run.planned,
        summary=summary,
        success_interval=sure,
        cost=sum(costs) / len(costs),
        cost_interval=bootstrap_interval(tasks, [costs, [1.0] * len(costs)], ratio)
        if several
        else None,
        parts=_parts(run.episodes),
        ended=dict(Counter(episode.ended for episode in run.episodes).most_common()),
    )


def _parts(episodes: Sequence[Episode]) -> tuple[Part, ...]:
    tokens: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for episode in episodes:
        for step in episode.steps:
            looked = step.usage - sum((r.usage for r in step.rounds), Usage())
            tokens["looks"] += looked.tokens
            seconds["looks"] += looked.seconds
            for made in step.rounds:
                name = "verified candidates" if made.allocation.verification > 1 else "candidates"
                tools = sum(use.seconds for c in made.candidates for use in c.tool_uses)
                tokens[name] += made.usage.tokens
                # Tools that work side by side take less time together than apart.
                seconds["tools"] += min(tools, made.usage.seconds)
                seconds[name] += max(0.0, made.usage.seconds - tools)
    names = ("looks", "candidates", "verified candidates", "tools")
    return tuple(
        Part(name, tokens[name], seconds[name])
        for name in names
        if tokens[name] or seconds[name] > 1e-9
    )


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
    return notes
