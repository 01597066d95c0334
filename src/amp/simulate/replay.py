"""Replay on a table of samples: one task as a state machine, and an allocator that decides in it.

A state is what was drawn so far, in order. To ask takes the next samples of an arm in one call, as
a round of the planner does, and costs what its ledger would be charged: the prompt once a call. To
stop has the vote decide. Limits other than the samples that there are do not exist here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from amp.allocate.base import Allocator
from amp.assess.base import Assessor
from amp.cost import Ledger
from amp.errors import InvalidInputError
from amp.execute.select import vote
from amp.simulate.samples import SampleTable, TaskSamples
from amp.types import (
    Allocation,
    Complexity,
    Episode,
    Evidence,
    Limits,
    Observation,
    StepContext,
    Task,
    Usage,
)

_REMAINING = Limits(steps=0)
"""What a planner says is left in the only step of a task that nothing else limits."""

_NOTHING_TO_SEE = frozenset({"options"})
"""Listed actions: a table of samples has none, so nothing is asked, and nothing charged."""


@dataclass(frozen=True, slots=True)
class Pull:
    """One round: so many more samples of an arm, in one call."""

    arm: str
    samples: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy reached on one task.

    Attributes:
        task: its id.
        seed: that of the table.
        success: whether the vote is right.
        usage: what it cost.
        pulls: its rounds, in order.
    """

    task: str
    seed: int
    success: bool
    usage: Usage
    pulls: tuple[Pull, ...]

    @property
    def episode(self) -> Episode:
        """As an episode without steps, for what compares and sums up episodes."""
        task, score = Task(self.task, "", seed=self.seed), float(self.success)
        return Episode(task, (), self.success, score, self.usage, "done")


@dataclass(frozen=True, slots=True)
class State:
    """A task with some of its draws taken.

    Attributes:
        table: the table.
        row: the task.
        pulls: the rounds so far.
        taken: the draws so far in order, as arm and index.
        evidence: what they say.
        usage: what they cost.
    """

    table: SampleTable
    row: TaskSamples
    pulls: tuple[Pull, ...] = ()
    taken: tuple[tuple[str, int], ...] = ()
    evidence: Evidence = Evidence()
    usage: Usage = field(default_factory=Usage)

    def probed(self) -> State:
        """The state after the look, before the first round."""
        evidence = replace(self.evidence, probe=self.row.probe)
        return replace(self, evidence=evidence, usage=self.usage + self.row.probe_usage)

    def after(self, pull: Pull) -> State:
        """The state after one more round.

        Raises:
            InvalidInputError: if the table has no such arm or not so many samples left of it.
        """
        arm = self.table.arm(pull.arm).name
        cell = self.row.by_arm[arm]
        first = sum(name == arm for name, _ in self.taken)
        stop = first + pull.samples
        if not first < stop <= len(cell.samples):
            raise InvalidInputError(
                f"{pull.samples} more samples of arm {arm} on task {self.row.task} after {first},"
                f" but the table holds {len(cell.samples)}; record more, or ask for fewer"
            )
        ledger = Ledger(Limits())
        ledger.usage = self.usage
        shared = self.table.shared_prompt
        ledger.charge(self.table.card, cell.call(first, pull.samples, shared_prompt=shared))
        candidates = tuple(draw.candidate for draw in cell.samples[first:stop])
        for candidate in candidates:
            for use in candidate.tool_uses:
                ledger.charge_tool(use.seconds)
        return replace(
            self,
            pulls=(*self.pulls, pull),
            taken=(*self.taken, *((arm, index) for index in range(first, stop))),
            evidence=self.evidence.after(candidates, self.table.arm(arm).allocation.tools),
            usage=ledger.usage,
        )

    @property
    def right(self) -> bool:
        """Whether the vote of the draws so far is right; to name no action is not."""
        candidates = self.evidence.candidates
        winner = vote(candidates)
        if winner is None:
            return False
        arm, index = self.taken[candidates.index(winner)]
        return self.row.by_arm[arm].samples[index].right

    @property
    def outcome(self) -> Outcome:
        """What comes of stopping here."""
        return Outcome(self.row.task, self.table.seed, self.right, self.usage, self.pulls)


def replay_plan(table: SampleTable, row: TaskSamples, plan: Sequence[Pull]) -> Outcome:
    """What comes of a plan that is made beforehand, on one task."""
    state = State(table, row)
    for pull in plan:
        state = state.after(pull)
    return state.outcome


def replay_plans(
    table: SampleTable, plan: Callable[[TaskSamples], Sequence[Pull]]
) -> tuple[Outcome, ...]:
    """Asks, on each task, what a plan says beforehand."""
    return tuple(replay_plan(table, row, plan(row)) for row in table.tasks)


def replay_allocator(
    table: SampleTable,
    allocator: Allocator,
    assessor: Assessor | None = None,
    contexts: Mapping[str, StepContext] | None = None,
    max_rounds: int = 64,
) -> tuple[Outcome, ...]:
    """Lets an allocator decide round by round, as the planner does; the costs are the planner's.

    Args:
        table: the table.
        allocator: decides; every allocation that it grants has to be an arm with some beam width.
        assessor: says how complex a step is; None for one that says 0 and does not look.
        contexts: each task's first step, by its id; needed by whoever reads the task's text.
        max_rounds: rounds a task at most.

    Raises:
        InvalidInputError: if the table has not what is asked for, a look included, or an assessor
            has no context.
    """
    probes = frozenset() if assessor is None else assessor.probes - _NOTHING_TO_SEE
    if probes and probes != table.probes:
        wanted, found = (", ".join(sorted(some)) or "nothing" for some in (probes, table.probes))
        raise InvalidInputError(
            f"the assessor probes {wanted}, the table was made with {found}; make it with the"
            " same probes"
        )
    outcomes = []
    for row in table.tasks:
        context = _context(table, row, contexts, needed=assessor is not None)
        state = State(table, row)
        if probes:
            state = state.probed()
        while len(state.pulls) < max_rounds:
            known = replace(context, evidence=state.evidence, remaining=_REMAINING)
            complexity = Complexity(0.0) if assessor is None else assessor.assess(known)
            allocation = allocator.allocate(known, complexity).allocation
            if allocation is None:
                break
            state = state.after(_pull(table, allocation))
        outcomes.append(state.outcome)
    return tuple(outcomes)


def _context(
    table: SampleTable,
    row: TaskSamples,
    contexts: Mapping[str, StepContext] | None,
    *,
    needed: bool,
) -> StepContext:
    if contexts is not None and row.task in contexts:
        return contexts[row.task]
    if needed:
        raise InvalidInputError(
            f"an assessor reads the text of task {row.task}, which the table has not; pass contexts"
        )
    return StepContext(Task(row.task, "", seed=table.seed), Observation())


def _pull(table: SampleTable, allocation: Allocation) -> Pull:
    one = replace(allocation, beam_width=1)
    for arm in table.arms:
        if arm.allocation == one:
            return Pull(arm.name, allocation.beam_width)
    raise InvalidInputError(
        f"the table has no arm for {allocation}; its arms are"
        f" {', '.join(f'{arm.name} ({arm.allocation})' for arm in table.arms)}"
    )
