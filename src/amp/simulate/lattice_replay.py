"""Whole episodes on a visited lattice: what the planner would do, see and pay, without a model.

`replay_lattice` plays any allocator, step by step as `amp.planner` does. `best_arms` is the exact
oracle: by dynamic programming from the ends of plans, the arm in every state that is the first of
the most rewarding way from there, or giving up where that is best. `needed_labels` says so of each
step, as a rule beside people's ratings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from amp.allocate.base import Allocator
from amp.annotations.store import AnnotatedState, Annotation
from amp.assess.base import Assessor
from amp.errors import InvalidInputError
from amp.reward import Reward
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_states import (
    OUTSIDE,
    ArmAnswer,
    Arms,
    LatticeEdge,
    LatticeState,
    StepChoice,
    TaskLattice,
    choice_of,
)
from amp.types import (
    GIVEN_UP,
    Allocation,
    Candidate,
    Complexity,
    Decision,
    Episode,
    Evidence,
    Round,
    StepContext,
    StepRecord,
    Task,
    Usage,
    first_failure,
)
from amp.votes import chooser, weighted_vote

NEEDED = "rule:needed"
"""Who says what a step needed, in annotations."""

_MAX_ROUNDS = 16
_NOT_ASSESSED = Complexity(0.0)

CostOf = Callable[[Usage], float]
Visit = Callable[[Lattice, Allocator, int], Lattice]
"""Gives a lattice with all that a policy with a seed comes to, as `visit_policy`."""
Decide = Callable[[LatticeState, StepContext], Decision]
"""Decides on a step, of which the state is known, too."""


def replay_lattice(
    lattice: Lattice, allocator: Allocator, assessor: Assessor | None = None, seed: int = 0
) -> list[Episode]:
    """An episode of every task; one that leaves the lattice ends there, as `OUTSIDE`.

    Args:
        lattice: what was visited.
        allocator: decides; what it allocates are arms of the lattice.
        assessor: scores the steps; None for a complexity of 0.
        seed: of the tasks, from which allocators draw their chance.

    Raises:
        InvalidInputError: if it allocates what is no arm, or the assessor wants another probe.
    """
    if assessor is not None and assessor.probes - lattice.arms.probes:
        raise InvalidInputError(
            f"the assessor probes {', '.join(sorted(assessor.probes))}, the lattice was recorded"
            f" with {', '.join(sorted(lattice.arms.probes)) or 'no probe'}; record it so (--probe)"
        )

    def decide(state: LatticeState, context: StepContext) -> Decision:
        assessed = _NOT_ASSESSED if assessor is None else assessor.assess(context)
        return allocator.allocate(context, assessed)

    return [play(lattice.arms, task, decide, seed) for task in lattice.tasks]


def play(arms: Arms, task: TaskLattice, decide: Decide, seed: int = 0) -> Episode:
    """One episode (see `replay_lattice`)."""
    own = replace(task.task, seed=seed)
    state = next(iter(task.states.values()))
    names = {allocation: name for name, allocation in arms.named.items()}
    steps: list[StepRecord] = []
    total, paid = Usage(), set[str]()
    while True:
        context = replace(state.context, task=own, steps=tuple(steps))
        step = _Step(state, context, names, paid)
        given_up = step.decide(decide)
        record = step.record()
        total += record.usage
        if given_up:
            return Episode(own, (*steps, record), False, 0.0, total, GIVEN_UP)
        lead = state.leads[choice_of(step.candidates, record.action)]
        steps.append(replace(record, feedback=lead.feedback))
        if lead.to is None:
            ended = OUTSIDE if lead.outside else "done" if lead.success else "not reached"
            success = False if lead.outside else lead.success
            return Episode(own, tuple(steps), success, lead.score, total, ended)
        state = task.states[lead.to]


async def visit_policy(
    lattice: Lattice,
    allocator: Allocator,
    seed: int,
    visit: Callable[[Task, Allocator], Awaitable[TaskLattice]],
) -> Lattice:
    """The lattice with all that a policy comes to in its tasks; the same one if that is there.

    Args:
        lattice: what was visited.
        allocator: the policy.
        seed: of the tasks, as in `replay_lattice`.
        visit: visits what a policy comes to in a task (`lattice_recording.visit_played`).

    Raises:
        InvalidInputError: as `replay_lattice`.
    """
    tasks = []
    for task in lattice.tasks:
        played = replay_lattice(replace(lattice, tasks=(task,)), allocator, None, seed)
        seeded = _Seeded(allocator, seed)
        tasks.append(await visit(task.task, seeded) if leaves(played) else task)
    return lattice if tuple(tasks) == lattice.tasks else replace(lattice, tasks=tuple(tasks))


@dataclass(frozen=True, slots=True)
class _Seeded(Allocator):
    """A policy that draws its chance from another seed than the model does, as on a lattice."""

    inner: Allocator
    seed: int

    uses_complexity = False

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        own = replace(context, task=replace(context.task, seed=self.seed))
        return self.inner.allocate(own, _NOT_ASSESSED)


def as_it_is(lattice: Lattice, allocator: Allocator, seed: int) -> Lattice:
    """Visits nothing; `Visit`."""
    return lattice


class _Step:
    """A plan step under way.

    Args:
        state: where it is.
        context: the step before anything is asked.
        names: of the arms, by allocation.
        paid: names of the prompts that are paid for once an episode and were; is added to.
    """

    def __init__(
        self,
        state: LatticeState,
        context: StepContext,
        names: Mapping[Allocation, str],
        paid: set[str],
    ) -> None:
        self._state, self._names, self._paid = state, names, paid
        self._usage, self._rounds = self._charged(state.probe), list[Round]()
        self._context = replace(context, evidence=Evidence(probe=context.evidence.probe))
        self._stop: Decision | None = None
        self._taken: dict[str, int] = {}

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those of all rounds."""
        return self._context.evidence.candidates

    def decide(self, decide: Decide) -> bool:
        """Asks in rounds until the decision is to stop; says whether the episode is given up."""
        while len(self._rounds) < _MAX_ROUNDS:
            self._context = replace(self._context, usage=self._usage)
            decision = decide(self._state, self._context)
            if decision.allocation is None:
                self._stop = decision
                return bool(decision.give_up)
            self._ask(decision)
        return False

    def record(self) -> StepRecord:
        """What became of the step, but for the environment's answer."""
        winner = chooser(self._stop)(self.candidates)
        action = None if winner is None else winner.action
        failure = None if action is not None else first_failure(self._rounds)
        if self._stop is not None and self._stop.give_up:
            action, failure = None, f"{GIVEN_UP}: {self._stop.give_up}"
        return StepRecord(
            self._context.observation,
            tuple(self._rounds),
            _NOT_ASSESSED,
            action,
            self._usage,
            failure=failure,
            stop=self._stop,
            probe=self._context.evidence.probe,
        )

    def _ask(self, decision: Decision) -> None:
        allocation = decision.allocation
        if allocation is None or allocation not in self._names:
            raise InvalidInputError(
                f"in step {len(self._context.steps) + 1} of task {self._context.task.id} is"
                f" allocated {allocation}, expected an arm of the lattice:"
                f" {', '.join(self._state.asked)}"
            )
        arm = self._names[allocation]
        answers = self._state.asked[arm]
        number = self._taken.get(arm, 0)
        self._taken[arm] = number + 1
        answer = answers[min(number, len(answers) - 1)]
        usage = self._charged(answer)
        self._usage += usage
        made = Round(
            _NOT_ASSESSED, allocation, decision.log_prob, answer.candidates, usage,
            latents=decision.latents,
        )  # fmt: skip
        self._rounds.append(made)
        evidence = self._context.evidence.after(answer.candidates, allocation.tools)
        self._context = replace(self._context, evidence=evidence)

    def _charged(self, asked: ArmAnswer) -> Usage:
        """What is paid for it now."""
        new = [usage for name, usage in asked.readings.items() if name not in self._paid]
        self._paid |= asked.readings.keys()
        return asked.usage + sum(new, Usage())


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an arm comes to in a state, known beforehand.

    Attributes:
        arm: its name; None to give the episode up.
        worth: reward of all that follows, if that goes on as is best.
        cost: of the arm there; 0 to give up.
        choice: what settles the step; None to give up.
        lead: where that leads; None to give up.
    """

    arm: str | None
    worth: float
    cost: float
    choice: StepChoice | None = None
    lead: LatticeEdge | None = None


GIVING_UP = Outlook(None, 0.0, 0.0)
"""That of giving the episode up."""


def best_arms(
    arms: Arms, task: TaskLattice, reward: Reward, trade_off: float, cost_of: CostOf
) -> dict[str, Outlook]:
    """The best arm of every visited state, by its name (see `outlooks`)."""
    known = outlooks(arms, task, reward, trade_off, cost_of)
    return {name: best_of(each) for name, each in known.items()}


def best_of(each: Sequence[Outlook]) -> Outlook:
    """Of equals the first arm counts, and an arm rather than giving up."""
    best = max(each, key=lambda one: one.worth)
    return best if best.worth >= GIVING_UP.worth else GIVING_UP


def outlooks(
    arms: Arms, task: TaskLattice, reward: Reward, trade_off: float, cost_of: CostOf
) -> dict[str, tuple[Outlook, ...]]:
    """What each arm comes to in every visited state, by its name.

    A prompt that is read again is paid for each time, so where some are an episode may cost less.
    What was not visited is worth nothing.

    Args:
        arms: of the lattice.
        task: the states of a task.
        reward: what pays.
        trade_off: lambda.
        cost_of: what a usage costs, in the unit of the reward.
    """
    known: dict[str, tuple[Outlook, ...]] = {}
    price = (1.0 - trade_off) / reward.reference_cost

    def outlook(name: str, state: LatticeState) -> Outlook:
        asked, probe = state.asked[name][0], state.probe
        read = (u for key, u in asked.readings.items() if key not in probe.readings)
        before = probe.usage + sum(probe.readings.values(), Usage())
        cost = cost_of(before + asked.usage + sum(read, Usage()))
        winner = weighted_vote(asked.candidates)
        choice = choice_of(asked.candidates, None if winner is None else winner.action)
        lead = state.leads[choice]
        if lead.to is not None:
            after = best_of(known[lead.to]).worth
        else:
            after = reward.of(0.0 if lead.outside else lead.score, 0.0, trade_off)
        return Outlook(name, after - price * cost, cost, choice, lead)

    for state in sorted(task.states.values(), key=lambda one: -len(one.context.steps)):
        known[state.name] = tuple(outlook(name, state) for name in arms.named)
    return known


def needed_labels(
    lattice: Lattice, reward: Reward, trade_off: float, cost_of: CostOf
) -> list[Annotation]:
    """What each visited step needed, by the oracle (see `best_arms`), as annotations of a rule.

    Arms are ranked by their mean cost in the lattice. Complexity is the rank of the arm that is
    best in a step: 0 for the cheapest arm, 1 for the dearest. Where nothing is worth its cost,
    there is no label. A step that is come to in several ways has the mean of them.

    Raises:
        InvalidInputError: if the lattice has one arm alone.
    """
    names = list(lattice.arms.named)
    if len(names) < 2:
        raise InvalidInputError(
            f"the lattice has one arm, {names[0]}, and tells nothing of what a step needed;"
            " expected at least 2"
        )
    costs = dict.fromkeys(names, 0.0)
    for task in lattice.tasks:
        for state in task.states.values():
            for name in names:
                asked = state.asked[name][0]
                costs[name] += cost_of(asked.usage + sum(asked.readings.values(), Usage()))
    ranked = sorted(names, key=costs.__getitem__)
    found: dict[AnnotatedState, list[float]] = {}
    goals: dict[str, str] = {}
    for task in lattice.tasks:
        goals[task.task.id] = task.task.goal
        best = best_arms(lattice.arms, task, reward, trade_off, cost_of)
        for state in task.states.values():
            context = state.context
            place = AnnotatedState(task.task.id, len(context.steps), context.observation.state)
            if (arm := best[state.name].arm) is not None:
                found.setdefault(place, []).append(ranked.index(arm) / (len(ranked) - 1))
    return [
        Annotation(place.task, place.step, fmean(ranks), NEEDED, goals[place.task], place.state)
        for place, ranks in found.items()
    ]


def replay_best(
    lattice: Lattice, reward: Reward, trade_off: float, cost_of: CostOf, seed: int = 0
) -> list[Episode]:
    """Episodes of the oracle, which knows what every arm would lead to (see `best_arms`)."""
    arms = lattice.arms

    def episode(task: TaskLattice) -> Episode:
        known = best_arms(arms, task, reward, trade_off, cost_of)

        def decide(state: LatticeState, context: StepContext) -> Decision:
            if context.evidence.rounds:
                return Decision(None)
            arm = known[state.name].arm
            if arm is None:
                return Decision(None, give_up="nothing that follows is worth its cost")
            return Decision(arms.named[arm])

        return play(arms, task, decide, seed)

    return [episode(task) for task in lattice.tasks]


def leaves(episodes: Sequence[Episode]) -> list[Episode]:
    """Those that left the lattice."""
    return [episode for episode in episodes if episode.ended == OUTSIDE]
