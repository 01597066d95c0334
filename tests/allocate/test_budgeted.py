"""What is granted fits where anything fits, and what fits is left alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.budget import BudgetedAllocator
from amp.latency import CostModel, Lengths, Profile
from amp.models.base import ModelCard
from amp.types import (
    Allocation,
    Complexity,
    Decision,
    Evidence,
    Limits,
    Observation,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

CARD = ModelCard("m", "", 10**6, None, 4, 64, 1.0, 0.1, 4.0)
LENGTHS = Lengths(prompt_tokens=200, answer_tokens=20, thought_tokens=15)
PROFILE = Profile(
    "m", "", "cpu", 2, 0.1, 0.01, 1e-6, 1e-6, (1, 2, 4), (0.05, 0.06, 0.1), 0.0, ()
)  # fmt: skip
COSTS = CostModel(CARD, LENGTHS, PROFILE)
allocations = st.builds(
    Allocation,
    depth=st.integers(0, 4),
    temperature=st.sampled_from([0.0, 0.7]),
    beam_width=st.integers(1, 8),
    verification=st.integers(0, 3),
)
limits = st.builds(
    Limits,
    tokens=st.none() | st.integers(0, 4000),
    seconds=st.none() | st.floats(0, 40),
    dollars=st.none() | st.floats(0, 0.01),
)
steps = st.sampled_from([Observation("s"), Observation("s", actions=("a", "b"))])


def context(observation: Observation, remaining: Limits = Limits()) -> StepContext:
    return StepContext(Task("t", "g"), observation, remaining=remaining)


def budgeted(allocation: Allocation) -> BudgetedAllocator:
    return BudgetedAllocator(FixedAllocator(allocation), COSTS)


def fits(allocation: Allocation, where: StepContext) -> bool:
    choice = where.observation.actions is not None
    cost = COSTS.expected(allocation, choice=choice)
    left = where.remaining
    pairs = (
        (cost.tokens, left.tokens),
        (cost.seconds, left.seconds),
        (cost.dollars, left.dollars),
    )
    return all(limit is None or spent <= limit for spent, limit in pairs)


@given(allocations, steps, limits)
def test_what_is_granted_fits_wherever_something_narrower_fits(
    wanted: Allocation, observation: Observation, remaining: Limits
) -> None:
    where = context(observation, remaining)
    granted = budgeted(wanted).allocate(where, Complexity(0.5)).allocation
    assert granted is not None
    anything_fits = any(
        fits(replace(wanted, beam_width=b, verification=v, depth=d), where)
        for b, v, d in product(
            range(1, wanted.beam_width + 1), range(wanted.verification + 1), range(wanted.depth + 1)
        )
    )
    assert fits(granted, where) == anything_fits
    if not anything_fits:
        assert (granted.beam_width, granted.verification, granted.depth) == (1, 0, 0)


@given(allocations, steps, limits)
def test_what_fits_is_left_alone_and_the_rest_is_never_touched(
    wanted: Allocation, observation: Observation, remaining: Limits
) -> None:
    where = context(observation, remaining)
    granted = budgeted(wanted).allocate(where, Complexity(0.5)).allocation
    assert granted is not None
    if fits(wanted, where):
        assert granted == wanted
    kept = replace(granted, beam_width=1, verification=0, depth=0)
    assert kept == replace(wanted, beam_width=1, verification=0, depth=0)


@given(allocations, steps)
def test_unlimited_it_is_the_allocator_that_it_wraps(
    wanted: Allocation, observation: Observation
) -> None:
    where = context(observation)
    inner = FixedAllocator(wanted)
    assert budgeted(wanted).allocate(where, Complexity(0.5)) == inner.allocate(
        where, Complexity(0.5)
    )


def test_beams_go_first_then_verification_then_depth() -> None:
    wanted = Allocation(depth=2, temperature=0.7, beam_width=4, verification=2)
    narrowed = []
    for seconds in (tenths / 10 for tenths in range(300, 10, -1)):
        where = context(Observation("s"), Limits(seconds=seconds))
        granted = budgeted(wanted).allocate(where, Complexity(0.5)).allocation
        assert granted is not None
        narrowed.append((granted.beam_width, granted.verification, granted.depth))
    assert narrowed[0] == (4, 2, 2)
    assert narrowed == sorted(narrowed, reverse=True)
    for beams, verification, depth in narrowed:
        assert verification == 2 or beams == 1
        assert depth == 2 or (beams, verification) == (1, 0)
    assert {beams for beams, _, _ in narrowed} == {1, 2, 3, 4}
    assert {depth for _, _, depth in narrowed} == {0, 1, 2}


def test_a_stop_stays_a_stop_and_a_draw_keeps_its_log_probability() -> None:
    allocator = budgeted(Allocation(beam_width=4, temperature=0.7))
    after = replace(context(Observation("s")), evidence=Evidence(rounds=1))
    assert allocator.allocate(after, Complexity(0.5)).stop

    class Drawn(Allocator):
        def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
            return Decision(Allocation(beam_width=4, temperature=0.7), -1.5, (0.25,))

    tight = context(Observation("s"), Limits(tokens=230))
    decision = BudgetedAllocator(Drawn(), COSTS).allocate(tight, Complexity(0.5))
    assert decision == Decision(Allocation(beam_width=1, temperature=0.7), -1.5, (0.25,))


def test_the_prompts_of_the_last_step_stand_for_the_next_ones() -> None:
    wanted = Allocation(temperature=0.7, beam_width=4)
    tight = context(Observation("s"), Limits(tokens=300))
    first = budgeted(wanted).allocate(tight, Complexity(0.5)).allocation
    short = StepRecord(Observation("s"), (), Complexity(0.5), "a", Usage(2, prompt_tokens=80))
    later = budgeted(wanted).allocate(replace(tight, steps=(short,)), Complexity(0.5)).allocation
    assert first == wanted
    long = replace(short, usage=Usage(2, prompt_tokens=500))
    narrowed = budgeted(wanted).allocate(replace(tight, steps=(long,)), Complexity(0.5))
    assert later == wanted
    assert narrowed.allocation == replace(wanted, beam_width=2)


def test_without_a_profile_seconds_narrow_nothing() -> None:
    wanted = Allocation(temperature=0.7, beam_width=4)
    where = context(Observation("s"), Limits(seconds=1e-9))
    allocator = BudgetedAllocator(FixedAllocator(wanted), CostModel(CARD, LENGTHS))
    assert allocator.allocate(where, Complexity(0.5)).allocation == wanted


@pytest.mark.parametrize("field", ["depth", "beam_width", "verification"])
@given(wanted=allocations, observation=steps)
def test_no_cost_falls_with_what_is_allocated(
    field: str, wanted: Allocation, observation: Observation
) -> None:
    if getattr(wanted, field) == (3 if field == "verification" else 64):
        return
    choice = observation.actions is not None
    more: dict[str, int] = {field: getattr(wanted, field) + 1}
    low = COSTS.expected(wanted, choice=choice)
    high = COSTS.expected(replace(wanted, **more), choice=choice)  # type: ignore[arg-type]
    for name in ("tokens", "seconds", "dollars", "flops", "model_calls"):
        assert getattr(high, name) >= getattr(low, name) - 1e-9
