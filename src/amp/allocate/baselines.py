"""Allocators that do not look at the complexity: fixed and random."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from amp.allocate.space import Space
from amp.types import STOP, Allocation, Complexity, Decision, StepContext


@dataclass(frozen=True, slots=True)
class FixedAllocator:
    """The same allocation for every step, in one round: what AMP is compared with."""

    allocation: Allocation = Allocation()

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        return STOP if context.evidence.rounds else Decision(self.allocation)


@dataclass(frozen=True, slots=True)
class RandomAllocator:
    """A uniformly drawn allocation for every step, in one round.

    Integers and tools are uniform over their values; temperature and top_p over their intervals.
    """

    space: Space = Space()

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
