"""Controls spend what a run spent, but elsewhere."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.allocate.base import Allocator, shuffled_control
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

all_rounds = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(
    lambda widths: tuple(Allocation(beam_width=width) for width in widths)
)
plans = st.lists(st.lists(all_rounds, min_size=1, max_size=4), min_size=1, max_size=4)
NOTHING = Complexity(0.0)
Rounds = tuple[Allocation, ...]


def step(rounds: Rounds) -> StepRecord:
    executed = tuple(Round(NOTHING, one, 0.0, (), Usage()) for one in rounds)
    return StepRecord(Observation(), executed, NOTHING, "go", Usage())


def episodes_of(run: list[list[Rounds]]) -> list[Episode]:
    return [
        Episode(Task(f"t{number}", ""), tuple(map(step, plan)), True, 1.0, Usage(), "done")
        for number, plan in enumerate(run)
    ]


def granted(allocator: Allocator, task: str, number: int, seed: int = 0) -> Rounds:
    """What a step gets until it is settled."""
    rounds: list[Allocation] = []
    while True:
        context = StepContext(
            Task(task, "", seed=seed),
            Observation(),
            (step(()),) * number,
            Evidence(rounds=len(rounds)),
        )
        allocation = allocator.allocate(context, NOTHING).allocation
        if allocation is None:
            return tuple(rounds)
        rounds.append(allocation)


@given(plans, st.integers(0, 9))
def test_shuffled_hands_out_every_step_once(run: list[list[Rounds]], seed: int) -> None:
    allocator = shuffled_control("shuffled", episodes_of(run), seed)
    handed_out = [
        granted(allocator, f"t{task}", number)
        for task, plan in enumerate(run)
        for number in range(len(plan))
    ]
    assert Counter(handed_out) == Counter(rounds for plan in run for rounds in plan)


@given(plans, st.integers(0, 9))
def test_a_control_hands_out_only_what_the_run_had_and_repeats_itself(
    run: list[list[Rounds]], seed: int
) -> None:
    known = {rounds for plan in run for rounds in plan}
    for how in ("histogram", "shuffled"):
        beyond = [
            granted(shuffled_control(how, episodes_of(run), seed), "new", 9, seed) for _ in range(2)
        ]
        assert beyond[0] == beyond[1]
        assert beyond[0] in known


def test_a_histogram_is_drawn_in_proportion_and_anew_with_every_seed() -> None:
    one, two = (Allocation(beam_width=1),), (Allocation(beam_width=2),)
    allocator = shuffled_control("histogram", episodes_of([[one, one, one, two]]), 0)
    drawn = [granted(allocator, f"t{number}", 0) for number in range(400)]
    assert 260 < drawn.count(one) < 340
    assert drawn != [granted(allocator, f"t{number}", 0, seed=1) for number in range(400)]


def test_a_run_without_allocations_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no step of the run to shuffle"):
        shuffled_control("histogram", episodes_of([[()]]), 0)
