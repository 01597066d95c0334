"""The protocol of the resource allocation controller (RAC, spec 2.3).

Allocators that do not look at the complexity: fixed and random.

Controls for plans of several steps: the rounds of another run, dealt out by chance.

They spend as that run did without knowing where (`amp.simulate.policies` has the same on tables of
draws, for plans of one step). What a plan step got is one hand: the allocations of its rounds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from amp.allocate.space import Space
from amp.errors import InvalidInputError
from amp.types import STOP, Allocation, Complexity, Decision, Episode, StepContext


class Allocator(Protocol):
    """Decides what the next round of a plan step may spend, or that the step is settled.

    `context.evidence.rounds` says how many rounds the step has had. An allocator that stops after
    the first one is the algorithm of spec 3.1 to the letter.
    """

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        """Returns an allocation with its log-probability, or `STOP`.

        The same context and complexity give the same decision: chance is drawn from the task's
        seed, the step and the round.
        """
        ...


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


Hand = tuple[Allocation, ...]
DEALS = ("histogram", "shuffled")


@dataclass(frozen=True, slots=True)
class DealtAllocator:
    """Grants each step a hand that some step of another run had.

    Attributes:
        hands: all of them; a step that has none of its own draws one, with replacement.
        dealt: the hand of a step, by task id and number of steps before it.
    """

    hands: tuple[Hand, ...]
    dealt: Mapping[tuple[str, int], Hand]

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        place, done = (context.task.id, len(context.steps)), context.evidence.rounds
        hand = self.dealt.get(place)
        if hand is None:
            hand = random.Random(f"{context.task.seed} {place}").choice(self.hands)
        return Decision(hand[done]) if done < len(hand) else STOP


def deal(how: str, episodes: Sequence[Episode], seed: int) -> DealtAllocator:
    """Deals the hands of a run anew.

    Args:
        how: one of `DEALS`. ``histogram`` draws a hand for every step, with replacement;
            ``shuffled`` permutes the hands among the steps of all tasks. A plan that becomes longer
            than the run's was draws for the steps beyond it.
        episodes: of the run.
        seed: of the permutation.

    Raises:
        InvalidInputError: if no step of the run was allocated anything.
    """
    hands = {
        (episode.task.id, number): tuple(executed.allocation for executed in step.rounds)
        for episode in episodes
        for number, step in enumerate(episode.steps)
        if step.rounds
    }
    if not hands:
        raise InvalidInputError("no step of the run to deal from was allocated anything")
    whole = tuple(hands.values())
    if how == "histogram":
        return DealtAllocator(whole, {})
    mixed = random.Random(seed).sample(whole, len(whole))
    return DealtAllocator(whole, dict(zip(hands, mixed, strict=True)))
