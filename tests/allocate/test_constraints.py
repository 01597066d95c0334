"""Masks and bounds from what exists and what the limits still allow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import RIDDLE

from amp.allocate.budget import AllocationEnv, mask_actions
from amp.allocate.space import Space
from amp.types import Candidate, Evidence, Limits, Observation, StepContext, Usage

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
    evidence = Evidence((Candidate("", "a"),) * (plain + tooled), 1, with_tools=tooled)
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
