"""Builds the table environment: from recorded samples, or from a list of nodes and edges.

From a `SampleTable` the nodes of a plan step are all subsets of its samples, so neither a policy
nor an assessor that learns there can read a feature that tells their order (`ORDERED`). A plan step
that was recorded in another way comes as a list of what was known and what led there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import numpy as np

from amp.allocate.mlp_policy import EXTRAS, Mask, observe
from amp.allocate.space import Space
from amp.assess.base import Assessor
from amp.errors import InvalidInputError
from amp.mlp import Floats
from amp.reward import Reward
from amp.simulate.costs import Costs, costs_of
from amp.simulate.samples import Arm, SampleTable, StepSamples
from amp.simulate.table_env import END, Ints, TableEnv, oracle
from amp.types import Complexity, Evidence, Observation, StepContext, Task
from amp.votes import weighted_vote

ORDERED = frozenset({"divergence"})
"""Features that tell the order of the samples."""

MAX_SAMPLES = 12
"""Of all arms of a plan step together: every subset of them is a node."""

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
    """

    name: str
    task: str
    evidence: Evidence = Evidence()
    complexity: Complexity = _NOT_ASSESSED
    then: str | None = None
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Edge:
    """What one sample of an arm brought.

    Attributes:
        node: where the arm was pulled. Several samples of it there are edges side by side.
        arm: its name.
        next: the node that is known then.
        completion_tokens: of the sample.
        prompt_tokens: of the call, paid once where a call takes several samples in a row.
    """

    node: str
    arm: str
    next: str
    completion_tokens: int
    prompt_tokens: int = 0


def env_from_samples(
    table: SampleTable,
    space: Space,
    features: tuple[str, ...],
    assessor: Assessor,
    contexts: Mapping[str, StepContext],
    max_rounds: int,
    on_task: Callable[[str], None] = lambda task: None,
) -> TableEnv:
    """The lattice of all subsets of the samples of each plan step.

    Args:
        table: the recorded samples, equally many of every arm.
        space: where a policy is to move.
        features: names of the features that it is to see.
        assessor: scores the steps; must need no probe. A `NeuralAssessor` may
            learn with the policy.
        contexts: each plan step before its first round, by its name, which is the task's id for
            the first one.
        max_rounds: rounds a plan step at most.
        on_task: called with each task when it is done.

    Raises:
        InvalidInputError: if the arms have unequally or too many samples or lack one that a
            policy may choose, the assessor asks for a probe, a feature of it or of the policy
            tells the order of the samples, a plan step has no context, or a call shares no
            prompt.
    """
    samples = _check_samples(table, space, features, assessor)
    moves = _subset_moves(len(table.arms), samples)
    left = _subset_left([bool(arm.allocation.tools) for arm in table.arms], samples)
    known: list[Subsets] = []
    first, then, base = [], [], 0
    for row in table.tasks:
        steps = row.steps()
        begin = {name: base + len(moves) * index for index, name in enumerate(steps)}
        first.append(base)
        for name, step in steps.items():
            if name not in contexts:
                raise InvalidInputError(f"contexts lack plan step {name} of task {row.task}")
            known.append(subsets(step, table, features, assessor, contexts[name]))
            then += [END if to is None else begin[to] for to in known[-1].then]
        base += len(moves) * len(steps)
        on_task(row.task)
    plan_steps = [step for row in table.tasks for step in row.steps().values()]
    offsets = len(moves) * np.arange(len(plan_steps))[:, None, None, None]
    return TableEnv(
        space=space,
        max_rounds=max_rounds,
        max_samples=samples,
        features=features,
        arms=tuple(arm.allocation for arm in table.arms),
        tasks=tuple(row.task for row in table.tasks),
        difficulties=np.array([_failures(row.steps().values(), table) for row in table.tasks]),
        first=np.array(first),
        shown=np.concatenate([one.shown for one in known]),
        assessed=np.concatenate([one.assessed for one in known]),
        then=np.array(then),
        score=np.concatenate([one.right for one in known]) * 1.0 * (np.array(then) == END),
        left=np.tile(left, (len(plan_steps), 1)),
        next=np.where(moves == END, END, moves + offsets).reshape(-1, *moves.shape[1:]),
        cost_rows=np.repeat(np.arange(len(plan_steps)), len(moves)),
        costs=costs_of(table),
        subsets=len(moves) if len(plan_steps) == len(table.tasks) else 0,
    )


def env_from_lattice(
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    arms: Sequence[Arm],
    space: Space,
    features: tuple[str, ...] = (),
    max_rounds: int = 4,
) -> TableEnv:
    """A lattice of these nodes and edges.

    Args:
        nodes: the first one of each task begins it.
        edges: between nodes of one task and plan step.
        arms: what can be pulled.
        space: where a policy is to move.
        features: of the nodes' complexities that it is to see.
        max_rounds: rounds a plan step at most.

    Raises:
        InvalidInputError: if a name comes twice or is unknown, what leads on leaves the task or
            comes back to where it was, nothing leads to a node, a plan step begins where no arm
            can be pulled, or the edges of a call differ in their prompt.
    """
    check_arms(arms, space)
    order = _in_order(nodes, edges)
    index = {node.name: number for number, node in enumerate(order)}
    column = {arm.name: number for number, arm in enumerate(arms)}
    tasks = tuple(dict.fromkeys(node.task for node in order))
    pulled: dict[tuple[int, int], list[Edge]] = defaultdict(list)
    for edge in edges:
        if edge.arm not in column:
            raise InvalidInputError(f"edge from {edge.node} has arm {edge.arm}, which is none")
        pulled[index[edge.node], column[edge.arm]].append(edge)
    width = max((len(several) for several in pulled.values()), default=1)
    shape = (len(order), len(arms))
    following = np.full((*shape, width), END)
    prompt, completion = np.zeros((*shape, width)), np.zeros((*shape, width))
    chains = np.zeros(shape, int)
    for (at, arm), several in sorted(pulled.items(), reverse=True):
        targets = [index[edge.next] for edge in several]
        following[at, arm, : len(several)] = targets
        completion[at, arm, : len(several)] = [edge.completion_tokens for edge in several]
        prompt[at, arm] = several[0].prompt_tokens
        if any(edge.prompt_tokens != several[0].prompt_tokens for edge in several):
            raise InvalidInputError(
                f"edges of arm {several[0].arm} from node {several[0].node} differ in"
                " prompt_tokens, expected those of one prompt"
            )
        # The worst case: so many samples can be taken in a row, whichever come first.
        chains[at, arm] = 1 + chains[targets, arm].min()
    classes = [[bool(arm.allocation.tools) == tools for arm in arms] for tools in (False, True)]
    left = np.stack(
        [chains[:, one].min(1) if any(one) else np.zeros(len(order), int) for one in classes], 1
    )
    begins = {node.then for node in order} | {order[0].name}
    begins |= {node.name for one, node in pairwise(order) if node.task != one.task}
    for node in order:
        if node.name in begins and not left[index[node.name]].any():
            raise InvalidInputError(
                f"a plan step begins at node {node.name}, where no arm can be pulled; add edges"
            )
    step = StepContext(Task("any", "any"), Observation())
    shown = [
        observe(features, replace(step, evidence=n.evidence), n.complexity, 0.0, 1.0) for n in order
    ]
    made = TableEnv(
        space=space,
        max_rounds=max_rounds,
        max_samples=int(left.max()),
        features=features,
        arms=tuple(arm.allocation for arm in arms),
        tasks=tasks,
        difficulties=np.zeros(len(tasks)),
        first=np.array([[node.task for node in order].index(task) for task in tasks]),
        shown=np.array(shown, float),
        assessed=np.empty((len(order), 0), np.float32),
        then=np.array([END if node.then is None else index[node.then] for node in order]),
        score=np.array([node.score if node.then is None else 0.0 for node in order]),
        left=left,
        next=following,
        cost_rows=np.arange(len(order)),
        costs={"tokens": Costs(prompt, completion)},
    )
    success, _ = oracle(made, Reward(1.0), 1.0)
    return replace(made, difficulties=1.0 - success)


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
    tasks = list(dict.fromkeys(node.task for node in nodes))
    first = {task: next(node.name for node in nodes if node.task == task) for task in tasks}
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
    return [known[name] for task in tasks for name in order if known[name].task == task]


@dataclass(frozen=True, slots=True, eq=False)
class Subsets:
    """The nodes of one plan step; a subset is a number with a bit for each sample.

    Attributes:
        shown: shape (subsets, features + `EXTRAS`), NaN where one is missing.
        assessed: shape (subsets, inputs), what `NeuralAssessor.encode` makes of each; of width 0
            where another assessor is asked.
        right: shape (subsets,), whether the vote is right.
        then: the plan step that the vote leads to; None where it ends the plan.
    """

    shown: Floats
    assessed: Floats
    right: Mask
    then: tuple[str | None, ...]


def subsets(
    step: StepSamples,
    table: SampleTable,
    features: tuple[str, ...],
    assessor: Assessor,
    context: StepContext,
) -> Subsets:
    """Works out all subsets of the samples of a plan step.

    Args:
        step: the plan step.
        table: the table that it is of.
        features: names of the features that are shown.
        assessor: says how complex the step is.
        context: the step before anything is taken.
    """
    samples = [
        (sample, arm.allocation.tools)
        for arm in table.arms
        for sample in step.by_arm[arm.name].samples
    ]
    count = 1 << len(samples)
    network = assessor.network
    width = 0 if network is None else 3 * len(network.names)
    shown, right = np.empty((count, len(features) + len(EXTRAS))), np.zeros(count, np.bool_)
    assessed = np.empty((count, width), np.float32)
    then: list[str | None] = []
    for subset in range(count):
        known = [sample for bit, sample in enumerate(samples) if subset >> bit & 1]
        candidates = tuple(sample.candidate for sample, _ in known)
        tools = tuple(tools for _, tools in known)
        evidence = Evidence(candidates, rounds=int(bool(known)), tools=tools)
        now = replace(context, evidence=evidence)
        seen = assessor.observe(now)
        if network is not None:
            assessed[subset] = network.encode(seen)
        complexity = assessor.score(seen)
        shown[subset] = np.array(
            observe(features, now, complexity, trade_off=0.0, budget_share=1.0), float
        )
        winner = weighted_vote(candidates)
        chosen = None if winner is None else known[candidates.index(winner)][0]
        right[subset] = chosen is not None and chosen.right
        then.append(step.no_action if chosen is None else chosen.next)
    return Subsets(shown, assessed, right, tuple(then))


def _subset_moves(arms: int, samples: int) -> Ints:
    """Where each sample leads from each subset, shape (subsets, arms, samples)."""
    every = np.arange(1 << arms * samples)[:, None, None]
    bits = 1 << np.arange(arms * samples).reshape(arms, samples)
    return np.where(every & bits, END, every | bits)


def _subset_left(with_tools: Sequence[bool], samples: int) -> Ints:
    """Samples left of arms without tools and with them, shape (subsets, 2)."""
    taken = (_subset_moves(len(with_tools), samples) == END).sum(-1)
    several = np.array(with_tools)
    return np.stack(
        [
            samples * int((several == tools).any()) - taken[:, several == tools].sum(1)
            for tools in (False, True)
        ],
        1,
    )


def _failures(steps: Iterable[StepSamples], table: SampleTable) -> float:
    wrong = [
        not sample.right
        for step in steps
        for arm in table.arms
        for sample in step.by_arm[arm.name].samples
    ]
    return float(np.mean(wrong))


def _check_samples(
    table: SampleTable, space: Space, features: tuple[str, ...], assessor: Assessor
) -> int:
    """Refuses what has no place in a lattice of subsets; returns the samples of an arm."""
    (samples, *others) = table.samples.values()
    if any(other != samples for other in others):
        raise InvalidInputError(f"samples by arm are {table.samples}, expected equally many")
    if len(table.arms) * samples > MAX_SAMPLES:
        raise InvalidInputError(
            f"{len(table.arms)} arms of {samples} samples have"
            f" {2 ** (len(table.arms) * samples):,} subsets a task, expected at most"
            f" {2**MAX_SAMPLES:,}; take fewer samples or arms"
        )
    if assessor.probes:
        raise InvalidInputError(
            f"the assessor probes {', '.join(sorted(assessor.probes))} first, which this"
            " environment has no price for; take one that asks for no probe"
        )
    read = () if assessor.network is None else assessor.network.names
    if ordered := sorted(ORDERED.intersection((*features, *read))):
        raise InvalidInputError(
            f"feature {ordered[0]} depends on the order of the samples; leave it out"
        )
    check_arms(table.arms, space)
    if not table.shared_prompt:
        raise InvalidInputError(f"samples of {table.card.name} share no prompt, expected that")
    return samples


def check_arms(arms: Sequence[Arm], space: Space) -> None:
    """Sees to it that there is an arm without tools, and one with them if the space has some.

    A policy decides whether to use a tool wherever both ways exist in its space.

    Raises:
        InvalidInputError: if one of them is not there.
    """
    for tools in (False, True)[: 1 + bool(space.tools)]:
        if not any(bool(arm.allocation.tools) == tools for arm in arms):
            raise InvalidInputError(
                f"no arm {'has a tool' if tools else 'is without tools'}"
                f" ({', '.join(arm.name for arm in arms)}), but a policy here may ask"
                f" {'with one' if tools else 'without'}; name such an arm, too"
            )
