"""Controls spend what a run spent, but elsewhere."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.allocate.base import Allocator, Hand, deal
from amp.errors import InvalidInputError
from amp.types import (
    Allocation,
    Complexity,
    Episode,
    Evidence,
    Observation,
    Round,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

hands = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(
    lambda widths: tuple(Allocation(beam_width=width) for width in widths)
)
plans = st.lists(st.lists(hands, min_size=1, max_size=4), min_size=1, max_size=4)
NOTHING = Complexity(0.0)


def step(hand: Hand) -> StepRecord:
    rounds = tuple(Round(NOTHING, one, 0.0, (), Usage()) for one in hand)
    return StepRecord(Observation(), rounds, NOTHING, "go", Usage())


def episodes_of(run: list[list[Hand]]) -> list[Episode]:
    return [
        Episode(Task(f"t{number}", ""), tuple(map(step, plan)), True, 1.0, Usage(), "done")
        for number, plan in enumerate(run)
    ]


def granted(allocator: Allocator, task: str, number: int, seed: int = 0) -> Hand:
    """What a step gets until it is settled."""
    hand: list[Allocation] = []
    while True:
        context = StepContext(
            Task(task, "", seed=seed),
            Observation(),
            (step(()),) * number,
            Evidence(rounds=len(hand)),
        )
        allocation = allocator.allocate(context, NOTHING).allocation
        if allocation is None:
            return tuple(hand)
        hand.append(allocation)


@given(plans, st.integers(0, 9))
def test_shuffled_deals_every_hand_once(run: list[list[Hand]], seed: int) -> None:
    allocator = deal("shuffled", episodes_of(run), seed)
    dealt = [
        granted(allocator, f"t{task}", number)
        for task, plan in enumerate(run)
        for number in range(len(plan))
    ]
    assert Counter(dealt) == Counter(hand for plan in run for hand in plan)


@given(plans, st.integers(0, 9))
def test_every_deal_knows_only_hands_of_the_run_and_repeats(
    run: list[list[Hand]], seed: int
) -> None:
    known = {hand for plan in run for hand in plan}
    for how in ("histogram", "shuffled"):
        beyond = [granted(deal(how, episodes_of(run), seed), "new", 9, seed) for _ in range(2)]
        assert beyond[0] == beyond[1]
        assert beyond[0] in known


def test_a_histogram_is_drawn_in_proportion_and_anew_with_every_seed() -> None:
    one, two = (Allocation(beam_width=1),), (Allocation(beam_width=2),)
    allocator = deal("histogram", episodes_of([[one, one, one, two]]), 0)
    drawn = [granted(allocator, f"t{number}", 0) for number in range(400)]
    assert 260 < drawn.count(one) < 340
    assert drawn != [granted(allocator, f"t{number}", 0, seed=1) for number in range(400)]


def test_a_run_without_allocations_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no step of the run to deal from"):
        deal("histogram", episodes_of([[()]]), 0)
