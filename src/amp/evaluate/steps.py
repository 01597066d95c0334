"""Steps of finished episodes as the CAM saw them, or would have seen them with less evidence."""

from __future__ import annotations

from dataclasses import replace

from amp.errors import InvalidInputError
from amp.types import Candidate, Episode, Evidence, StepContext, StepRecord


def candidates_of(step: StepRecord) -> tuple[Candidate, ...]:
    """All candidates of a step, in the order in which its rounds brought them."""
    return tuple(candidate for made in step.rounds for candidate in made.candidates)


def context_at(episode: Episode, step: int, candidates: tuple[int, ...] = ()) -> StepContext:
    """The context of a step with these of its candidates known.

    Args:
        episode: the episode.
        step: index of the step, from 0.
        candidates: indices among `candidates_of` the step; empty before the first round.

    Raises:
        InvalidInputError: if there is no such step or candidate.
    """
    if not 0 <= step < len(episode.steps):
        raise InvalidInputError(
            f"step is {step}, but the episode of {episode.task.id} has {len(episode.steps)} steps"
        )
    record = episode.steps[step]
    made = candidates_of(record)
    for index in candidates:
        if not 0 <= index < len(made):
            raise InvalidInputError(
                f"candidate is {index}, but step {step} of {episode.task.id} has {len(made)}"
            )
    known = tuple(made[index] for index in candidates)
    evidence = Evidence(known, rounds=int(bool(known)), look=record.look)
    return StepContext(episode.task, record.observation, episode.steps[:step], evidence)


def blinded(context: StepContext) -> StepContext:
    """The context as a model without log-probabilities and hidden states would have left it."""
    silent = tuple(
        replace(c, log_prob=None, entropy=None, first_entropy=None, probability=None)
        for c in context.evidence.candidates
    )
    steps = tuple(replace(step, look=None) for step in context.steps)
    evidence = replace(context.evidence, candidates=silent, look=None)
    return replace(context, steps=steps, evidence=evidence)
