"""The beams of a step-level beam search: how they are ranked, carried out and elected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from amp.environment import Forkable
from amp.execute.search import vote
from amp.types import Candidate, StepRecord, Transition


@dataclass(frozen=True, slots=True)
class Beam:
    """One partial plan.

    Attributes:
        environment: where it was carried out; its own.
        state: what came of its last action.
        steps: its steps; their rounds and usage are those of all beams.
        log_prob: log-probability of the plan so far, the sum over its steps.
        last: the candidate that its last action came from; None at the start.
    """

    environment: Forkable
    state: Transition
    steps: tuple[StepRecord, ...] = ()
    log_prob: float = 0.0
    last: Candidate | None = None


@dataclass(frozen=True, slots=True)
class Extension:
    """A beam with one more action; candidates that name the same action are one extension.

    Attributes:
        beam: the index of the beam.
        candidate: the most likely candidate that names the action.
        votes: how many candidates name it, weighted by their self-checks where they were made.
        log_prob: log-probability of the plan with it.
    """

    beam: int
    candidate: Candidate
    votes: float
    log_prob: float


def ranked(beams: Sequence[Beam], candidates: Sequence[Sequence[Candidate]]) -> list[Extension]:
    """The distinct extensions of the beams, best first; among equals, the earlier one."""
    pool = [(i, c) for i, found in enumerate(candidates) for c in found if c.action is not None]
    valid = [(i, c) for i, c in pool if c.valid]
    merged: dict[tuple[int, str | None], Extension] = {}
    for index, candidate in valid or pool:
        key = (index, candidate.action)
        votes = 1.0 if candidate.p_correct is None else candidate.p_correct
        if key in merged:
            votes += merged[key].votes
            candidate = max(merged[key].candidate, candidate, key=_likelihood)
        log_prob = beams[index].log_prob + _likelihood(candidate)
        merged[key] = Extension(index, candidate, votes, log_prob)
    # The candidate's own comes last: it decides where something before it left the sum unknown.
    return sorted(
        merged.values(),
        key=lambda e: (e.votes, e.log_prob, _likelihood(e.candidate)),
        reverse=True,
    )


def _likelihood(candidate: Candidate) -> float:
    """Log-probability of the choice, or else of the text; least of all if unknown."""
    if candidate.probability is not None:
        return math.log(candidate.probability) if candidate.probability > 0.0 else -math.inf
    return -math.inf if candidate.log_prob is None else candidate.log_prob


def grow(beams: Sequence[Beam], kept: Sequence[Extension], step: StepRecord) -> list[Beam]:
    """Carries the kept extensions out, each in an environment of its own."""
    left = [extension.beam for extension in kept]
    grown = []
    for extension in kept:
        beam, action = beams[extension.beam], extension.candidate.action
        assert action is not None
        left.remove(extension.beam)
        # The last extension of a beam takes over its environment; nobody else needs it.
        environment = beam.environment.fork() if extension.beam in left else beam.environment
        state = environment.step(action)
        record = replace(
            step, observation=beam.state.observation, action=action, feedback=state.feedback
        )
        grown.append(
            Beam(
                environment,
                state,
                (*beam.steps, record),
                extension.log_prob,
                extension.candidate,
            )
        )
    return grown


def idle(beam: Beam, step: StepRecord) -> Beam:
    """The beam after a step in which no beam named an action."""
    record = replace(step, observation=beam.state.observation)
    return replace(beam, steps=(*beam.steps, record))


def elected(finished: Sequence[Beam]) -> Beam:
    """The beam that wins the vote over the last action."""
    ballots = [
        replace(beam.last, log_prob=beam.log_prob, probability=None)
        for beam in finished
        if beam.last is not None
    ]
    winner = vote(ballots)
    assert winner is not None  # a beam is finished by an action
    return finished[ballots.index(winner)]
