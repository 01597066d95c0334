"""The resource allocation controller (RAC, spec 2.3): its protocol, and allocators that ignore C.

Fixed, random and shuffled allocations are what adaptive ones are compared with.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from amp.allocate.space import Space
from amp.errors import InvalidInputError
from amp.latency import CostModel
from amp.types import STOP, Allocation, Complexity, Decision, Episode, Limits, StepContext, Usage

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

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        """Returns an allocation with its log-probability, or `STOP`.

        The same context and complexity give the same decision: chance is drawn from the task's
        seed, the step and the round.
        """
        ...

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
class OverrideAllocator(Allocator):
    """An allocator whose allocations have what the user set in place of its own.

    Attributes:
        inner: decides the rest, and when to stop.
        fields: of `Allocation`, by name.
    """

    inner: Allocator
    fields: Mapping[str, Any]

    @property
    def uses_complexity(self) -> bool:
        return self.inner.uses_complexity

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        decision = self.inner.allocate(context, complexity)
        if decision.allocation is None:
            return decision
        return replace(decision, allocation=replace(decision.allocation, **self.fields))

    def with_limits(
        self, limits: Limits, costs: CostModel, tools: Mapping[str, Usage]
    ) -> Allocator:
        return replace(self, inner=self.inner.with_limits(limits, costs, tools))


@dataclass(frozen=True, slots=True)
class FixedAllocator(Allocator):
    """The same allocation for every step, in one round: what AMP is compared with."""

    allocation: Allocation = Allocation()

    uses_complexity = False

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
