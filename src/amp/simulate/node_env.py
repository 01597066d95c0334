"""Builds the table environment from nodes and edges: what was known, and what led there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import numpy as np

from amp.allocate.mlp_policy import observe
from amp.allocate.space import Space
from amp.cost import COSTS, Cost, costing
from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints
from amp.models.base import ModelCard
from amp.reward import Reward
from amp.simulate.sample_env import check_arms
from amp.simulate.table_env import END, Costs, Readings, TableEnv
from amp.simulate.table_oracle import oracle
from amp.types import Allocation, Complexity, Evidence, Observation, StepContext, Task, Usage

_NOT_ASSESSED = Complexity(0.0)


@dataclass(frozen=True, slots=True)
class Node:
    """What is known at one point of a task.

    Attributes:
        name: unique in its lattice.
        task: its id; the first node of a task begins it.
        evidence: the candidates so far in this plan step.
        complexity: what the assessor says here.
        then: node of the next plan step, where this one is settled; None if that ends the plan.
        score: quality of the result in [0, 1], if so.
        outside: whether the plan ends since what follows was not recorded.
        context: the plan step, where more of it is shown than the evidence; else None.
        base: what a base policy decides there, as `TableEnv.base`; None without one.
    """

    name: str
    task: str
    evidence: Evidence = Evidence()
    complexity: Complexity = _NOT_ASSESSED
    then: str | None = None
    score: float = 0.0
    outside: bool = False
    context: StepContext | None = None
    base: int | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """What one sample of an arm brought.

    Attributes:
        node: where the arm was pulled. Several samples of it there are edges side by side.
        arm: its name.
        next: the node that is known then.
        completion_tokens: of the sample.
        prompt_tokens: of the call, paid once where a call takes several samples in a row.
        usage: all that it cost, where that is known, in place of these tokens.
        readings: the part of the usage for prompts that are paid once an episode, by name.
    """

    node: str
    arm: str
    next: str
    completion_tokens: int = 0
    prompt_tokens: int = 0
    usage: Usage | None = None
    readings: Mapping[str, Usage] = field(default_factory=dict)


def env_from_lattice(
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    arms: Mapping[str, Allocation],
    space: Space,
    features: tuple[str, ...] = (),
    max_rounds: int = 4,
    card: ModelCard | None = None,
) -> TableEnv:
    """A lattice of these nodes and edges.

    Args:
        nodes: the first one of each task begins it.
        edges: between nodes of one task and plan step.
        arms: what can be pulled, by name.
        space: where a policy is to move.
        features: of the nodes' complexities that it is to see.
        max_rounds: rounds a plan step at most.
        card: the model, for costs in all units, where every edge has its usage.

    Raises:
        InvalidInputError: if a name comes twice or is unknown, what leads on leaves the task or
            comes back to where it was, nothing leads to a node, a plan step begins where no arm
            can be pulled, or the edges of a call differ in their prompt.
    """
    check_arms(arms, space)
    order = _in_order(nodes, edges)
    index = {node.name: number for number, node in enumerate(order)}
    pulled = _pulled(edges, index, list(arms))
    width = max((len(several) for several in pulled.values()), default=1)
    shape = (len(order), len(arms))
    following = np.full((*shape, width), END)
    chains = np.zeros(shape, int)
    for (at, arm), several in sorted(pulled.items(), reverse=True):
        targets = [index[edge.next] for edge in several]
        following[at, arm, : len(several)] = targets
        # The worst case: so many samples can be taken in a row, whichever come first.
        chains[at, arm] = 1 + chains[targets, arm].min()
    classes = [[bool(arm.tools) == tools for arm in arms.values()] for tools in (False, True)]
    left = np.stack(
        [chains[:, one].min(1) if any(one) else np.zeros(len(order), int) for one in classes], 1
    )
    first = [0, *(at for at, (one, two) in enumerate(pairwise(order), 1) if one.task != two.task)]
    begins = {node.then for node in order} | {order[at].name for at in first}
    for at, node in enumerate(order):
        if node.name in begins and not left[at].any():
            raise InvalidInputError(
                f"a plan step begins at node {node.name}, where no arm can be pulled; add edges"
            )
    known = all(edge.usage is not None for edge in edges)
    made = TableEnv(
        space=space,
        max_rounds=max_rounds,
        max_samples=int(left.max()),
        features=features,
        arms=tuple(arms.values()),
        tasks=tuple(order[at].task for at in first),
        difficulties=np.zeros(len(first)),
        first=np.array(first),
        shown=np.array([_shown(features, node) for node in order], float),
        assessed=np.empty((len(order), 0), np.float32),
        then=np.array([END if node.then is None else index[node.then] for node in order]),
        score=np.array([node.score if node.then is None else 0.0 for node in order]),
        left=left,
        next=following,
        cost_rows=np.arange(len(order)),
        costs=_costs(pulled, following.shape, card if known else None),
        outside=np.array([node.outside for node in order]),
        readings=_readings(pulled, following.shape, order, card) if known and card else None,
        base=_base(order),
    )
    success, _ = oracle(made, Reward(1.0), 1.0)
    return replace(made, difficulties=1.0 - success)


def _base(order: Sequence[Node]) -> Ints | None:
    decided = [node.base for node in order]
    return None if None in decided else np.array(decided, np.intp)


_Pulled = Mapping[tuple[int, int], Sequence[Edge]]
"""The edges by node and arm."""


def _pulled(edges: Sequence[Edge], index: Mapping[str, int], arms: Sequence[str]) -> _Pulled:
    column = {name: number for number, name in enumerate(arms)}
    pulled: dict[tuple[int, int], list[Edge]] = defaultdict(list)
    for edge in edges:
        if edge.arm not in column:
            raise InvalidInputError(f"edge from {edge.node} has arm {edge.arm}, which is none")
        pulled[index[edge.node], column[edge.arm]].append(edge)
    for several in pulled.values():
        if any(edge.prompt_tokens != several[0].prompt_tokens for edge in several):
            raise InvalidInputError(
                f"edges of arm {several[0].arm} from node {several[0].node} differ in"
                " prompt_tokens, expected those of one prompt"
            )
    return pulled


def _shown(features: tuple[str, ...], node: Node) -> list[float | None]:
    context = node.context or StepContext(Task("any", "any"), Observation())
    context = replace(context, evidence=node.evidence)
    return observe(features, context, node.complexity, 0.0, 1.0)


def _costs(pulled: _Pulled, shape: tuple[int, ...], card: ModelCard | None) -> dict[Cost, Costs]:
    """In all units by the usages of the edges; without a card, in tokens."""
    if card is None:
        calls, samples = np.zeros(shape), np.zeros(shape)
        for at, several in pulled.items():
            calls[at] = several[0].prompt_tokens
            samples[at][: len(several)] = [edge.completion_tokens for edge in several]
        return {"tokens": Costs(calls, samples)}
    nothing, found = np.zeros(shape), dict[Cost, Costs]()
    for unit in COSTS:
        with suppress(InvalidInputError):  # not known of this model
            measure = costing(unit, card)
            samples = np.zeros(shape)
            for at, several in pulled.items():
                samples[at][: len(several)] = [measure.of(e.usage or Usage()) for e in several]
            found[unit] = Costs(nothing, samples)
    return found


def _readings(
    pulled: _Pulled, shape: tuple[int, ...], order: Sequence[Node], card: ModelCard
) -> Readings | None:
    """Numbers the readings of each task; None where no edge has any."""
    numbers: dict[str, dict[str, int]] = {node.task: {} for node in order}
    usages: dict[str, list[Usage]] = {task: [] for task in numbers}
    most = max((len(edge.readings) for several in pulled.values() for edge in several), default=0)
    if not most:
        return None
    read = np.full((*shape, most), -1)
    for (at, arm), several in pulled.items():
        task = order[at].task
        for sample, edge in enumerate(several):
            for place, (name, usage) in enumerate(edge.readings.items()):
                if name not in numbers[task]:
                    numbers[task][name] = len(usages[task])
                    usages[task].append(usage)
                read[at, arm, sample, place] = numbers[task][name]
    costs: dict[Cost, Floats] = {}
    for unit in COSTS:
        with suppress(InvalidInputError):
            measure = costing(unit, card)
            costs[unit] = np.zeros((len(usages), max(map(len, usages.values()))))
            for row, several_usages in enumerate(usages.values()):
                costs[unit][row, : len(several_usages)] = list(map(measure.of, several_usages))
    return Readings(read, costs)


def _in_order(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[Node]:
    """The nodes task by task, each before those that it leads to; the first one stays first."""
    known = {node.name: node for node in nodes}
    if len(known) != len(nodes):
        names = [node.name for node in nodes]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"node {twice} comes twice; leave one out")
    if not nodes:
        raise InvalidInputError("there are no nodes, expected at least one")
    leads_to: dict[str, list[str]] = {name: [] for name in known}
    ways = [(f"edge from {edge.node}", edge.node, edge.next) for edge in edges]
    ways += [(f"node {node.name}", node.name, node.then) for node in nodes if node.then is not None]
    for what, one, two in ways:
        for name in (one, two):
            if name not in known:
                raise InvalidInputError(f"{what} leads to {name}, which is no node; add it")
        if known[one].task != known[two].task:
            raise InvalidInputError(
                f"{what} leads from task {known[one].task} to {known[two].task}, expected one task"
            )
        leads_to[one].append(two)
    first: dict[str, str] = {}
    for node in nodes:
        first.setdefault(node.task, node.name)
    reached = {name for several in leads_to.values() for name in several}
    for node in nodes:
        if node.name not in reached and node.name != first[node.task]:
            raise InvalidInputError(f"nothing leads to node {node.name}; leave it out")
    try:
        order = list(TopologicalSorter(leads_to).static_order())[::-1]
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise InvalidInputError(
            f"nodes lead back to themselves ({circle}), expected progress"
        ) from None
    # Whatever leads to the first node of a task closes a circle, so that it is first among its own.
    by_task: dict[str, list[Node]] = {task: [] for task in first}
    for name in order:
        by_task[known[name].task].append(known[name])
    return [node for several in by_task.values() for node in several]
