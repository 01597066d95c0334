"""The figures of one run: success and cost with their intervals, and where the cost went."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from amp.evaluate.metrics import Interval, Summary, summarise, wilson
from amp.evaluate.runs import Run, tasks_of
from amp.evaluate.statistics import bootstrap_interval, clustered_rate_interval, ratio
from amp.types import Episode

Kind = Literal["fixed", "adaptive", "oracle"]


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
    """One run, or the oracle.

    Attributes:
        name: its name.
        kind: fixed and adaptive are runs; the oracle picks from fixed ones.
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
    kind: Kind
    tasks: int
    seeds: int
    planned: int | None
    summary: Summary
    success_interval: Interval | None
    cost: float
    cost_interval: Interval | None
    parts: tuple[Part, ...]
    ended: Mapping[str, int]


def measure_run(run: Run, cost_of: Callable[[Episode], float], kind: Kind) -> RunLine:
    """The figures of one run.

    Args:
        run: with at least one episode.
        cost_of: cost of an episode.
        kind: what it is.
    """
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
        kind=kind,
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
            looked_tokens, looked_seconds = step.usage.tokens, step.usage.seconds
            for made in step.rounds:
                name = "verified candidates" if made.allocation.verification > 1 else "candidates"
                spent = made.usage
                tools = sum(use.seconds for c in made.candidates for use in c.tool_uses)
                tokens[name] += spent.tokens
                # Tools that work side by side take less time together than apart.
                seconds["tools"] += min(tools, spent.seconds)
                seconds[name] += max(0.0, spent.seconds - tools)
                looked_tokens -= spent.tokens
                looked_seconds -= spent.seconds
            tokens["looks"] += looked_tokens
            seconds["looks"] += looked_seconds
    names = ("looks", "candidates", "verified candidates", "tools")
    return tuple(
        Part(name, tokens[name], seconds[name])
        for name in names
        if tokens[name] or seconds[name] > 1e-9
    )
