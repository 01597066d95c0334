"""Replay on a table of samples: one task as a state machine, and an allocator that decides in it.

A `State` has the samples taken so far in a plan step, in order, and the steps before it. A `Pull`
takes the next samples of an arm in one call, like a round of the planner, and costs what the
planner's ledger would be charged. `State.settled` lets the vote decide the step, which leads to the
next one or ends the plan. There are no limits but the number of recorded samples. The results are
episodes like those of the planner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from amp.allocate.base import Allocator
from amp.assess.base import Assessor
from amp.cost import Ledger
from amp.errors import InvalidInputError
from amp.simulate.samples import SampleTable, StepSamples, TaskSamples
from amp.types import (
    GIVEN_UP,
    STOP,
    Allocation,
    Complexity,
    Decision,
    Episode,
    Evidence,
    Limits,
    Observation,
    Round,
    StepContext,
    StepRecord,
    Task,
    Usage,
    decided_by,
    first_failure,
)
from amp.votes import chooser

_NOT_ASSESSED = Complexity(0.0)
_UNSEEN = Observation()

_FREE_PROBES = frozenset({"options"})
"""Probes of listed actions. The steps of a table have none, so this probe makes no call."""


@dataclass(frozen=True, slots=True)
class Pull:
    """One round: a number of further samples of an arm, in one call."""

    arm: str
    samples: int = 1


Plan = tuple[Pull, ...]
"""The rounds of a plan step, fixed beforehand."""


@dataclass(frozen=True, slots=True)
class State:
    """A task with some of its samples taken.

    Attributes:
        table: the table.
        row: the task.
        name: of the plan step; the task's id for the first one.
        step: the samples of the plan step.
        taken: the samples of this step so far, in order, as arm and index.
        evidence: of these samples.
        rounds: that took them.
        before: usage before this step.
        usage: total usage.
        steps: the plan steps before this one.
        success: whether the task is solved; None while the plan is not finished.
        ended: why the plan is finished, as `Episode.ended`.
    """

    table: SampleTable
    row: TaskSamples
    name: str
    step: StepSamples
    taken: tuple[tuple[str, int], ...] = ()
    evidence: Evidence = Evidence()
    rounds: tuple[Round, ...] = ()
    before: Usage = field(default_factory=Usage)
    usage: Usage = field(default_factory=Usage)
    steps: tuple[StepRecord, ...] = ()
    success: bool | None = None
    ended: str = "done"

    @classmethod
    def begin(cls, table: SampleTable, row: TaskSamples) -> State:
        """The state of a task before its first sample."""
        return cls(table, row, row.task, row.first)

    def probed(self) -> State:
        """The state after the probe, before the first round of a step."""
        evidence = replace(self.evidence, probe=self.step.probe)
        return replace(self, evidence=evidence, usage=self.usage + self.step.probe_usage)

    def after(
        self, pull: Pull, complexity: Complexity = _NOT_ASSESSED, decision: Decision = STOP
    ) -> State:
        """The state after one more round.

        Args:
            pull: the samples of the round.
            complexity: assessed before the round, for its record.
            decision: has the log-probability and the latents for the record.

        Raises:
            InvalidInputError: if the table has no such arm or not so many samples left of it.
        """
        arm = self.table.arm(pull.arm)
        recorded = self.step.by_arm[arm.name]
        first = sum(name == arm.name for name, _ in self.taken)
        stop = first + pull.samples
        if not first < stop <= len(recorded.samples):
            where = (
                self.row.task if self.name == self.row.task else f"{self.row.task} ({self.name})"
            )
            raise InvalidInputError(
                f"{pull.samples} more samples of arm {arm.name} on task {where} after {first}, but"
                f" the table has {len(recorded.samples)}; record more, or ask for fewer"
            )
        ledger = Ledger(Limits())
        ledger.usage = self.usage
        shared = self.table.shared_prompt
        ledger.charge(self.table.card, recorded.call(first, pull.samples, shared_prompt=shared))
        candidates = tuple(sample.candidate for sample in recorded.samples[first:stop])
        for candidate in candidates:
            for use in candidate.tool_uses:
                ledger.charge_tool(use.seconds)
        executed = Round(
            complexity=complexity,
            allocation=replace(arm.allocation, beam_width=pull.samples),
            log_prob=decision.log_prob,
            candidates=candidates,
            usage=ledger.usage - self.usage,
            latents=decision.latents,
        )
        return replace(
            self,
            taken=(*self.taken, *((arm.name, index) for index in range(first, stop))),
            evidence=self.evidence.after(candidates, arm.allocation.tools),
            rounds=(*self.rounds, executed),
            usage=ledger.usage,
        )

    def settled(
        self,
        complexity: Complexity = _NOT_ASSESSED,
        stop: Decision | None = None,
        observation: Observation = _UNSEEN,
    ) -> State:
        """The state after the vote has decided the step: the next step, or the end of the plan.

        Args:
            complexity: last assessment of the step, for its record.
            stop: the decision to stop, for its record.
            observation: the state in which the step was decided, for its record.
        """
        candidates = self.evidence.candidates
        winner = chooser(stop)(candidates)
        if winner is None:
            right, target = False, self.step.no_action
        else:
            arm, index = self.taken[candidates.index(winner)]
            sample = self.step.by_arm[arm].samples[index]
            right, target = sample.right, sample.next
        failure = None if winner is not None else first_failure(self.rounds)
        given_up = stop is not None and stop.give_up
        if given_up:
            failure = f"{GIVEN_UP}: {given_up}"
        decided, final = decided_by(self.rounds, complexity)
        record = StepRecord(
            observation=observation,
            rounds=self.rounds,
            complexity=decided,
            action=None if winner is None else winner.action,
            usage=self.usage - self.before,
            failure=failure,
            stop=stop,
            probe=self.evidence.probe,
            final_complexity=final,
        )
        steps = (*self.steps, record)
        if given_up and (winner is None or target is not None):
            return replace(self, steps=steps, success=False, ended=GIVEN_UP)
        if target is None:
            return replace(self, steps=steps, success=right)
        return State(
            *(self.table, self.row, target, self.row.later[target]),
            before=self.usage,
            usage=self.usage,
            steps=steps,
        )

    def episode(self, task: Task | None = None) -> Episode:
        """The episode of a finished plan.

        Args:
            task: the task; None for one without its text.
        """
        return Episode(
            task=task or Task(self.row.task, "", seed=self.table.seed),
            steps=self.steps,
            success=self.success,
            score=float(self.success or False),
            usage=self.usage,
            ended=self.ended,
        )


def pulls(table: SampleTable, step: StepRecord) -> Plan:
    """The rounds of a plan step that was replayed on a table."""
    return tuple(pull_of(table, executed.allocation) for executed in step.rounds)


def replay_plan(table: SampleTable, row: TaskSamples, plan: Sequence[Pull]) -> Episode:
    """Replays fixed rounds, the same in every plan step of a task."""
    state = State.begin(table, row)
    while state.success is None:
        for pull in plan:
            state = state.after(pull)
        state = state.settled()
    return state.episode()


def replay_plans(
    table: SampleTable, plan: Callable[[TaskSamples], Sequence[Pull]]
) -> tuple[Episode, ...]:
    """Replays, on each task, the rounds that a rule fixes beforehand."""
    return tuple(replay_plan(table, row, plan(row)) for row in table.tasks)


def replay_allocator(
    table: SampleTable,
    allocator: Allocator,
    assessor: Assessor | None = None,
    contexts: Mapping[str, StepContext] | None = None,
    max_rounds: int = 64,
) -> tuple[Episode, ...]:
    """Lets an allocator decide round by round, as the planner does; the costs are the planner's.

    Args:
        table: the table.
        allocator: decides; every allocation that it grants has to be an arm with some beam width.
        assessor: scores the steps; None for a complexity of 0 without probes.
        contexts: each plan step before its first round, by its name, which is the task's id for the
            first one; needed if the assessor or the allocator reads the task's text.
        max_rounds: most rounds of a plan step.

    Raises:
        InvalidInputError: if the table lacks samples or a probe that is needed, or an assessor
            has no context.
    """
    probes = frozenset() if assessor is None else assessor.probes - _FREE_PROBES
    if probes and probes != table.probes:
        wanted, found = (", ".join(sorted(some)) or "nothing" for some in (probes, table.probes))
        raise InvalidInputError(
            f"the assessor probes {wanted}, the table was made with {found}; make it with the"
            " same probes"
        )
    episodes = []
    for row in table.tasks:
        state = State.begin(table, row)
        while state.success is None:
            context = _context(state, contexts, needed=assessor is not None)
            if probes:
                state = state.probed()
            state = _decide(state, context, allocator, assessor, max_rounds)
        episodes.append(state.episode(replace(context.task, seed=table.seed)))
    return tuple(episodes)


def _decide(
    state: State,
    context: StepContext,
    allocator: Allocator,
    assessor: Assessor | None,
    max_rounds: int,
) -> State:
    """One plan step, decided round by round."""
    while True:
        context = replace(context, evidence=state.evidence)
        complexity = _NOT_ASSESSED if assessor is None else assessor.assess(context)
        decision = allocator.allocate(context, complexity)
        if decision.allocation is None:
            return state.settled(complexity, decision, context.observation)
        if len(state.rounds) == max_rounds:
            return state.settled(complexity, None, context.observation)
        state = state.after(pull_of(state.table, decision.allocation), complexity, decision)


def _context(
    state: State, contexts: Mapping[str, StepContext] | None, *, needed: bool
) -> StepContext:
    """The context of a plan step before its first round, as in the planner."""
    left = Limits(steps=state.table.max_steps - 1 - len(state.steps))
    if contexts is not None and state.name in contexts:
        return replace(contexts[state.name], steps=state.steps, remaining=left)
    if needed:
        what = "" if state.name == state.row.task else f"step {state.name} of "
        raise InvalidInputError(
            f"an assessor reads the text of {what}task {state.row.task}, which the table has not;"
            " pass contexts"
        )
    task = Task(state.row.task, "", seed=state.table.seed)
    return StepContext(task, Observation(), state.steps, remaining=left)


def pull_of(table: SampleTable, allocation: Allocation) -> Pull:
    """The round that an allocation stands for.

    Raises:
        InvalidInputError: if it is no arm of the table; the message names all.
    """
    one = replace(allocation, beam_width=1)
    for arm in table.arms:
        if arm.allocation == one:
            return Pull(arm.name, allocation.beam_width)
    raise InvalidInputError(
        f"the table has no arm for {allocation}; its arms are"
        f" {', '.join(f'{arm.name} ({arm.allocation})' for arm in table.arms)}"
    )
