"""The resource allocation controller (RAC, spec 2.3): its protocol, and what a budget allows.

Fixed, random and shuffled allocations ignore the complexity; adaptive ones are compared with them.

What a budget allows is a mask and bounds before anything is sampled, and narrowing afterwards:

1. A tool is masked where it does not exist, and where one candidate with it does not fit what the
   limits still allow. The tool that follows a plan is masked where no plan stands.
2. The upper bound of the beam width is lowered to the number of candidates that still fit, but
   not below its lower bound. The map stays a map, onto fewer beams.
3. There is no stop before the first round. It is forced after the last one, and after any round
   that leaves too little for the lowest number of beams.
4. Where `max_samples` bounds the samples of a step, with tools and as many without, the beam width
   is cut to what is left of its kind; where one kind is used up, the other one is allocated.

Something fits if it takes no more tokens, dollars and seconds than are left, by the estimates of
`AllocationEnv`; what has no estimate fits. They are only estimates: the ledger enforces the limits.

`BudgetedAllocator` narrows what any other allocator grants to what the hardware and the prices
allow (spec 4.3, hardware-aware).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from amp.allocate.space import REALS, TOOLS_FROM, Space
from amp.errors import InvalidInputError
from amp.latency import CostModel
from amp.types import (
    PLAN,
    STANDING_PLAN,
    STOP,
    UNAIDED,
    Allocation,
    Complexity,
    Decision,
    Episode,
    Limits,
    StepContext,
    Usage,
)

CONTROLS = ("histogram", "shuffled")
"""Ways to hand out another run's allocations by chance (`shuffled_control`)."""


class Allocator(Protocol):
    """Decides what the next round of a plan step may spend, or to stop.

    Subclass it and write `allocate`; the rest has defaults. `context.evidence.rounds` says how many
    rounds the step has had. An allocator that stops after the first one is the algorithm of spec
    3.1 to the letter.
    """

    @property
    def uses_complexity(self) -> bool:
        """Whether decisions depend on the complexity, so that it is worth its price."""
        return True

    @property
    def models(self) -> frozenset[str]:
        """Names of the models that it allocates; none where the base model answers always."""
        return frozenset()

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        """Returns an allocation with its log-probability, or `STOP`.

        The same context and complexity give the same decision: chance is drawn from the task's
        seed, the step and the round.
        """
        ...

    def bid(self, context: StepContext, complexity: Complexity) -> float:
        """What one more round is worth per unit of cost, beside agents that share a budget.

        By default the complexity, the risk of acting now.
        """
        return complexity.score

    def with_overrides(self, fields: Mapping[str, Any]) -> Allocator:
        """Returns the allocator with fields of every `Allocation` set by the user.

        Args:
            fields: of `Allocation`, by name.
        """
        return OverrideAllocator(self, fields)

    def with_limits(
        self, limits: Limits, costs: CostModel, tools: Mapping[str, Usage]
    ) -> Allocator:
        """Returns the allocator with limits and costs, so that it allocates no more than fits.

        By default that is the allocator as it is; the ledger refuses what does not fit.

        Args:
            limits: of a whole episode.
            costs: what allocations cost here.
            tools: about what one use of each tool takes, by name.
        """
        return self


@dataclass(frozen=True, slots=True)
class AllocatorAround(Allocator):
    """Changes what another allocator decides; all else is as that one has it.

    Attributes:
        inner: that other one.
    """

    inner: Allocator

    @property
    def uses_complexity(self) -> bool:
        return self.inner.uses_complexity

    @property
    def models(self) -> frozenset[str]:
        return self.inner.models

    def bid(self, context: StepContext, complexity: Complexity) -> float:
        return self.inner.bid(context, complexity)

    def with_limits(self, limits: Limits, costs: CostModel, tools: Mapping[str, Usage]) -> Self:
        return replace(self, inner=self.inner.with_limits(limits, costs, tools))


@dataclass(frozen=True, slots=True)
class OverrideAllocator(AllocatorAround):
    """An allocator whose allocations have what the user set in place of its own.

    Attributes:
        inner: decides the rest, and when to stop.
        fields: of `Allocation`, by name.
    """

    fields: Mapping[str, Any]

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        decision = self.inner.allocate(context, complexity)
        if decision.allocation is None:
            return decision
        return replace(decision, allocation=replace(decision.allocation, **self.fields))


@dataclass(frozen=True, slots=True)
class FixedAllocator(Allocator):
    """The same allocation for every step, in one round: what AMP is compared with."""

    allocation: Allocation = Allocation()

    uses_complexity = False

    @property
    def models(self) -> frozenset[str]:
        return frozenset(filter(None, (self.allocation.model,)))

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        return STOP if context.evidence.rounds else Decision(self.allocation)

    def with_overrides(self, fields: Mapping[str, Any]) -> FixedAllocator:
        return FixedAllocator(replace(self.allocation, **fields))


@dataclass(frozen=True, slots=True)
class RandomAllocator(Allocator):
    """A uniformly drawn allocation for every step, in one round.

    Integers and tools are uniform over their values; temperature and top_p over their intervals.
    """

    space: Space = Space()

    uses_complexity = False

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return STOP
        space = self.space
        rng = random.Random(f"{context.task.seed} {context.task.id} {len(context.steps)}")
        allocation = Allocation(
            depth=rng.randint(*space.depth),
            temperature=rng.uniform(*space.temperature),
            top_p=rng.uniform(*space.top_p),
            beam_width=rng.randint(*space.beam_width),
            tools=frozenset(name for name in sorted(space.tools) if rng.random() < 0.5),
            verification=rng.randint(*space.verification),
        )
        return Decision(allocation, self._log_prob())

    def _log_prob(self) -> float:
        """Log-density of any draw: the same for all, since all are uniform."""
        space = self.space
        integers = (space.depth, space.beam_width, space.verification)
        reals = (space.temperature, space.top_p)
        return (
            -math.fsum(math.log(high - low + 1) for low, high in integers)
            - math.fsum(math.log(high - low) for low, high in reals if high > low)
            - len(space.tools) * math.log(2.0)
        )


@dataclass(frozen=True, slots=True)
class ShuffledAllocator(Allocator):
    """Grants each step the rounds that some step of another run had.

    It spends as that run did without knowing where: the control for plans of several steps
    (`amp.simulate.policies` has the same on tables of samples).

    Attributes:
        pool: the allocations of the rounds of every step of that run.
        assigned: the rounds of a step, by task id and number of steps before it; a step that has
            none draws from the pool, with replacement.
    """

    pool: tuple[tuple[Allocation, ...], ...]
    assigned: Mapping[tuple[str, int], tuple[Allocation, ...]]

    uses_complexity = False

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        place, done = (context.task.id, len(context.steps)), context.evidence.rounds
        rounds = self.assigned.get(place)
        if rounds is None:
            rounds = random.Random(f"{context.task.seed} {place}").choice(self.pool)
        return Decision(rounds[done]) if done < len(rounds) else STOP


def shuffled_control(how: str, episodes: Sequence[Episode], seed: int) -> ShuffledAllocator:
    """Returns the control that hands out the allocations of a run by chance.

    Args:
        how: one of `CONTROLS`. ``histogram`` draws for every step, with replacement; ``shuffled``
            permutes the steps of all tasks. A plan that becomes longer than the run's was draws for
            the steps beyond it.
        episodes: of the run.
        seed: of the permutation.

    Raises:
        InvalidInputError: if no step of the run was allocated anything.
    """
    rounds = {
        (episode.task.id, number): tuple(executed.allocation for executed in step.rounds)
        for episode in episodes
        for number, step in enumerate(episode.steps)
        if step.rounds
    }
    if not rounds:
        raise InvalidInputError("no step of the run to shuffle was allocated anything")
    pool = tuple(rounds.values())
    if how == "histogram":
        return ShuffledAllocator(pool, {})
    permuted = random.Random(seed).sample(pool, len(pool))
    return ShuffledAllocator(pool, dict(zip(rounds, permuted, strict=True)))


@dataclass(frozen=True, slots=True)
class AllocationEnv:
    """What a policy has to know of where it runs. Not a part of the policy, so not saved with it.

    Attributes:
        candidate: about what one candidate takes: its share of the prompt, and its answer.
        tools: the tools that the executor has, each with about what one use takes (`Tool.cost`);
            None if all tools of the space exist, at unknown costs. Tools that the
            observation brings along exist in any case.
        limits: the limits of a whole episode; the remaining budget is a share of them.
    """

    candidate: Usage = field(default_factory=Usage)
    tools: Mapping[str, Usage] | None = None
    limits: Limits = Limits()

    def budget_share(self, remaining: Limits) -> float:
        """The share in [0, 1] of the scarcest limited resource that is left; 1 without limits."""
        shares = [1.0]
        for name in ("steps", "tokens", "dollars", "seconds"):
            limit, left = getattr(self.limits, name), getattr(remaining, name)
            if limit is not None and left is not None:
                shares.append(left / limit)
        return min(shares)


@dataclass(frozen=True, slots=True)
class ActionMask:
    """What may be decided now.

    Attributes:
        space: the policy's space with bounds that the remaining budget allows.
        free: for each of `Space.dims`, whether it is left to the policy.
        must_stop: whether the only option is to stop; then nothing is free.
        left: samples that may still be taken without tools, and with them.
        forced: tools that have to be used, as no sample without is left.
    """

    space: Space
    free: tuple[bool, ...]
    must_stop: bool = False
    left: tuple[float, float] = (math.inf, math.inf)
    forced: frozenset[str] = frozenset()

    def allocation(self, latents: Sequence[float]) -> Allocation:
        """What latents stand for here: the maps of `space`, and no more samples than are left."""
        if self.forced:
            forced = (float(name in self.forced) for name in self.space.tool_names)
            latents = (*latents[:TOOLS_FROM], *forced)
        allocation = self.space.allocation(latents)
        samples = min(allocation.beam_width, self.left[bool(allocation.tools)])
        return replace(allocation, beam_width=int(samples))


def mask_actions(
    space: Space,
    context: StepContext,
    env: AllocationEnv,
    max_rounds: int,
    max_samples: int | None = None,
) -> ActionMask:
    """Applies the rules of this module to the step at hand.

    Args:
        space: the policy's whole space.
        context: the step, with what the limits still allow.
        env: what exists and what it costs.
        max_rounds: rounds a step at most.
        max_samples: with tools or without, at most; None for any number.
    """
    rounds, remaining = context.evidence.rounds, context.remaining
    usable = [_usable(name, context, env) for name in space.tool_names]
    left = _left(context, max_samples, any(usable))
    room = _room(remaining, env.candidate)
    low, high = space.beam_width
    if rounds >= max_rounds or not any(left) or (rounds and room < low):
        return ActionMask(space, (False,) * (1 + len(REALS) + len(usable)), must_stop=True)
    if room < high:
        space = replace(space, beam_width=(low, max(low, int(room))))
    return ActionMask(
        space,
        (
            rounds > 0,
            *(low < high for low, high in _bounds(space)),
            *(fine and all(left) for fine in usable),
        ),
        left=left,
        forced=frozenset()
        if left[False]
        else frozenset(n for n, fine in zip(space.tool_names, usable, strict=True) if fine),
    )


def _bounds(space: Space) -> Iterator[tuple[float, float]]:
    """Of every real resource; of the depth, those that leave more to decide."""
    yield max(space.depths(False), space.depths(True), key=lambda bounds: bounds[1] - bounds[0])
    yield from (getattr(space, name) for name in REALS[1:])


def _left(context: StepContext, max_samples: int | None, tools: bool) -> tuple[float, float]:
    if max_samples is None:
        return math.inf, math.inf
    evidence = context.evidence
    without = len(evidence.candidates) - evidence.with_tools
    with_tools = max(0, max_samples - evidence.with_tools) if tools else 0
    return max(0, max_samples - without), with_tools


def _usable(tool: str, context: StepContext, env: AllocationEnv) -> bool:
    costs = env.tools
    if tool == STANDING_PLAN:
        return bool(context.standing_plan)
    if costs is None or tool in (PLAN, UNAIDED):
        return True
    if tool not in costs:
        return tool in context.observation.tool_actions
    return _room(context.remaining, env.candidate + costs[tool]) >= 1.0


def _room(remaining: Limits, need: Usage) -> float:
    """How many times a usage fits what is left; infinite if nothing limits it."""
    room = math.inf
    for left, needed in (
        (remaining.tokens, need.tokens),
        (remaining.dollars, need.dollars),
        (remaining.seconds, need.seconds),
    ):
        if left is not None and needed > 0:
            room = min(room, left / needed)
    return room


@dataclass(frozen=True, slots=True)
class BudgetedAllocator(AllocatorAround):
    """Narrows what another allocator grants until its expected cost fits what the limits allow.

    Beams go first, then verification, then depth: fewer candidates still act, and a step without
    thought is the last resort. What fits is left as it is. If nothing fits, the narrowest goes on,
    and the ledger refuses the call. A decision keeps the log-probability and the latents of what
    the other allocator sampled: the narrowing is a part of the world that its policy acts in.

    Attributes:
        inner: the allocator that decides.
        costs: what allocations cost here. After the first step, the prompts of the last step that
            called a model stand for the typical one. Without a profile of this machine, a limit of
            seconds narrows nothing.
    """

    costs: CostModel

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        decision = self.inner.allocate(context, complexity)
        if decision.allocation is None:
            return decision
        prompt_tokens = _last_prompt_tokens(context)
        narrowed = decision.allocation
        for narrowed in _narrower(decision.allocation):
            choice = context.actions(narrowed.tools) is not None
            cost = self.costs.expected(narrowed, prompt_tokens=prompt_tokens, choice=choice)
            if _fits(cost, context.remaining):
                break
        return (
            decision if narrowed == decision.allocation else replace(decision, allocation=narrowed)
        )


def _last_prompt_tokens(context: StepContext) -> int | None:
    """Mean length of the prompts of the last step that called a model; None if none did."""
    for step in reversed(context.steps):
        if step.usage.model_calls:
            return round(step.usage.prompt_tokens / step.usage.model_calls)
    return None


def _narrower(allocation: Allocation) -> Iterator[Allocation]:
    """The allocation, then ever narrower ones, down to one beam, no verification, no depth."""
    yield allocation
    for name, lowest in (("beam_width", 1), ("verification", 0), ("depth", 0)):
        while getattr(allocation, name) > lowest:
            smaller = {name: getattr(allocation, name) - 1}
            allocation = replace(allocation, **smaller)
            yield allocation


def _fits(cost: Usage, remaining: Limits) -> bool:
    spent = (cost.tokens, cost.seconds, cost.dollars)
    limits = (remaining.tokens, remaining.seconds, remaining.dollars)
    return all(most is None or each <= most for each, most in zip(spent, limits, strict=True))
