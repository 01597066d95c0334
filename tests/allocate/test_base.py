"""Allocators that need no learning keep their promises."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import context

from amp.allocate import ALLOCATORS, CONTROLS, AllocatorOptions, make_allocator
from amp.allocate.base import Allocator, FixedAllocator, RandomAllocator, shuffled_control
from amp.allocate.rules import HeuristicAllocator
from amp.allocate.space import Line, Space
from amp.errors import InvalidInputError
from amp.types import (
    Allocation,
    Candidate,
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

SPACE = Space(tools=frozenset({"python", "calculator"}))


def after(*actions: str | None, rounds: int = 1) -> StepContext:
    evidence = Evidence(tuple(Candidate("", action) for action in actions), rounds)
    return replace(context(), evidence=evidence)


@given(st.floats(0, 1), st.floats(0, 1))
def test_harder_steps_get_more_depth_and_beams_and_a_lower_temperature(a: float, b: float) -> None:
    easy, hard = sorted((a, b))
    allocator = HeuristicAllocator(SPACE)
    low = allocator.allocate(context(), Complexity(easy)).allocation
    high = allocator.allocate(context(), Complexity(hard)).allocation
    assert low is not None
    assert high is not None
    assert low.depth <= high.depth
    assert low.beam_width <= high.beam_width
    assert low.verification <= high.verification
    assert low.temperature >= high.temperature


@given(st.integers(0, 99), st.text(max_size=5))
def test_random_allocations_lie_in_the_space_with_their_exact_density(seed: int, name: str) -> None:
    decision = RandomAllocator(SPACE).allocate(context(Task(name, "g", seed=seed)), Complexity(0.5))
    drawn = decision.allocation
    assert drawn is not None
    for field in ("depth", "temperature", "top_p", "beam_width", "verification"):
        low, high = getattr(SPACE, field)
        assert low <= getattr(drawn, field) <= high
    assert drawn.tools <= SPACE.tools
    volume = 5 * 1.0 * 0.1 * 4 * 3 * 4
    assert decision.log_prob == pytest.approx(-math.log(volume))


def test_fixed_and_random_take_one_round() -> None:
    for allocator in (FixedAllocator(), RandomAllocator(SPACE)):
        assert not allocator.allocate(context(), Complexity(0.5)).stop
        assert allocator.allocate(after("a"), Complexity(0.5)).stop


@pytest.mark.parametrize(
    ("actions", "rounds", "score", "stops"),
    [
        ((), 0, 0.0, False),
        (("a",), 1, 0.9, False),
        (("a",), 1, 0.1, True),
        (("a", "a"), 2, 0.9, True),
        (("a", "a", "b"), 2, 0.9, True),
        (("a", "a", "b", "b"), 2, 0.9, False),
        ((None, None), 2, 0.9, False),
        (("a", "b", "c", "d"), 4, 0.9, True),
    ],
)
def test_the_heuristic_settles_on_ease_agreement_or_patience(
    actions: tuple[str | None, ...], rounds: int, score: float, stops: bool
) -> None:
    at = after(*actions, rounds=rounds)
    allocator = HeuristicAllocator(SPACE, max_rounds=4)
    assert allocator.allocate(at, Complexity(score)).stop is stops


def test_a_tool_is_used_from_the_complexity_on_that_its_line_says() -> None:
    allocator = HeuristicAllocator(SPACE, tool_lines={"python": Line(10, -5)})

    def tools(score: float) -> frozenset[str]:
        allocation = allocator.allocate(context(), Complexity(score)).allocation
        assert allocation is not None
        return allocation.tools

    assert tools(0.49) == {"calculator"}
    assert tools(0.51) == {"calculator", "python"}


def test_an_unknown_allocator_is_named_with_its_nearest() -> None:
    with pytest.raises(InvalidInputError, match="'heuristik'; did you mean 'heuristic'"):
        make_allocator("heuristik")


@pytest.mark.parametrize("name", sorted(ALLOCATORS.keys() - set(CONTROLS)))
def test_every_allocator_by_name_starts_with_a_round(name: str) -> None:
    fixed = Allocation(depth=3, temperature=0.9, beam_width=2)
    options = AllocatorOptions(space=SPACE, fixed=fixed, models=("small", "big"))
    decision = make_allocator(name, options).allocate(context(), Complexity(0.5))
    assert decision.allocation is not None


# --------------------------------------------------------------------------- controls spend what a


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
