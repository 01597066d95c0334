"""Step-level beam search: several partial plans at once, each in an environment of its own.

The beams of an allocation are here the partial plans that stay alive after a plan step, so that the
controller widens and narrows the search from step to step. What is not covered: tokens are sampled
as everywhere; there is no beam search within a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from amp.cost import Ledger
from amp.environment import AsyncEnvironment, Environment, Forkable
from amp.errors import EnvironmentFailedError, InvalidInputError, LimitReachedError, ModelError
from amp.execute.boundary import act, is_dead_end, open_task, task_of
from amp.execute.meter import Meter
from amp.methods.base import OnStep
from amp.planner import Planner
from amp.types import (
    DEAD_END,
    ENVIRONMENT_ERROR,
    GIVEN_UP,
    MODEL_ERROR,
    Candidate,
    Complexity,
    Decision,
    Episode,
    Evidence,
    Round,
    StepContext,
    StepRecord,
    Task,
    Transition,
    decided_by,
    first_failure,
)
from amp.votes import likelihood, vote


@dataclass(frozen=True, slots=True)
class Beam:
    """One partial plan.

    Attributes:
        environment: where it was carried out; its own.
        state: the result of its last action.
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
            candidate = max(merged[key].candidate, candidate, key=likelihood)
        log_prob = beams[index].log_prob + likelihood(candidate)
        merged[key] = Extension(index, candidate, votes, log_prob)
    # The candidate's own comes last: it decides where something before it left the sum unknown.
    return sorted(
        merged.values(),
        key=lambda e: (e.votes, e.log_prob, likelihood(e.candidate)),
        reverse=True,
    )


async def grow(
    beams: Sequence[Beam],
    kept: Sequence[Extension],
    step: StepRecord,
    patience: float | None = None,
) -> list[Beam]:
    """Carries the kept extensions out, each in an environment of its own, in so many seconds."""
    left = [extension.beam for extension in kept]
    grown = []
    for extension in kept:
        beam, action = beams[extension.beam], extension.candidate.action
        assert action is not None
        left.remove(extension.beam)
        # The last extension of a beam takes over its environment, which is not needed again.
        environment = beam.environment.fork() if extension.beam in left else beam.environment
        state = await act(environment, action, patience)
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


_NO_PLACE = "complete plans hold all places"
_OTHERS_WENT_ON = "the chosen plan was complete; others went on"


class BeamPlanner(Planner):
    """Plans with several beams; with a beam width of 1 it does what `amp.planner.Planner` does.

    In each step the best live beam is assessed and the allocation is for all. Every live beam is
    extended by an equal share of the free places, at least by one candidate. Beams that end keep
    their place: when they hold all, the search is over. At the end they vote over their last
    action, one vote each or the probability of "yes" where they were self-checked, and the plan of
    the winner is that of the episode.

    Extensions are ranked as the vote ranks actions: by the candidates (or, with verification 2, the
    probability of "yes") that back one, then by the log-probability of the whole plan. That is the
    plain sum: live beams have equally many steps, so it is what the model gives the plan, though a
    wordy step costs a beam more than a terse one. The mean has the opposite bias: it rewards words
    that are almost certain, such as those that repeat what is known.

    Where the environment is a simulator, its forks look ahead, which acting once does not. What
    they say about success is not looked at: only the winner is judged, by its own environment.

    Attributes:
        As those of the planner, of which `select` has no say: beams are ranked instead.
    """

    async def run(
        self,
        task: Task | str,
        environment: Environment | AsyncEnvironment,
        on_step: OnStep | None = None,
    ) -> Episode:
        """Plans one task.

        Args:
            task: what to reach.
            environment: where; it needs `fork`.
            on_step: called with every step as soon as it is done, with the action of the beam that
                is best at that time.

        Raises:
            InvalidInputError: if the environment cannot be forked.
        """
        if not isinstance(environment, Forkable):
            raise InvalidInputError(
                f"beam search needs an environment with fork(), which "
                f"{type(environment).__name__} lacks; choose another planner"
            )
        task = task_of(task)
        ledger = Ledger(self.limits)
        meter = Meter(self.model, ledger, task.seed)
        patience = self.limits.environment_seconds
        opening = await open_task(environment, task, patience)
        live = [Beam(environment, Transition(opening, done=False))]
        finished: list[Beam] = []
        steps: list[StepRecord] = []
        while live and ledger.begin_step():
            going = [beam for beam in live if not is_dead_end(beam.state.observation)]
            if not going:
                ledger.ended_by = DEAD_END
                break
            live = going
            step, kept = await self._extend_step(task, live, len(finished), meter)
            try:
                grown = (
                    await grow(live, kept, step, patience)
                    if kept
                    else [idle(beam, step) for beam in live]
                )
            except EnvironmentFailedError as error:
                ledger.ended_by = ENVIRONMENT_ERROR
                steps.append(replace(step, failure=str(error)))
                break
            finished += [beam for beam in grown if beam.state.done]
            live = [beam for beam in grown if not beam.state.done]
            if step.failure == _NO_PLACE:
                live = []
            steps.append(replace(step, failure=step.failure or _OTHERS_WENT_ON))
            if on_step is not None:
                on_step(grown[0].steps[-1])
        chosen = elected(finished) if finished else live[0]
        state = chosen.state
        return Episode(
            task=task,
            steps=(*chosen.steps, *steps[len(chosen.steps) :]),
            success=state.success if state.done else False,
            score=state.score,
            usage=ledger.usage,
            ended="done" if state.done else ledger.ending,
        )

    async def _extend_step(
        self, task: Task, live: Sequence[Beam], finished: int, meter: Meter
    ) -> tuple[StepRecord, list[Extension]]:
        """One step of all live beams, without an action yet, and the extensions that are kept."""
        ledger, before = meter.ledger, meter.ledger.usage
        contexts = [StepContext(task, beam.state.observation, beam.steps) for beam in live]
        rounds: list[Round] = []
        failure: str | None = None
        complexity, places = Complexity(0.0), 0
        stop: Decision | None = None
        try:
            if self.probes:
                probe = await self.executor.probe(contexts[0], self.probes, meter)
                contexts[0] = replace(contexts[0], evidence=Evidence(probe=probe))
            while True:
                contexts = [replace(c, remaining=ledger.remaining) for c in contexts]
                complexity = self.assessor.assess(contexts[0])
                decision = self.allocator.allocate(contexts[0], complexity)
                allocation = decision.allocation
                if allocation is None:
                    stop = decision
                    if decision.give_up:
                        failure, ledger.ended_by = f"{GIVEN_UP}: {decision.give_up}", GIVEN_UP
                    break
                if len(rounds) == self.max_rounds:
                    break
                places = allocation.beam_width - finished
                if places < 1:
                    failure = _NO_PLACE
                    break
                share = replace(allocation, beam_width=max(1, places // len(live)))
                spent, candidates = ledger.usage, list[Candidate]()
                try:
                    for index, context in enumerate(contexts):
                        brought = await self.executor.execute(context, share, meter)
                        candidates += brought
                        evidence = context.evidence.after(brought, share.tools)
                        contexts[index] = replace(context, evidence=evidence)
                finally:
                    if candidates:  # those of the beams before a limit are not lost
                        rounds.append(
                            Round(
                                complexity=complexity,
                                allocation=allocation,
                                log_prob=decision.log_prob,
                                latents=decision.latents,
                                candidates=tuple(candidates),
                                usage=ledger.usage - spent,
                                substitutes=meter.take_notes(),
                            )
                        )
        except LimitReachedError as limit:
            failure = str(limit)
        except ModelError as error:
            failure, ledger.ended_by = str(error), MODEL_ERROR
        kept = ranked(live, [c.evidence.candidates for c in contexts])[: max(0, places)]
        if not kept and failure is None:
            failure = first_failure(rounds)
        decided, final = decided_by(rounds, complexity)
        step = StepRecord(
            observation=live[0].state.observation,
            rounds=tuple(rounds),
            complexity=decided,
            action=None,
            usage=ledger.usage - before,
            failure=failure,
            stop=stop,
            probe=contexts[0].evidence.probe,
            final_complexity=final,
        )
        return step, kept
