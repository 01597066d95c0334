"""A visited lattice as a table of arrays, in which policies play and learn without a model.

A node of the table is a state with the arms that were asked in it so far, in their order: the vote
of their candidates settles the step, and leads to the next state. An arm without temperature says
the same again, and an arm with one says what it said when it was asked again. Where a policy reads
how a state was reached (`amp.allocate.plan_state`), ways that differ in that have their own nodes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

from amp.allocate.base import Allocator
from amp.allocate.plan_state import OF_THE_WAY as OF_RECENT_STEPS
from amp.allocate.plan_state import memory
from amp.allocate.policy import arm_codes, arm_space
from amp.allocate.space import Space
from amp.assess.base import Assessor
from amp.errors import InvalidInputError
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_states import ArmAnswer, LatticeEdge, LatticeState, TaskLattice, choice_of
from amp.simulate.node_env import Edge, Node, env_from_lattice
from amp.simulate.table_env import TableEnv
from amp.types import Allocation, Complexity, Evidence, Round, StepContext, StepRecord, Usage
from amp.votes import weighted_vote

OF_THE_WAY = frozenset({"divergence", "revisits"})
"""Features of all the steps so far, which are too many to tell the ways to a state apart by."""

MAX_PLACES = 20_000
"""States of a task, each once for every way to it that a policy tells apart."""

_NOT_ASSESSED = Complexity(0.0)


def lattice_env(
    lattice: Lattice,
    space: Space | None = None,
    features: tuple[str, ...] = (),
    assessor: Assessor | None = None,
    max_rounds: int = 1,
    base: Allocator | None = None,
) -> TableEnv:
    """The table of a lattice, with costs in all units, as a planner would be charged.

    Args:
        lattice: what was visited.
        space: where a policy is to move; each of its allocations has to be one of the arms. None
            for that of a policy that chooses among the arms by name (`amp.allocate.policy`).
        features: that a policy is to see, of the complexity or of `PLAN_STATE`.
        assessor: scores the steps; None for a complexity of 0.
        max_rounds: rounds a plan step at most.
        base: a policy whose decisions are noted for each node, to learn on from; it allocates arms
            of the lattice. Where it reads more of the way to a state than features of the last
            steps do (`memory`), they are those on one of the ways.

    Raises:
        InvalidInputError: if the assessor wants another probe than was made, a feature tells of all
            steps so far, ways to the states of a task are too many, or calls would take several
            samples.
    """
    _check(lattice, space, features, assessor)
    arms = lattice.arms.named
    nodes: list[Node] = []
    edges: list[Edge] = []
    for task in lattice.tasks:
        made = _Nodes(
            lattice, task, assessor, max_rounds, not OF_RECENT_STEPS.isdisjoint(features), base
        )
        nodes += made.nodes
        edges += made.edges
    if space is None:
        space, codes = arm_space(arms), arm_codes(arms)
        wanted = {" ".join(sorted(code)): (code, arm) for code, arm in codes.items()}
        arms = {name: Allocation(tools=code) for name, (code, _) in wanted.items()}
        of_arm = {arm: [n for n, (_, a) in wanted.items() if a == arm] for arm in codes.values()}
        edges = [replace(edge, arm=name) for edge in edges for name in of_arm[edge.arm]]
    return env_from_lattice(nodes, edges, arms, space, features, max_rounds, lattice.card)


def _check(
    lattice: Lattice, space: Space | None, features: tuple[str, ...], assessor: Assessor | None
) -> None:
    wide = [name for name, arm in lattice.arms.named.items() if arm.beam_width > 1]
    beams = (1, 1) if space is None else space.beam_width
    if wide or beams != (1, 1):
        raise InvalidInputError(
            f"beam width is {beams}, and more than 1 in arms {', '.join(wide) or 'none'}; expected"
            " 1 in a table of a lattice, where a call takes one sample"
        )
    probes = frozenset() if assessor is None else assessor.probes
    if probes - lattice.arms.probes:
        raise InvalidInputError(
            f"the assessor probes {', '.join(sorted(probes))}, the lattice was recorded with"
            f" {', '.join(sorted(lattice.arms.probes)) or 'no probe'}; record it so (--probe)"
        )
    network = None if assessor is None else assessor.network
    read = () if network is None else network.names
    if told := sorted(OF_THE_WAY.intersection((*features, *read))):
        raise InvalidInputError(
            f"feature {told[0]} tells how a state was reached, which a lattice does not; leave it"
            " out, or take one of the last steps (amp.allocate.plan_state)"
        )


_Pulls = tuple[tuple[str, int], ...]
"""What was asked in a state, in order: the arm, and which of its answers came."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A state, and a way to it.

    Attributes:
        name: unique.
        state: the state.
        steps: of the way; where ways are not told apart, those of one of them.
    """

    name: str
    state: LatticeState
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True, slots=True)
class _Point:
    """A place with what was asked there so far."""

    place: _Place
    pulls: _Pulls
    evidence: Evidence

    @property
    def state(self) -> LatticeState:
        return self.place.state

    @property
    def name(self) -> str:
        asked = " ".join(f"{arm}/{number}" for arm, number in self.pulls)
        return f"{self.place.name} {asked}".rstrip()


class _Nodes:
    """The nodes and edges of a task, as far as rounds can lead.

    Attributes:
        nodes: each once; the first one begins the task.
        edges: between them.
    """

    def __init__(
        self,
        lattice: Lattice,
        task: TaskLattice,
        assessor: Assessor | None,
        max_rounds: int,
        tells_ways: bool,
        base: Allocator | None,
    ) -> None:
        self._lattice, self._task = lattice, task
        self._assessor, self._max_rounds, self._tells_ways = assessor, max_rounds, tells_ways
        self._base = base
        self._decisions = {arm: 1 + at for at, arm in enumerate(lattice.arms.named.values())}
        self._places: dict[tuple[str, Hashable], _Place] = {}
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        waiting, seen = [self._place(next(iter(task.states)), ())], set[str]()
        while waiting:
            if (place := waiting.pop()).name not in seen:
                seen.add(place.name)
                waiting += self._step(_Point(place, (), place.state.context.evidence))

    def _place(self, name: str, steps: tuple[StepRecord, ...]) -> _Place:
        """The place that a way leads to."""
        state = self._task.states[name]
        if not self._tells_ways:
            return _Place(name, state, state.context.steps)
        key = name, memory(steps)
        if key not in self._places:
            if len(self._places) == MAX_PLACES:
                raise InvalidInputError(
                    f"task {self._task.task.id} has more than {MAX_PLACES:,} ways to its"
                    f" {len(self._task.states)} states that features of the last steps tell apart;"
                    " leave these features out"
                )
            self._places[key] = _Place(f"{name}~{len(self._places)}", state, steps)
        return self._places[key]

    def _step(self, point: _Point) -> Iterator[_Place]:
        """Adds a node and all that further rounds lead to; gives the places that come next."""
        lead, then = None, None
        state, place = point.state, point.place
        if point.pulls:
            winner = weighted_vote(point.evidence.candidates)
            action = None if winner is None else winner.action
            lead = state.leads[choice_of(point.evidence.candidates, action)]
            if lead.to is not None:
                steps = place.steps
                if self._tells_ways:
                    steps = (*steps, self._record(point, action, lead))
                then = self._place(lead.to, steps)
                yield then
        context = replace(state.context, evidence=point.evidence, steps=place.steps)
        assessed = _NOT_ASSESSED if self._assessor is None else self._assessor.assess(context)
        self.nodes.append(
            Node(
                point.name,
                self._task.task.id,
                point.evidence,
                assessed,
                then=None if then is None else then.name,
                score=0.0 if lead is None else lead.score,
                outside=lead is not None and lead.outside,
                context=context,
                base=None if self._base is None else self._decided(self._base, context),
            )
        )
        if len(point.pulls) < self._max_rounds:
            for arm, number, answer in self._answers(point):
                pulls = (*point.pulls, (arm, number))
                tools = self._lattice.arms.named[arm].tools
                evidence = point.evidence.after(answer.candidates, tools)
                further = _Point(place, pulls, evidence)
                usage, readings = _cost(point, answer)
                self.edges.append(
                    Edge(point.name, arm, further.name, usage=usage, readings=readings)
                )
                yield from self._step(further)

    def _decided(self, base: Allocator, context: StepContext) -> int:
        """What the base policy decides, as `TableEnv.base`; after the last round, to stop."""
        if context.evidence.rounds >= self._max_rounds:
            return 0
        decision = base.allocate(context, _NOT_ASSESSED)
        if decision.allocation is None:
            return -1 if decision.give_up else 0
        return self._decisions[decision.allocation]

    def _record(self, point: _Point, action: str | None, lead: LatticeEdge) -> StepRecord:
        """The step that a point settles, as far as later steps read it."""
        named, asked = self._lattice.arms.named, point.state.asked
        rounds = tuple(
            Round(_NOT_ASSESSED, named[arm], 0.0, answer.candidates, answer.usage)
            for arm, answer in ((arm, asked[arm][number]) for arm, number in point.pulls)
        )
        return StepRecord(
            point.state.context.observation,
            rounds,
            _NOT_ASSESSED,
            action,
            Usage(),
            feedback=lead.feedback,
            probe=point.evidence.probe,
        )

    def _answers(self, point: _Point) -> Iterator[tuple[str, int, ArmAnswer]]:
        for arm, answers in point.state.asked.items():
            taken = {number for name, number in point.pulls if name == arm}
            if self._lattice.arms.named[arm].temperature == 0.0:
                taken = set()
            for number, answer in enumerate(answers):
                if number not in taken:
                    yield arm, number, answer


def _cost(point: _Point, answer: ArmAnswer) -> tuple[Usage, Mapping[str, Usage]]:
    """What an answer costs after what was asked in its step; the readings that are new there."""
    usage, readings = answer.usage, dict(answer.readings)
    if not point.pulls:
        usage += point.state.probe.usage
        readings |= point.state.probe.readings
    else:
        known = set(point.state.probe.readings)
        for arm, number in point.pulls:
            known |= point.state.asked[arm][number].readings.keys()
        readings = {name: cost for name, cost in readings.items() if name not in known}
    return usage + sum(readings.values(), Usage()), readings
