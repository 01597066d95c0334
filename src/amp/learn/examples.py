"""Annotated steps with their features: what the CAM is pre-trained on (spec 3.4.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amp.annotations.base import Annotation
from amp.assess.features import Observed, observe
from amp.assess.structure import Parser
from amp.evaluate.steps import blinded, context_at
from amp.types import Episode, Observation, StepContext, Task

BLINDED_WEIGHT = 0.1
"""Of an example as a model without log-probabilities would have left it, beside the example."""


@dataclass(frozen=True, slots=True)
class Example:
    """One annotated step.

    Attributes:
        task: id of its task; examples of one task are not independent.
        candidates: how many candidates were known.
        observed: its features, without the hidden state.
        hidden: the hidden state, empty if nobody looked.
        complexity: what it should be, in [0, 1].
        weight: how much it counts.
    """

    task: str
    candidates: int
    observed: Observed
    hidden: tuple[float, ...]
    complexity: float
    weight: float


def examples(
    annotations: Iterable[Annotation], episodes: Sequence[Episode], parse: Parser
) -> list[Example]:
    """Puts annotations and the steps that they speak of together.

    An annotation of a step that no episode holds is taken at its own words: its goal and its state,
    without anything of the model. All annotations of one step with equally many candidates count
    together as one, so that neither many annotators nor many samples make a step weigh more. Each
    example that has something of the model comes a second time without it, so that what is learned
    holds for black-box models, too.
    """
    known = {episode.task.id: episode for episode in episodes}
    annotations = list(annotations)
    shares = Counter((a.task, a.step, len(a.candidates)) for a in annotations)
    made: list[Example] = []
    for annotation in annotations:
        context = _context(annotation, known.get(annotation.task))
        weight = 1.0 / shares[annotation.task, annotation.step, len(annotation.candidates)]
        made.append(_example(annotation, context, parse, weight))
        blind = blinded(context)
        if blind != context:
            made.append(_example(annotation, blind, parse, BLINDED_WEIGHT * weight))
    return made


def _context(annotation: Annotation, episode: Episode | None) -> StepContext:
    if episode is not None and annotation.step < len(episode.steps):
        return context_at(episode, annotation.step, annotation.candidates)
    return StepContext(Task(annotation.task, annotation.goal), Observation(annotation.state))


def _example(annotation: Annotation, context: StepContext, parse: Parser, weight: float) -> Example:
    look = context.evidence.look
    return Example(
        task=annotation.task,
        candidates=len(context.evidence.candidates),
        observed=observe(context, parse),
        hidden=() if look is None else look.hidden,
        complexity=annotation.complexity,
        weight=weight,
    )
