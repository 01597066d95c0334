"""Builds the table environment from recorded samples: all subsets of those of each plan step.

So neither a policy nor an assessor that learns there can read a feature that tells their order
(`ORDERED`).

A sequential policy reads its prompt again with every call, and finds it in the cache: in dollars
and FLOPs a call's prompt depends on how many samples of the arm came before. What a sample costs
does not. So the cost of an episode is a sum over the edges of its way through the table, and equals
what the planner's ledger would be charged (`costs_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from amp.allocate.mlp_policy import EXTRAS, observe
from amp.allocate.space import Space
from amp.assess.base import Assessor
from amp.cost import COSTS, Cost, Costing, charged, costing
from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints, Mask
from amp.models.base import ModelCard
from amp.simulate.samples import ArmSamples, RecordedSample, SampleTable, StepSamples
from amp.simulate.table_env import END, Costs, TableEnv
from amp.types import Allocation, Evidence, StepContext, Usage
from amp.votes import weighted_vote

ORDERED = frozenset({"divergence"})
"""Features that tell the order of the samples."""

MAX_SAMPLES = 12
"""Of all arms of a plan step together: every subset of them is a node."""


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
    check_arms({arm.name: arm.allocation for arm in table.arms}, space)
    if not table.shared_prompt:
        raise InvalidInputError(f"samples of {table.card.name} share no prompt, expected that")
    return samples


def check_arms(arms: Mapping[str, Allocation], space: Space) -> None:
    """Sees to it that there is an arm without tools, and one with them if the space has some.

    A policy decides whether to use a tool wherever both ways exist in its space.

    Raises:
        InvalidInputError: if one of them is not there.
    """
    for tools in (False, True)[: 1 + bool(space.tools)]:
        if not any(bool(allocation.tools) == tools for allocation in arms.values()):
            raise InvalidInputError(
                f"no arm {'has a tool' if tools else 'is without tools'}"
                f" ({', '.join(arms)}), but a policy here may ask"
                f" {'with one' if tools else 'without'}; name such an arm, too"
            )


def costs_of(table: SampleTable) -> dict[Cost, Costs]:
    """What samples cost, a row a plan step in the order of the table, in all units that are known.

    Dollars are those of `amp.cost.costing`, at a reference price where the model has none.

    Args:
        table: of samples that share the prompt of their call; equally many of every arm.
    """
    measures: dict[Cost, Costing] = {}
    for unit in COSTS:
        with suppress(InvalidInputError):  # not known of this model
            measures[unit] = costing(unit, table.card)
    steps = [step for row in table.tasks for step in row.steps().values()]
    arms = [[_of_arm(step.by_arm[arm.name], table.card) for arm in table.arms] for step in steps]
    found: dict[Cost, Costs] = {}
    for unit, measure in measures.items():
        pairs = [
            [[(measure.of(call), measure.of(whole)) for call, whole in arm] for arm in step]
            for step in arms
        ]
        calls, whole = np.moveaxis(np.array(pairs, float), -1, 0)
        found[unit] = Costs(calls, whole - calls)
    return found


def _of_arm(arm: ArmSamples, card: ModelCard) -> list[tuple[Usage, Usage]]:
    """At each place, the usage of a call without its sample, and with it.

    The tokens of a sample attend to the prompt, too, so that its FLOPs are those beyond the call's.
    """
    found = []
    for cached, sample in zip(arm.cached, arm.samples, strict=True):
        call = Usage(1, prompt_tokens=arm.prompt_tokens, cached_prompt_tokens=cached)
        found.append((charged(card, [call]), charged(card, [call, _with_tools(sample)])))
    return found


def _with_tools(sample: RecordedSample) -> Usage:
    return sample.usage + Usage(seconds=sum(use.seconds for use in sample.candidate.tool_uses))
