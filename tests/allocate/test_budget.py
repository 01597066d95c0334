"""What does not fit is masked before sampling, and narrowed afterwards."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import RIDDLE

from amp.allocate.base import (
    AllocationEnv,
    Allocator,
    BudgetedAllocator,
    FixedAllocator,
    mask_actions,
)
from amp.allocate.space import Space
from amp.latency import CostModel, Lengths, Profile
from amp.models.base import ModelCard
from amp.types import (
    Allocation,
    Candidate,
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

SPACE = Space(beam_width=(1, 8), tools=frozenset({"guide", "larger", "python"}))
CANDIDATE = Usage(completion_tokens=100, seconds=2.0, dollars=0.01)
TOOLS = {"python": Usage(seconds=1.0), "larger": Usage(completion_tokens=500, dollars=0.2)}
HERE = AllocationEnv(CANDIDATE, TOOLS)
TOOL_DRAWS = [SPACE.dims.index(f"tool {name}") for name in SPACE.tool_names]


def step(
    remaining: Limits | None = None, rounds: int = 0, tool_actions: tuple[str, ...] = ()
) -> StepContext:
    return StepContext(
        RIDDLE,
        Observation(tool_actions=dict.fromkeys(tool_actions, ("go",))),
        evidence=Evidence((Candidate("", "a"),) * rounds, rounds),
        remaining=remaining or Limits(),
    )


def usable(context: StepContext, env: AllocationEnv = HERE) -> set[str]:
    free = mask_actions(SPACE, context, env, 4).free
    return {name for name, draw in zip(SPACE.tool_names, TOOL_DRAWS, strict=True) if free[draw]}


latents = st.lists(st.sampled_from([0.0, 1.0]), min_size=9, max_size=9)

budgets = st.builds(
    Limits,
    tokens=st.none() | st.integers(0, 3000),
    seconds=st.none() | st.floats(0, 60),
    dollars=st.none() | st.floats(0, 1),
)


@given(budgets, st.integers(0, 5))
def test_bounds_only_go_down_and_what_is_allowed_fits(remaining: Limits, rounds: int) -> None:
    now = mask_actions(SPACE, step(remaining, rounds), HERE, 4)
    least, most = now.space.beam_width
    assert least == 1
    assert 1 <= most <= 8
    assert replace(now.space, beam_width=(1, 8)) == SPACE
    if now.must_stop:
        assert rounds > 0
        assert not any(now.free)
        return
    assert rounds < 4
    assert now.free[0] is (rounds > 0)
    if most > least:
        assert remaining.tokens is None or most * CANDIDATE.tokens <= remaining.tokens
        assert remaining.seconds is None or most * CANDIDATE.seconds <= remaining.seconds + 1e-9
        assert remaining.dollars is None or most * CANDIDATE.dollars <= remaining.dollars + 1e-9


@given(budgets, budgets)
def test_a_smaller_budget_never_allows_more(a: Limits, b: Limits) -> None:
    def least(x: float | None, y: float | None) -> float | None:
        return x if y is None else y if x is None else min(x, y)

    tokens = least(a.tokens, b.tokens)
    both = Limits(
        tokens=None if tokens is None else int(tokens),
        seconds=least(a.seconds, b.seconds),
        dollars=least(a.dollars, b.dollars),
    )
    wide, narrow = (mask_actions(SPACE, step(left), HERE, 4) for left in (a, both))
    assert narrow.space.beam_width[1] <= wide.space.beam_width[1]
    assert all(w or not n for w, n in zip(wide.free, narrow.free, strict=True))


def test_beams_are_as_many_as_fit_by_the_scarcest_resource() -> None:
    def most(**left: float) -> int:
        return mask_actions(SPACE, step(Limits(**left)), HERE, 4).space.beam_width[1]  # type: ignore[arg-type]

    assert most() == most(tokens=800) == 8
    assert most(tokens=799) == 7
    assert most(tokens=799, seconds=6.5) == 3
    assert most(tokens=799, seconds=6.5, dollars=0.01) == 1


def test_equal_bounds_leave_nothing_to_decide() -> None:
    space = replace(SPACE, depth=(2, 2), temperature=(0.7, 0.7))
    now = mask_actions(space, step(Limits(tokens=150)), HERE, 4)
    free = dict(zip(space.dims, now.free, strict=True))
    assert [name for name in free if not free[name]][:4] == [
        "stop",
        "depth",
        "temperature",
        "beam_width",
    ]
    assert free["top_p"]
    assert free["verification"]


def test_a_tool_needs_to_exist_and_to_fit() -> None:
    assert usable(step()) == {"python", "larger"}
    assert usable(step(tool_actions=("guide",))) == {"guide", "python", "larger"}
    assert usable(step(Limits(tokens=599))) == {"python"}
    assert usable(step(Limits(tokens=600))) == {"python", "larger"}
    assert usable(step(Limits(seconds=2.5))) == {"larger"}
    assert usable(step(Limits(dollars=0.1))) == {"python"}


def test_without_knowledge_of_costs_every_tool_may_be_used() -> None:
    assert usable(step(Limits(tokens=1)), AllocationEnv()) == set(SPACE.tools)


@pytest.mark.parametrize(
    ("rounds", "tokens", "must_stop"),
    [(0, 0, False), (1, None, False), (1, 100, False), (1, 99, True), (4, None, True)],
)
def test_a_stop_is_forced_by_the_last_round_or_an_empty_budget_but_never_before_a_round(
    rounds: int, tokens: int | None, must_stop: bool
) -> None:
    now = mask_actions(SPACE, step(Limits(tokens=tokens), rounds), HERE, 4)
    assert now.must_stop is must_stop


@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 4), latents)
def test_no_more_samples_are_drawn_of_a_way_to_ask_than_it_has(
    most: int, plain: int, tooled: int, drawn: list[float]
) -> None:
    plain, tooled = min(plain, most), min(tooled, most)
    evidence = Evidence(
        (Candidate("", "a"),) * (plain + tooled), 1, tools=(frozenset({"python"}),) * tooled
    )
    at = replace(step(), evidence=evidence)
    now = mask_actions(SPACE, at, AllocationEnv(tools={"python": Usage()}), 4, most)
    assert now.must_stop == (plain == tooled == most)
    if now.must_stop:
        return
    free_tools = {n for n, d in zip(SPACE.tool_names, TOOL_DRAWS, strict=True) if now.free[d]}
    assert free_tools == ({"python"} if plain < most and tooled < most else set())
    made = now.allocation([z * f for z, f in zip(drawn, now.free, strict=True)])
    assert made.tools <= {"python"}
    taken = tooled if made.tools else plain
    assert 1 <= made.beam_width <= most - taken


def test_the_share_of_the_budget_is_that_of_the_scarcest_resource() -> None:
    here = AllocationEnv(limits=Limits(steps=10, tokens=1000, seconds=100.0))
    assert here.budget_share(Limits()) == 1.0
    assert here.budget_share(Limits(steps=9, tokens=500, seconds=80.0, dollars=0.0)) == 0.5
    assert here.budget_share(Limits(steps=9, tokens=500, seconds=0.0)) == 0.0
    assert here.budget_share(Limits(tokens=2000)) == 1.0
    assert AllocationEnv().budget_share(Limits(tokens=3)) == 1.0


# --------------------------------------------------------------------------- what is granted fits w


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


def test_a_plan_can_be_written_everywhere_and_followed_where_one_stands() -> None:
    space = Space(tools=frozenset({"plan", "standing_plan"}))
    for standing, tools in ((), {"plan"}), (("go",), {"plan", "standing_plan"}):
        mask = mask_actions(space, replace(step(), standing_plan=standing), HERE, 4)
        free = mask.free[-len(space.tool_names) :]
        assert {name for name, one in zip(space.tool_names, free, strict=True) if one} == tools
