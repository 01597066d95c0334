"""Plans as timelines: each task with the episodes of all runs side by side, step by step.

A page of tens of thousands of steps has to stay small. So the most telling episodes are shown with
all their texts, the others with a line a step, and what does not fit is left out; the page says
how many of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import label_steps
from amp.report.html_page import fragment
from amp.report.report import RunReport
from amp.report.runs import Run
from amp.report.words import brief, in_short
from amp.types import Candidate, Complexity, Episode, Round, StepRecord

if TYPE_CHECKING:
    from markupsafe import Markup

FULL_BYTES = 1_500_000
LINE_BYTES = 5_000_000
_STEPS = 40
_CANDIDATES = 12
_FEATURES = 3
_SAMPLE = 2_000
_ENDED = object()
VERDICTS = {True: ("good", "success"), False: ("bad", "failure"), None: ("note", "unjudged")}

Place = tuple[int, int]
"""A run and one of its episodes, each by its index."""
Judged = list[tuple[Candidate, bool | None]]
"""Candidates, each with whether it was a mistake."""


@dataclass(frozen=True, slots=True)
class Timelines:
    """What a page shows of plans.

    Attributes:
        plans: one a task, as HTML.
        full: the episodes that are shown with all their texts.
        note: how many are shown how.
        parting: whether any runs part, so that steps in which they do can be filtered.
    """

    plans: tuple[Markup, ...]
    full: frozenset[Place]
    note: str
    parting: bool


@dataclass(frozen=True, slots=True)
class _ShownStep:
    """A step as the templates read it."""

    number: int
    record: StepRecord
    same: bool = False
    mistaken: bool | None = None
    features: str = ""
    rounds: list[tuple[Round, Judged]] = field(default_factory=list)
    left_out: int = 0


def timelines(
    report: RunReport,
    runs: Sequence[Run],
    judge: Benchmark | None = None,
    full_bytes: int = FULL_BYTES,
    line_bytes: int = LINE_BYTES,
) -> Timelines:
    """The plans of runs.

    Args:
        report: of the runs; its dearest failures come first.
        runs: on the same tasks.
        judge: marks mistakes in these failures (a simulator takes its time); None marks none.
        full_bytes: what all episodes that are shown with their texts may take.
        line_bytes: what all others may take.
    """
    names = {run.name: place for place, run in enumerate(runs)}
    failed = [(names[failure.run], failure.place) for failure in report.failures]
    groups = _in_order(runs, failed)
    usual = Usual(step.complexity for run in runs for e in run.episodes for step in e.steps)
    same = {place: shared for group in groups for place, shared in _same(runs, group).items()}
    requested = dict.fromkeys([*failed, *(place for group in groups for place in group)])
    full: dict[Place, Markup] = {}
    for place in requested:
        run, episode = _at(runs, place)
        marks = judge if place in failed else None
        made = timeline(episode, run.name, anchor(*place), marks, usual, same[place])
        full_bytes -= len(made.encode())
        if full_bytes < 0:
            break
        full[place] = made
    plans = []
    shown = set[Place]()
    for group in groups:
        parts = {place: full.get(place) or _lines(runs, place, same[place]) for place in group}
        line_bytes -= sum(len(made.encode()) for key, made in parts.items() if key not in full)
        if line_bytes < 0:
            parts = {place: made for place, made in parts.items() if place in full}
        if parts:
            shown |= parts.keys()
            plans.append(_plan(runs, parts, same))
    return Timelines(
        tuple(plans),
        frozenset(full),
        _note(len(requested), len(full), len(shown) - len(full), judge is not None),
        parting=any(not all(shared) for shared in same.values()) and len(runs) > 1,
    )


def anchor(run: int, place: int) -> str:
    """Where the timeline of a run's episode stands in the page."""
    return f"trace-{run}-{place}"


def timeline(
    episode: Episode,
    run: str,
    where: str,
    judge: Benchmark | None = None,
    usual: Usual | None = None,
    same: Sequence[bool] = (),
) -> Markup:
    """One episode with all its texts.

    Args:
        episode: the episode.
        run: name of its run.
        where: its anchor.
        judge: its benchmark, to mark right candidates and mistakes; None marks none.
        usual: what features of other steps are; None for those of this episode.
        same: for each step, whether all runs of the task did the same there.
    """
    judged = () if judge is None else label_steps(episode, judge)
    marks = {labels.step: labels.mistaken for labels in judged}
    usual = usual or Usual(step.complexity for step in episode.steps)
    steps = [
        _shown(place, step, marks.get(place, ()), usual, place < len(same) and same[place])
        for place, step in enumerate(episode.steps[:_STEPS])
    ]
    return fragment(
        "timeline.html",
        episode=episode,
        run=run,
        anchor=where,
        verdict=VERDICTS[episode.success],
        mistakes=sum(step.mistaken is True for step in steps) if judged else None,
        steps=steps,
        steps_left_out=len(episode.steps) - _STEPS,
    )


class Usual:
    """What features are as a rule, so that the largest of a step can be told on any scale.

    Args:
        assessed: the complexities of many steps, of which some are looked at.
    """

    def __init__(self, assessed: Iterator[Complexity]) -> None:
        every = list(assessed)
        values: dict[str, list[float]] = {}
        for one in every[:: max(1, len(every) // _SAMPLE)]:
            for name, value in one.features.items():
                values.setdefault(name, []).append(value)
        self._known = {name: (fmean(found), pstdev(found)) for name, found in values.items()}

    def largest(self, one: Complexity) -> str:
        """The features that are furthest above what they usually are, by standard deviations.

        Where nothing differs, the largest as they are.
        """
        above = []
        for name, value in one.features.items():
            mean, spread = self._known.get(name, (value, 0.0))
            above.append(((value - mean) / spread if spread else 0.0, value, name))
        above.sort(key=lambda each: (-each[0], -each[1]))
        told = [each for each in above if each[0] > 0] or above
        return ", ".join(f"{name} {value:.3g}" for _, value, name in told[:_FEATURES])


def _in_order(runs: Sequence[Run], failed: Sequence[Place]) -> list[list[Place]]:
    """The episodes of each task: those of the dearest failures, of runs that differ, all others."""
    by_task: dict[tuple[str, int], list[Place]] = {}
    for run, one in enumerate(runs):
        for place, episode in enumerate(one.episodes):
            if episode.steps:
                by_task.setdefault((episode.task.id, episode.task.seed), []).append((run, place))
    first = {place: rank for rank, place in enumerate(failed)}

    def telling(group: Sequence[Place]) -> tuple[int, bool]:
        differ = len({_at(runs, place)[1].success for place in group}) > 1
        return min(first.get(place, len(first)) for place in group), not differ

    return sorted(by_task.values(), key=telling)


def _at(runs: Sequence[Run], place: Place) -> tuple[Run, Episode]:
    run, episode = place
    return runs[run], runs[run].episodes[episode]


def _same(runs: Sequence[Run], group: Sequence[Place]) -> dict[Place, list[bool]]:
    """For each step of each episode, whether all runs allocated and did the same there."""
    plans = {place: [_done(step) for step in _at(runs, place)[1].steps] for place in group}
    ways = list(plans.values())
    shortest = min(map(len, ways)) if len(ways) > 1 else 0
    shared = [all(way[at] == ways[0][at] for way in ways) for at in range(shortest)]
    return {place: shared + [False] * (len(way) - shortest) for place, way in plans.items()}


def _done(step: StepRecord) -> tuple[object, ...]:
    return step.action, *(made.allocation for made in step.rounds)


def _plan(runs: Sequence[Run], parts: dict[Place, Markup], same: dict[Place, list[bool]]) -> Markup:
    """One task."""
    episodes = {place: _at(runs, place) for place in parts}
    return fragment(
        "plan.html",
        task=next(iter(episodes.values()))[1].task,
        told=[(run.name, VERDICTS[e.success], e.usage) for run, e in episodes.values()],
        rows=max(min(len(e.steps), _STEPS) for _, e in episodes.values()),
        parts=list(parts.values()),
        same=all(flag for place in parts for flag in same[place]),
        parting=_parting([episode for _, episode in episodes.values()]),
    )


def _parting(episodes: Sequence[Episode]) -> str:
    """Where several runs first do something else, or only allocate something else."""
    what = ("act", [[step.action for step in one.steps] for one in episodes])
    given = ("allocate", [[_done(step)[1:] for step in one.steps] for one in episodes])
    for verb, ways in (what, given):
        together = zip_longest(*ways, fillvalue=_ENDED)
        for number, (first, *others) in enumerate(together, 1):
            if any(other != first for other in others):
                return f"the runs {verb} differently from step {number} on"
    return "the runs do the same" if len(episodes) > 1 else ""


def _lines(runs: Sequence[Run], place: Place, same: Sequence[bool]) -> Markup:
    """One episode, a line a step."""
    run, episode = _at(runs, place)
    steps = episode.steps[:_STEPS]
    allocated = [
        "; then ".join(in_short(made.allocation) for made in step.rounds) for step in steps
    ]
    alike = len(steps) > 1 and len(set(allocated)) == 1
    rows = [
        (
            "same" if shared else "",
            f"{step.complexity.score:.2f}".removeprefix("0"),
            brief(step.action or f"no action: {step.failure or 'unknown'}"),
            f"{'' if alike else f'{what}; '}{step.usage.tokens:,}",
        )
        for step, what, shared in zip(steps, allocated, same, strict=False)
    ]
    return fragment(
        "lines.html",
        run=run.name,
        note="; ".join(
            [
                *([] if episode.ended == "done" else [f"ended: {episode.ended}"]),
                *([f"each step: {allocated[0]}"] if alike else []),
            ]
        ),
        steps=rows,
        steps_left_out=len(episode.steps) - _STEPS,
    )


def _shown(
    place: int, step: StepRecord, marks: tuple[bool | None, ...], usual: Usual, same: bool
) -> _ShownStep:
    """A step, its rounds with the candidates that are shown, and how many are not."""
    candidates = step.candidates
    verdicts = [*marks, *([None] * (len(candidates) - len(marks)))]
    done = (m for c, m in zip(candidates, verdicts, strict=True) if c.action == step.action)
    told = iter(verdicts)
    left = _CANDIDATES
    rounds: list[tuple[Round, Judged]] = []
    for made in step.rounds:
        pairs = list(zip(made.candidates, islice(told, len(made.candidates)), strict=True))
        rounds.append((made, pairs[:left]))
        left = max(0, left - len(pairs))
    return _ShownStep(
        place + 1,
        step,
        same,
        None if step.action is None else next(done, None),
        usual.largest(step.complexity),
        rounds,
        len(candidates) - _CANDIDATES,
    )


def _note(total: int, full: int, lines: int, judged: bool) -> str:
    told = f"Episodes: {total:,}, the most telling first: the dearest failures, then tasks of which"
    told += " some runs fail and others do not, then all others."
    if full < total:
        told += f" For size {full:,} are shown with all their texts, {lines:,} with a line a step"
        told += f", {total - full - lines:,} not at all; amp trace show RUN --task TASK --full"
        told += " shows any of them."
    else:
        told += " All are shown with their texts."
    if judged:
        told += " In the dearest failures a judge has marked what was right and what a mistake."
    return told
