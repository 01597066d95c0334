"""Controls for plans of several steps: the rounds of another run, dealt out by chance.

They spend as that run did without knowing where (`amp.evaluate.policies` has the same on tables of
draws, for plans of one step). What a plan step got is one hand: the allocations of its rounds.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amp.errors import InvalidInputError
from amp.types import STOP, Allocation, Complexity, Decision, Episode, StepContext

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
