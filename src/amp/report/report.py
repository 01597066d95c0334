"""The report on runs of the same tasks, as data (spec 2.6).

`amp report` makes it of runs on disk, `amp simulate` of runs on recorded samples. How it looks is
elsewhere: `amp.report.tables` and `amp.report.pages`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amp.benchmarks.base import Benchmark
from amp.cost import COSTS, Cost, Costing, costing, prices_of
from amp.errors import InvalidInputError, did_you_mean
from amp.report.adaptivity import (
    Adapted,
    Calibration,
    Third,
    adapted,
    calibrations,
    task_difficulties,
    thirds,
)
from amp.report.frontier import Curve, Front, performance_curve
from amp.report.paired import Versus, against, comparisons, detectable_with_one_seed
from amp.report.runs import Kind, Run, RunLine, SuccessInterval, measure_run, oracle_of
from amp.types import Episode

_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Analysis:
    """What can be worked out in more than one good way, decided before the figures are seen.

    Reports of runs and of recorded samples were published with different choices, each for a
    reason; one code computes both.

    Attributes:
        success_interval: as `amp.report.runs.SuccessInterval` says.
        front: as `amp.report.frontier.Front` says.
        compared: kinds of runs that are compared with the reference.
        tested: those of them whose difference is a test of the family that Holm's correction
            counts.
        test_savings: whether what they save is a test of the family, too.
    """

    success_interval: SuccessInterval = "wilson"
    front: Front = "redrawn"
    compared: frozenset[Kind] = frozenset({"fixed", "rule", "adaptive", "control"})
    tested: frozenset[Kind] = compared
    test_savings: bool = True


OF_RUNS = Analysis()
"""A handful of runs of the planner, often one seed each: whatever is compared is tested."""

OF_SAMPLES = Analysis(
    success_interval="bootstrap",
    front="kept",
    compared=OF_RUNS.compared | {"oracle"},
    tested=frozenset({"rule", "adaptive", "control"}),
    test_savings=False,
)
"""Dozens of policies on the same recorded samples, in many orders.

The fixed allocations there are a grid, of which the reference is one; to test each would take the
power from the tests of what is new. What a policy saves on the same samples is given with its
interval. One way to resample makes all intervals.
"""


@dataclass(frozen=True, slots=True)
class FailedEpisode:
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


def _success_told(one: Versus) -> str:
    points = abs(one.difference) * 100
    if (sure := one.interval) is None:
        return f"{one.name} and {one.against} did one task, too few to compare them"
    between = f"95 %: {sure.low * 100:+.1f} to {sure.high * 100:+.1f} on {one.tasks} tasks"
    if sure.low <= 0 <= sure.high:
        return (
            f"No difference in success was found between {one.name} and {one.against} "
            f"({one.difference * 100:+.1f} points; {between})"
        )
    more = "more" if one.difference > 0 else "fewer"
    return f"{one.name} solved {points:.1f} points {more} than {one.against} ({between})"


def _saving_told(one: Versus, unit: str) -> str:
    if one.saving is None:
        return ""
    share, sure = one.saving.share, one.saving.interval
    shown = f"{abs(share):.{0 if abs(share) >= 0.01 else 1}%}"
    amount = "as many" if share == 0 else f"{shown} {'fewer' if share > 0 else 'more'}"
    told = f"; it spent {amount} {unit}"
    if sure is None or sure.low == sure.high == 0:
        return told
    doubt = ", which may be chance" if share and sure.low <= 0 <= sure.high else ""
    return f"{told}{doubt} (95 % of what it saved: {sure.low:.0%} to {sure.high:.0%})"


@dataclass(frozen=True, slots=True)
class RunReport:
    """All of it; `amp.trace.to_json` makes JSON of it.

    Attributes:
        benchmark: its name; empty if unknown.
        model: the base model's name; empty if unknown.
        cost: what costs are.
        reference: the run that the others are compared with.
        analysis: how figures were worked out where there are several ways.
        lines: one a run.
        oracle: the cheapest fixed run that succeeds, task by task; None without a choice of them.
        curve: None if no run cost anything.
        comparisons: one a run other than the reference.
        family: how many tests Holm's correction counts.
        duels: of some runs with each rule, each adaptive run and the reference, uncorrected.
        detectable: smallest difference in success that the exact test of one seed could have found
            with a power of 80 %, if as many tasks differ as between the reference and the cheapest
            fixed run; None if they never do, or there is no such run.
        adapted: what was allocated against the difficulty of tasks.
        thirds: success and cost by thirds of difficulty.
        calibrations: of the complexity that adaptive runs went by.
        failures: the dearest failed episodes.
        price: the price that stands in for the model's own, if one does; also among the notes.
        notes: what a reader has to know of the data.
    """

    benchmark: str
    model: str
    cost: Cost
    reference: str
    analysis: Analysis
    lines: tuple[RunLine, ...]
    oracle: RunLine | None
    curve: Curve | None
    comparisons: tuple[Versus, ...]
    family: int
    duels: tuple[Versus, ...]
    detectable: float | None
    adapted: tuple[Adapted, ...]
    thirds: tuple[Third, ...]
    calibrations: tuple[Calibration, ...]
    failures: tuple[FailedEpisode, ...]
    price: str
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it is of."""
        named = " of ".join(filter(None, (self.benchmark, self.model)))
        return f"Runs on {named}" if named else "Runs"

    @property
    def conclusion(self) -> str:
        """What came out, in a sentence: of the best adaptive run, or else of the best other one."""
        kinds = {line.name: line.kind for line in self.lines}
        against = [one for one in self.comparisons if one.against == self.reference]
        adaptive = [one for one in against if kinds.get(one.name) == "adaptive"]
        if not against:
            line = self.lines[0]
            return (
                f"{line.name} solved {line.summary.success_rate:.0%} of {line.tasks} tasks at "
                f"{line.cost:,.4g} {self.unit} each; there is no other run to compare it with."
            )
        best = max(adaptive or against, key=lambda one: (one.difference, one.saving_share))
        return f"{_success_told(best)}{_saving_told(best, self.unit)}."

    @property
    def unit(self) -> str:
        """What its costs are, in words."""
        return COSTS[self.cost]


def make_report(
    runs: Sequence[Run],
    reference: str | None = None,
    cost: Cost = "tokens",
    judge: Benchmark | None = None,
    *,
    analysis: Analysis = OF_RUNS,
    duels: Sequence[str] = (),
    oracle: Run | None = None,
) -> RunReport:
    """Measures runs.

    Args:
        runs: as `amp.report.runs.comparable` returns them.
        reference: name of the run to compare with; the best fixed one if None.
        cost: what costs are.
        judge: the benchmark, to tell right candidates from wrong ones; None goes without.
        analysis: how figures are worked out where there are several ways.
        duels: names of runs that are compared one by one, too.
        oracle: the best that can be done, where that is known; else that of the fixed runs is.

    Raises:
        InvalidInputError: if the cost is not known of every run (`measure_of`), or the reference or
            a duel is none of the runs.
        MissingDependencyError: if two runs are compared and scipy is not installed.
    """
    measure = measure_of(runs, cost)

    def cost_of(episode: Episode) -> float:
        return measure.of(episode.usage)

    lines = tuple(measure_run(run, cost_of, analysis.success_interval) for run in runs)
    chosen = _best(lines) if reference is None else reference
    by_name = {run.name: run for run in runs}
    for what, name in (("reference", chosen), *(("duel", name) for name in duels)):
        if name not in by_name:
            raise InvalidInputError(
                f"{what} {name!r} is none of the runs{did_you_mean(name, list(by_name))} "
                f"(runs: {', '.join(by_name)})"
            )
    oracle = oracle_of(runs, cost_of) if oracle is None else oracle
    others = [run for run in (*runs, *([] if oracle is None else [oracle]))
              if run.name != chosen and run.kind in analysis.compared]  # fmt: skip
    versus, family = comparisons(
        by_name[chosen],
        others,
        cost_of,
        tested=analysis.tested,
        test_savings=analysis.test_savings,
    )
    cheapest = min((line for line in lines if line.kind == "fixed"), key=_cost, default=None)
    difficulties = task_difficulties(runs, judge)
    return RunReport(
        benchmark=runs[0].benchmark,
        model=runs[0].model,
        cost=cost,
        reference=chosen,
        analysis=analysis,
        lines=lines,
        oracle=None if oracle is None else measure_run(oracle, cost_of, analysis.success_interval),
        curve=performance_curve(runs, oracle, cost_of, analysis.front),
        comparisons=versus,
        family=family,
        duels=tuple(
            against(other, by_name[name], cost_of)
            for name in duels
            for other in _rivals(by_name[name], runs, lines, chosen)
        ),
        detectable=None
        if cheapest is None
        else detectable_with_one_seed(by_name[chosen], by_name[cheapest.name]),
        adapted=adapted(runs, cost, cost_of, difficulties),
        thirds=thirds(runs, cost_of, difficulties),
        calibrations=calibrations(runs),
        failures=_failures(runs, cost_of),
        price=measure.note,
        notes=(
            *filter(None, [measure.note]),
            *_notes(runs, lines),
            *_choice(lines, chosen, reference),
            *difficulties.notes,
        ),
    )


def measure_of(runs: Sequence[Run], cost: Cost) -> Costing:
    """How the runs are measured: all of them by one cost and, in dollars, by one list of prices.

    Raises:
        InvalidInputError: if the cost is not known of a run (`amp.cost.costing`), a second model
            takes a part in its dollars that a reference price can't tell, or the runs were charged
            at different prices.
    """
    first, *others = runs
    measure = _measure(first, cost)
    for run in others:
        if _measure(run, cost) != measure or (cost == "dollars" and not _alike(first, run)):
            raise InvalidInputError(
                f"runs {first.name} and {run.name} can't be compared in dollars: they were charged"
                " at different prices; compare by another cost"
            )
    return measure


def _measure(run: Run, cost: Cost) -> Costing:
    if run.card is not None:
        measure = costing(cost, run.card)
        if measure.prices is not None and run.larger_model:
            raise InvalidInputError(
                f"run {run.name} can't be compared in dollars: the reference price is that of"
                f" {run.card.name}, and {run.larger_model} answered, too; compare by another cost"
            )
        return measure
    if cost in ("flops", "dollars") and not any(getattr(e.usage, cost) for e in run.episodes):
        raise InvalidInputError(
            f"{COSTS[cost]} of run {run.name} are not known: it does not say what its model is;"
            " compare by another cost"
        )
    return Costing(cost)


def _alike(one: Run, other: Run) -> bool:
    """Whether both were charged by the same prices, as far as they say."""
    if one.card is None or other.card is None:
        return True
    return prices_of(one.card) == prices_of(other.card)


def _cost(line: RunLine) -> float:
    return line.cost


def _rivals(run: Run, runs: Sequence[Run], lines: Sequence[RunLine], reference: str) -> list[Run]:
    """Every rule, every other adaptive run and the reference, the cheapest first."""
    pairs = [
        (line.cost, other)
        for other, line in zip(runs, lines, strict=True)
        if other is not run and (other.kind in ("rule", "adaptive") or other.name == reference)
    ]
    return [other for _, other in sorted(pairs, key=lambda pair: pair[0])]


def _best(lines: Sequence[RunLine]) -> str:
    """The fixed run that succeeds most often, of equals the cheapest; without any, the first."""
    fixed = [line for line in lines if line.kind == "fixed"] or lines[:1]
    return max(fixed, key=lambda line: (line.summary.success_rate, -line.cost)).name


def _choice(lines: Sequence[RunLine], chosen: str, requested: str | None) -> list[str]:
    if requested is not None or sum(line.kind == "fixed" for line in lines) < 2:
        return []
    return [
        f"the others are compared with {chosen}, the fixed run that succeeds most often; it was "
        "chosen on these very tasks, which favours it"
    ]


def _failures(
    runs: Sequence[Run], cost_of: Callable[[Episode], float]
) -> tuple[FailedEpisode, ...]:
    failed = [
        (run, place, episode)
        for run in runs
        for place, episode in enumerate(run.episodes)
        if episode.success is not True
    ]
    failed.sort(key=lambda one: -cost_of(one[2]))
    return tuple(
        FailedEpisode(
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
        notes += [f"{run.name}: {note}" for note in line.summary.notes]
    if lines[0].tasks == 1:
        notes.append("one task: no interval over tasks, and no test can tell runs apart")
    limits = {run.name: _limits(run) for run in runs}
    if len(set(limits.values())) > 1:
        by_run = "; ".join(f"{name}: {limit}" for name, limit in limits.items())
        notes.append(f"the runs had different limits ({by_run})")
    return notes


def _limits(run: Run) -> str:
    limits = run.settings.get("limits") or {}
    set_ones = (f"{value} {what}" for what, value in limits.items() if value is not None)
    return ", ".join(set_ones) or "none"
