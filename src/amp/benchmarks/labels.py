"""What a judge says of every candidate of an episode, and the complexity that follows from it.

Three rules make annotations of it (spec 3.4.1). Each answers another question about a step:
`failure_rate` how often an answer to it is wrong, `cheapest` how many answers it takes, `settling`
whether to act on the answers so far would be a mistake. What no judge can tell is left out.

`scored` makes annotations of what was known before a step's first round, to be held to these rules
and to people's ratings.

`context_at` gives a step of a finished episode as the CAM saw it, or would have seen it with less
evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from amp.annotations.store import Annotation
from amp.assess.features import BY_NAME, Feature
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, did_you_mean
from amp.types import Candidate, Episode, Evidence, StepContext
from amp.votes import weighted_vote


def context_at(episode: Episode, step: int, candidates: tuple[int, ...] = ()) -> StepContext:
    """The context of a step with these of its candidates known.

    Args:
        episode: the episode.
        step: index of the step, from 0.
        candidates: indices among its candidates; empty before the first round.

    Raises:
        InvalidInputError: if there is no such step or candidate.
    """
    if not 0 <= step < len(episode.steps):
        raise InvalidInputError(
            f"step is {step}, but the episode of {episode.task.id} has {len(episode.steps)} steps"
        )
    record = episode.steps[step]
    recorded = record.candidates
    for index in candidates:
        if not 0 <= index < len(recorded):
            raise InvalidInputError(
                f"candidate is {index}, but step {step} of {episode.task.id} has {len(recorded)}"
            )
    known = tuple(recorded[index] for index in candidates)
    evidence = Evidence(known, rounds=int(bool(known)), probe=record.probe)
    return StepContext(episode.task, record.observation, episode.steps[:step], evidence)


def blinded(context: StepContext) -> StepContext:
    """The context as a model without log-probabilities and hidden states would have left it."""
    silent = tuple(
        replace(c, log_prob=None, entropy=None, first_entropy=None, probability=None)
        for c in context.evidence.candidates
    )
    steps = tuple(replace(step, probe=None) for step in context.steps)
    evidence = replace(context.evidence, candidates=silent, probe=None)
    return replace(context, steps=steps, evidence=evidence)


@dataclass(frozen=True, slots=True)
class StepLabels:
    """What a judge says of one plan step.

    Attributes:
        step: index of the step in its plan, from 0.
        mistaken: for each candidate of the step, over all rounds in order, whether its action is a
            mistake in the state of the step; None if that cannot be decided.
    """

    step: int
    mistaken: tuple[bool | None, ...]


def label_steps(episode: Episode, benchmark: Benchmark) -> tuple[StepLabels, ...]:
    """Lets the benchmark's judge follow an episode and look at every candidate of each step.

    Raises:
        InvalidInputError: if the plan is not one of this benchmark's.
        MissingDependencyError: if the benchmark lacks packages.
    """
    judge = benchmark.judge(episode.task)
    labels = []
    for index, step in enumerate(episode.steps):
        actions = [candidate.action for candidate in step.candidates]
        verdicts = {action: judge.mistaken(action) for action in dict.fromkeys(actions)}
        labels.append(StepLabels(index, tuple(verdicts[action] for action in actions)))
        if step.action is not None:
            judge.advance(step.action)
    return tuple(labels)


def failure_rate(episode: Episode, judged: Iterable[StepLabels]) -> list[Annotation]:
    """Complexity as the share of mistaken candidates, before the first round of each step."""
    return [
        _annotation(episode, labels, "failure_rate", rate)
        for labels in judged
        if (rate := _failure_rate(labels)) is not None
    ]


def cheapest(episode: Episode, judged: Iterable[StepLabels]) -> list[Annotation]:
    """Complexity by the fewest candidates whose vote is right, before the first round of each step.

    The candidates are taken in order. If the vote of the first k of n is right and that of no fewer
    is, complexity is log2(k) / log2(2 n): 0 for one candidate, 1 if the vote is never right, as if
    twice as many had been needed. A step is left out if a vote before that can't be judged.
    """
    annotations = []
    for labels in judged:
        candidates = episode.steps[labels.step].candidates
        needed = _fewest(candidates, labels)
        if needed is not None:
            complexity = math.log2(needed) / math.log2(2 * len(candidates))
            annotations.append(_annotation(episode, labels, "cheapest", complexity))
    return annotations


def settling(episode: Episode, judged: Iterable[StepLabels]) -> list[Annotation]:
    """Complexity as whether to act now fails, for what may be known of a step.

    With each candidate alone, and with the first 2, 3 and so on: 1 if their vote is mistaken, else
    0. Before the first round: the share of mistaken candidates.
    """
    annotations = []
    for labels in judged:
        rate = _failure_rate(labels)
        if rate is not None:
            annotations.append(_annotation(episode, labels, "settling", rate))
        candidates = episode.steps[labels.step].candidates
        for known in _parts(len(candidates)):
            mistaken = _vote_mistaken(candidates, labels, known)
            if mistaken is not None:
                annotations.append(_annotation(episode, labels, "settling", float(mistaken), known))
    return annotations


RULES: dict[str, Callable[[Episode, Iterable[StepLabels]], list[Annotation]]] = {
    "failure_rate": failure_rate,
    "cheapest": cheapest,
    "settling": settling,
}
"""The rules by name."""


def _failure_rate(labels: StepLabels) -> float | None:
    known = [mistaken for mistaken in labels.mistaken if mistaken is not None]
    return sum(known) / len(known) if known else None


def _fewest(candidates: Sequence[Candidate], labels: StepLabels) -> int | None:
    """The fewest candidates whose vote is right; twice their number if it never is."""
    for count in range(1, len(candidates) + 1):
        mistaken = _vote_mistaken(candidates, labels, range(count))
        if mistaken is None:
            return None
        if not mistaken:
            return count
    return 2 * len(candidates) or None


def _vote_mistaken(
    candidates: Sequence[Candidate], labels: StepLabels, known: Iterable[int]
) -> bool | None:
    """Whether the vote of these candidates is a mistake; to name no action is one."""
    winner = weighted_vote([candidates[index] for index in known])
    return True if winner is None else labels.mistaken[candidates.index(winner)]


def _parts(count: int) -> Iterator[tuple[int, ...]]:
    """Each index alone, then the first two, the first three and so on."""
    yield from ((index,) for index in range(count))
    yield from (tuple(range(stop)) for stop in range(2, count + 1))


def _annotation(
    episode: Episode,
    labels: StepLabels,
    rule: str,
    complexity: float,
    candidates: tuple[int, ...] = (),
) -> Annotation:
    return Annotation(
        task=episode.task.id,
        step=labels.step,
        complexity=complexity,
        by=f"rule:{rule}",
        goal=episode.task.goal,
        state=episode.steps[labels.step].observation.state,
        candidates=candidates,
    )


COMPLEXITY = "complexity"
"""Among the scores of `scored`, what the assessor said."""


def scored(episode: Episode, names: Sequence[str]) -> list[Annotation]:
    """What was known of each step before its first round, as annotations of rules of these names.

    A feature takes its place between its bounds; for x of one that has no upper bound stands
    x / (1 + x), which keeps the order. A step that lacks a score has no annotation of it.

    Args:
        episode: with its steps' complexity in the trace.
        names: of features, or `COMPLEXITY`.

    Raises:
        InvalidInputError: if there is no such feature.
    """
    for name in names:
        if name != COMPLEXITY and name not in BY_NAME:
            known = [COMPLEXITY, *BY_NAME]
            raise InvalidInputError(
                f"unknown score {name!r}{did_you_mean(name, known)} (scores: {', '.join(known)})"
            )
    found = []
    for index, step in enumerate(episode.steps):
        first = step.rounds[0].complexity if step.rounds else step.complexity
        known_first = {name: _share(BY_NAME[name], x) for name, x in first.features.items()}
        for name in names:
            score = first.score if name == COMPLEXITY else known_first.get(name)
            if score is not None:
                place = step.observation.state
                by = f"rule:{name}"
                found.append(
                    Annotation(episode.task.id, index, score, by, episode.task.goal, place)
                )
    return found


def _share(feature: Feature, value: float) -> float:
    """A feature in [0, 1], in its own order."""
    if math.isinf(feature.high):
        above = value - feature.low
        return above / (1.0 + above)
    if math.isinf(feature.low):
        return 1.0 / (1.0 + feature.high - value)
    return (value - feature.low) / (feature.high - feature.low)
