"""The environment to train on: many episodes at once, and what is recorded as tables of arrays.

`VectorEnv` is the protocol: it knows tasks and what comes of every allocation, decides nothing and
rewards nothing. `TableEnv` is one on recorded samples. A node is what is known in a plan step:
which samples were taken of it. An edge is one more sample of an arm: it costs what the sample did,
and the first of a call also its prompt, and it leads to the node in which the sample is known. To
act on what a node knows leads to the first node of the next plan step, or ends the plan with
success or not. `amp.simulate.sample_env` builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from amp.allocate.mlp_policy import EXTRAS, Allocations, allocations
from amp.allocate.space import REALS, TOOLS_FROM, Space
from amp.cost import Cost
from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints, Mask
from amp.types import Allocation


@dataclass(frozen=True, slots=True, eq=False)
class BatchObservation:
    """What is known before a decision, one row an episode.

    Attributes:
        values: shape (rows, features + `EXTRAS`), NaN where one is missing. The column of the
            trade-off may hold anything: the training draws it.
        free: shape (rows, dimensions), what the policy may decide, as `Options.free`.
        assessed: shape (rows, 3 * features of the assessor), what `NeuralAssessor.encode` makes of
            the step; of use where an assessor learns, and then the score among the values is not.
    """

    values: Floats
    free: Mask
    assessed: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """The results of a decision, one value per row.

    Attributes:
        cost: in the unit of the environment.
        success: quality of the result in [0, 1] where the episode is done, else 0.
        done: whether the episode is over: the last step is settled, or a limit reached.
        outside: whether it ended beyond what was recorded; None where that cannot be.
    """

    cost: Floats
    success: Floats
    done: Mask
    outside: Mask | None = None


class VectorEpisodes(Protocol):
    """Episodes under way."""

    def observe(self, rows: Ints) -> BatchObservation:
        """What is known now in these rows, none of which is done.

        A decision that leaves no choice (a stop that is forced) is not asked for: the environment
        takes it by itself.
        """
        ...

    def step(self, rows: Ints, latents: Floats) -> StepResult:
        """Carries out one decision in each of these rows, as drawn before the maps of spec 3.3."""
        ...


class VectorTasks(Protocol):
    """Tasks to train on.

    Attributes:
        space: where allocations move.
        max_rounds: rounds a plan step at most.
        max_samples: of one arm, with tools or without, at most; None for any number.
        features: names of the complexity's features that an observation begins with.
        difficulties: one number a task, its failure rate, say; for the curriculum.
    """

    @property
    def space(self) -> Space: ...
    @property
    def max_rounds(self) -> int: ...
    @property
    def max_samples(self) -> int | None: ...
    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def difficulties(self) -> Floats: ...


class VectorEnv(VectorTasks, Protocol):
    """An environment of these tasks."""

    def reset(self, tasks: Ints, rng: np.random.Generator) -> VectorEpisodes:
        """Begins one episode for each task, named by its index; all chance is of the generator."""
        ...


END = -1


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Costs in one unit, each array of shape (rows, arms, samples).

    Attributes:
        calls: what a call reads, by the number of samples that were taken of the arm before.
        samples: what each sample adds.
    """

    calls: Floats
    samples: Floats

    def rows(self, kept: Ints) -> Costs:
        """Those of some rows."""
        return Costs(self.calls[kept], self.samples[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Prompts of which only the next token is read: a planner reads each once in an episode.

    Attributes:
        read: shape (nodes, arms, samples, readings), which of its task's an edge reads that were
            not read before in its plan step; -1 for none.
        costs: by unit, what each of a task costs, shape (tasks, readings).
    """

    read: Ints
    costs: Mapping[Cost, Floats]

    def part(self, nodes: Ints, tasks: Ints) -> Readings:
        """Those of some nodes and tasks."""
        return Readings(self.read[nodes], {unit: c[tasks] for unit, c in self.costs.items()})

    def none_paid(self, episodes: int) -> Mask:
        """Which readings episodes have paid for, before their beginning."""
        return np.zeros((episodes, next(iter(self.costs.values())).shape[1]), np.bool_)

    def paid_before(
        self,
        paid: Mask,
        episodes: Ints,
        tasks: Ints,
        edges: tuple[Ints, ...],
        unit: Cost,
    ) -> Floats:
        """What these edges would have charged a second time; notes what they read.

        Args:
            paid: of all episodes; is changed.
            episodes: index of each edge's.
            tasks: likewise of its task.
            edges: node, arm and sample of each.
            unit: of the cost.
        """
        read = self.read[edges]
        there = read >= 0
        again = paid[episodes[:, None], read] & there
        saved = (self.costs[unit][tasks[:, None], read] * again).sum(1)
        paid[np.broadcast_to(episodes[:, None], read.shape)[there], read[there]] = True
        return np.asarray(saved)


@dataclass(frozen=True, slots=True, eq=False)
class TableEnv:
    """A lattice of nodes and edges as a `VectorEnv`.

    Nodes stand task by task, each before those that it leads to.

    Attributes:
        space: where allocations move. Each has to be an arm with some beam width.
        max_rounds: rounds a plan step at most.
        max_samples: of arms with a tool, and of arms without, in a plan step at most.
        features: names of the features that are shown.
        arms: what a sample of each is allocated.
        tasks: their ids.
        difficulties: failure rate of each task.
        first: shape (tasks,), the node that begins each.
        shown: shape (nodes, features + `EXTRAS`), NaN where one is missing; rounds and trade-off
            are 0 here.
        assessed: shape (nodes, 3 * features of the assessor), its inputs; of width 0 where it is no
            `NeuralAssessor`.
        then: shape (nodes,), the node that settling leads to, or `END`.
        score: shape (nodes,), quality of the result where settling ends the plan.
        left: shape (nodes, 2), samples that can still be taken without and with tools.
        next: shape (nodes, arms, samples), where each sample leads, `END` where there is none.
        cost_rows: shape (nodes,), the row of the costs that holds what a node's edges cost.
        costs: of calls and samples, in every unit in which they are known.
        unit: that of what a decision costs.
        subsets: nodes a task where each is a subset of its samples, a number in which bit
            ``arm * max_samples + index`` stands for a sample; 0 in any other lattice.
        shuffled: whether an episode takes the samples of an arm in an order of chance; else as
            they are listed.
        outside: shape (nodes,), whether settling leads beyond what was recorded, and so ends the
            plan; None where it never does.
        readings: what of the costs is paid once an episode; None for nothing.
        base: shape (nodes,), what a base policy decides at each: 0 to stop, 1 + an arm, or -1 to
            give up; None without one.
    """

    space: Space
    max_rounds: int
    max_samples: int
    features: tuple[str, ...]
    arms: tuple[Allocation, ...]
    tasks: tuple[str, ...]
    difficulties: Floats
    first: Ints
    shown: Floats
    assessed: Floats
    then: Ints
    score: Floats
    left: Ints
    next: Ints
    cost_rows: Ints
    costs: Mapping[Cost, Costs]
    unit: Cost = "tokens"
    subsets: int = 0
    shuffled: bool = True
    outside: Mask | None = None
    readings: Readings | None = None
    base: Ints | None = None

    def part(self, tasks: Ints) -> TableEnv:
        """The same of some tasks, by index."""
        ends = np.append(self.first[1:], len(self.then))
        rows = [np.arange(self.first[task], ends[task]) for task in tasks]
        nodes = np.concatenate(rows)
        begin = np.cumsum([0, *map(len, rows)])[:-1]
        moved = np.repeat(begin - self.first[tasks], list(map(len, rows)))
        old, first_of, costs = np.unique(
            self.cost_rows[nodes], return_index=True, return_inverse=True
        )
        rank = np.argsort(np.argsort(first_of))  # rows of costs in the order of their nodes
        kept = old[np.argsort(first_of)]

        def shifted(to: Ints) -> Ints:
            by = moved.reshape(-1, *[1] * (to.ndim - 1))
            return np.where(to == END, END, to + by)

        return replace(
            self,
            tasks=tuple(self.tasks[index] for index in tasks),
            difficulties=self.difficulties[tasks],
            first=begin,
            shown=self.shown[nodes],
            assessed=self.assessed[nodes],
            then=shifted(self.then[nodes]),
            score=self.score[nodes],
            left=self.left[nodes],
            next=shifted(self.next[nodes]),
            cost_rows=rank[costs.reshape(-1)],
            costs={unit: costs.rows(kept) for unit, costs in self.costs.items()},
            outside=None if self.outside is None else self.outside[nodes],
            readings=None if self.readings is None else self.readings.part(nodes, tasks),
            base=None if self.base is None else self.base[nodes],
        )

    @property
    def right(self) -> Mask:
        """Shape (tasks, subsets), whether the vote of each subset of the samples is right.

        Raises:
            InvalidInputError: if the nodes are no subsets of the samples of one plan step a task.
        """
        if not self.subsets:
            raise InvalidInputError(
                "tasks have plans of several steps or a lattice of their own, expected a table of"
                " one plan step a task"
            )
        return self.score.reshape(len(self.tasks), self.subsets) > 0.0

    def in_unit(self, unit: Cost) -> TableEnv:
        """The same with costs in another unit.

        Raises:
            InvalidInputError: if they are not known in that.
        """
        if unit not in self.costs:
            known = ", ".join(self.costs)
            raise InvalidInputError(f"the table has no costs in {unit}, expected one of {known}")
        return replace(self, unit=unit)

    def weighed(self, weights: Floats) -> TableEnv:
        """The same with the costs of each task times a weight, shape (tasks,)."""
        ends = np.append(self.first[1:], len(self.then))
        by = np.repeat(weights, ends - self.first)[:, None, None]
        own = {unit: each.rows(self.cost_rows) for unit, each in self.costs.items()}
        costs = {unit: Costs(each.calls * by, each.samples * by) for unit, each in own.items()}
        readings = self.readings
        if readings is not None:
            read = {unit: each * weights[:, None] for unit, each in readings.costs.items()}
            readings = replace(readings, costs=read)
        rows = np.arange(len(self.then))
        return replace(self, cost_rows=rows, costs=costs, readings=readings)

    def read(self, nodes: Ints, arms: Ints) -> Floats:
        """What the next call of an arm reads, by what of the arm was taken already."""
        taken = (self.next[nodes, arms] == END).sum(-1)
        at = self.cost_rows[nodes], arms, np.minimum(taken, self.next.shape[-1] - 1)
        return np.asarray(self.costs[self.unit].calls[at])

    def arm_of(self, wanted: Allocations) -> Ints:
        """Index of the arm that each allocation asks for.

        Raises:
            InvalidInputError: if there is none for one of them.
        """
        reals = [name for name in REALS if name != "beam_width"]
        asked = np.column_stack([*(getattr(wanted, name) for name in reals), wanted.tools])
        known = np.array(
            [
                [*(getattr(arm, name) for name in reals), *(t in arm.tools for t in self._tools)]
                for arm in self.arms
            ],
            float,
        )
        fits = np.isclose(asked[:, None], known).all(-1)
        if not (found := fits.any(1)).all():
            one = asked[int((~found).argmax())].tolist()
            raise InvalidInputError(
                f"the table has no arm for {dict(zip([*reals, *self._tools], one, strict=True))};"
                " narrow the space to what was recorded"
            )
        return np.asarray(fits.argmax(1), np.intp)

    @property
    def with_tools(self) -> Mask:
        """Whether each arm has a tool, shape (arms,)."""
        return np.array([bool(arm.tools) for arm in self.arms])

    @property
    def _tools(self) -> tuple[str, ...]:
        return self.space.tool_names

    @property
    def trade_off_column(self) -> int:
        """Where an observation has the trade-off."""
        return len(self.features) + EXTRAS.index("trade_off")

    def reset(self, tasks: Ints, rng: np.random.Generator) -> TableEpisodes:
        """Begins one episode a task."""
        shape = (len(tasks), len(self.arms), self.next.shape[-1])
        listed = np.broadcast_to(np.arange(shape[-1]), shape)
        return TableEpisodes(
            self, tasks, rng.random(shape).argsort(-1) if self.shuffled else listed
        )


class TableEpisodes:
    """Episodes under way on a table.

    Args:
        table: the table.
        tasks: index of the task of each episode.
        orders: shape (episodes, arms, samples), in which order samples are taken.

    Attributes:
        node: where each episode is.
        rounds: of its plan step so far.
    """

    def __init__(self, table: TableEnv, tasks: Ints, orders: Ints) -> None:
        self._table = table
        self._orders = orders
        self.node = table.first[tasks]
        self._tasks = tasks
        self.rounds = np.zeros(len(tasks), np.intp)
        self._paid = None if table.readings is None else table.readings.none_paid(len(tasks))

    def observe(self, rows: Ints) -> BatchObservation:
        """What is known now in these rows."""
        table, nodes = self._table, self.node[rows]
        values = np.array(table.shown[nodes])
        values[:, len(table.features) + EXTRAS.index("rounds")] = np.log1p(self.rounds[rows])
        free = np.zeros((len(rows), len(table.space.dims)), np.bool_)
        free[:, 0] = self.rounds[rows] > 0
        free[:, 1:TOOLS_FROM] = [
            max(np.ptp(table.space.depths(False)), np.ptp(table.space.depths(True))) > 0,
            *(np.ptp(getattr(table.space, name)) > 0 for name in REALS[1:]),
        ]
        free[:, TOOLS_FROM:] = (table.left[nodes] > 0).all(1, keepdims=True)
        return BatchObservation(values, free, table.assessed[nodes])

    def step(self, rows: Ints, latents: Floats) -> StepResult:
        """Takes the samples that the latents ask for, or settles the step by the vote so far."""
        table = self._table
        cost = np.zeros(len(rows))
        going = np.asarray(latents[:, 0] <= 0)
        asking = rows[going]
        if len(asking):
            cost[going] = self._pull(asking, latents[going])
            self.rounds[asking] += 1
        nodes = self.node[rows]
        exhausted = ~(table.left[nodes] > 0).any(1)
        settled = ~going | (self.rounds[rows] >= table.max_rounds) | exhausted
        then = table.then[nodes]
        done = settled & (then == END)
        success = np.where(done, table.score[nodes], 0.0)
        outside = None if table.outside is None else done & table.outside[nodes]
        moved = settled & ~done
        self.node[rows[moved]] = then[moved]
        self.rounds[rows[moved]] = 0
        return StepResult(cost, success, done, outside)

    def left(self, rows: Ints) -> Ints:
        """Samples left without tools and with them, shape (rows, 2), as `budget.options`."""
        return self._table.left[self.node[rows]]

    def _pull(self, rows: Ints, latents: Floats) -> Floats:
        """Takes the next samples of an arm in each row; returns what the call costs."""
        table, left = self._table, self.left(rows)
        latents = np.array(latents)
        latents[left[:, 0] == 0, TOOLS_FROM:] = 1.0
        wanted = allocations(table.space, latents)
        arm = table.arm_of(wanted)
        each = np.arange(len(rows))
        count = np.minimum(wanted.beam_width, left[each, wanted.tools.any(1) * 1])
        order = self._orders[rows, arm]
        cost = table.read(self.node[rows], arm)
        for taken in range(int(count.max())):
            nodes = self.node[rows]
            there = table.next[nodes[:, None], arm[:, None], order] != END
            sample = order[each, there.argmax(1)]
            more = taken < count
            cost += table.costs[table.unit].samples[table.cost_rows[nodes], arm, sample] * more
            if table.readings is not None and self._paid is not None:
                edges = nodes[more], arm[more], sample[more]
                cost[more] -= table.readings.paid_before(
                    self._paid, rows[more], self._tasks[rows[more]], edges, table.unit
                )
            self.node[rows] = np.where(more, table.next[nodes, arm, sample], nodes)
        return np.maximum(cost, 0.0)
