"""Rules that sample until the votes agree, each against its paper."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import context

from amp.allocate import AllocatorOptions, make_allocator
from amp.allocate.base import Allocator
from amp.allocate.rules import (
    AdaptiveConsistency,
    EarlyStopping,
    UntilAgreement,
    majority_probability,
)
from amp.errors import InvalidInputError
from amp.types import Allocation, Candidate, Complexity, Evidence, StepContext

SAMPLE = Allocation(temperature=0.7, tools=frozenset({"python"}))
RULES: list[Allocator] = [
    AdaptiveConsistency(SAMPLE, max_samples=12),
    EarlyStopping(SAMPLE, window=3, max_samples=12),
    UntilAgreement((SAMPLE,) * 12, agree=3),
]
answers = st.lists(st.sampled_from(("a", "b", "c", None)), min_size=40, max_size=40)


def ask(allocator: Allocator, evidence: Evidence) -> Allocation | None:
    at: StepContext = replace(context(), evidence=evidence)
    return allocator.allocate(at, Complexity(0.5)).allocation


def play(allocator: Allocator, stream: list[str | None]) -> tuple[list[Allocation], Evidence]:
    """Runs a step in which sample i answers stream[i]."""
    evidence, bought = Evidence(), []
    while (allocation := ask(allocator, evidence)) is not None:
        bought.append(allocation)
        begin = len(evidence.candidates)
        brought = stream[begin : begin + allocation.beam_width]
        evidence = evidence.after(tuple(Candidate("", answer) for answer in brought))
    return bought, evidence


# ------------------------------------------------------------------ laws of all rules


@pytest.mark.parametrize("rule", RULES)
@given(stream=answers)
def test_a_step_has_one_sample_at_least_and_twelve_at_most(
    rule: Allocator, stream: list[str | None]
) -> None:
    bought, evidence = play(rule, stream)
    assert 1 <= len(evidence.candidates) <= 12
    assert all(replace(a, beam_width=1) == SAMPLE for a in bought)


@pytest.mark.parametrize("rule", RULES)
@given(stream=answers, seed=st.integers(0, 99))
def test_more_agreement_never_goes_on_longer(
    rule: Allocator, stream: list[str | None], seed: int
) -> None:
    _, before = play(rule, stream)
    # The answer that settled it, which need not lead: a unanimous window may come late.
    settled = before.candidates[-1].action
    if settled is None:
        return
    rng = random.Random(seed)
    more = [settled if rng.random() < 0.3 else answer for answer in stream]
    _, after = play(rule, more)
    assert len(after.candidates) <= len(before.candidates)


@pytest.mark.parametrize("rule", RULES)
def test_silence_is_sampled_to_the_end(rule: Allocator) -> None:
    _, evidence = play(rule, [None] * 40)
    assert len(evidence.candidates) == 12


# ------------------------------------------------------------------ Adaptive-Consistency


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_closed_form_is_the_integral_of_the_beta_density(first: int, second: int) -> None:
    grid = np.linspace(0.0, 1.0, 20_001)
    density = grid**first * (1.0 - grid) ** second
    integral = np.trapezoid(density[10_000:], grid[10_000:]) / np.trapezoid(density, grid)
    assert majority_probability(first, second) == pytest.approx(integral, abs=1e-6)


@given(st.integers(0, 20), st.integers(0, 20))
def test_the_majority_is_surer_with_every_vote_for_it(first: int, second: int) -> None:
    here = majority_probability(first, second)
    assert majority_probability(first + 1, second) > here > majority_probability(first, second + 1)
    assert here + majority_probability(second, first) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("stream", "samples"),
    [("aaaa", 4), ("aabaaaaa", 7), ("abababababababababab" * 2, 40), ("abcdefgaaaaaaaa", 12)],
)
def test_adaptive_consistency_stops_at_95_per_cent_or_40_samples(stream: str, samples: int) -> None:
    bought, evidence = play(AdaptiveConsistency(), list(stream))
    assert len(evidence.candidates) == len(bought) == samples


def test_four_equal_answers_are_just_enough() -> None:
    assert majority_probability(3, 0) == 1 - 0.5**4 < 0.95 < majority_probability(4, 0)
    assert majority_probability(4, 0) == 1 - 0.5**5


# ------------------------------------------------------------------ early stopping


@pytest.mark.parametrize(
    ("stream", "windows"),
    [
        ("aaaaa", [5]),
        ("aaaabbbbbb", [5, 5]),
        ("abababbbbaccccc", [5, 5, 5]),
        ("aaaa" + "baaaa" * 8, [5] * 8),
    ],
)
def test_early_stopping_needs_a_window_of_one_mind(stream: str, windows: list[int]) -> None:
    bought, _ = play(EarlyStopping(), list(stream))
    assert [allocation.beam_width for allocation in bought] == windows


def test_the_last_window_is_as_wide_as_what_is_left() -> None:
    bought, _ = play(EarlyStopping(window=5, max_samples=12), list("ab" * 20))
    assert [allocation.beam_width for allocation in bought] == [5, 5, 2]


# ------------------------------------------------------------------ until some agree


def test_tool_sets_take_turns_until_two_agree() -> None:
    python, none = frozenset({"python"}), frozenset[str]()
    rule = UntilAgreement.of_tool_sets(
        replace(SAMPLE, beam_width=4), [python, python, none, python]
    )
    bought, _ = play(rule, ["a", "b", None, "b"])
    assert [allocation.tools for allocation in bought] == [python, python, none, python]
    assert {allocation.beam_width for allocation in bought} == {1}
    assert len(play(rule, ["a", "a"])[0]) == 2
    assert len(play(rule, ["a", "b", "a"])[0]) == 3


@pytest.mark.parametrize(
    ("name", "tools"),
    [("until_agreement", "pppp"), ("until_agreement_mixed", "ppcpcpcc")],
)
def test_the_named_rules_are_those_of_the_table(name: str, tools: str) -> None:
    rule = make_allocator(name, AllocatorOptions(fixed=replace(SAMPLE, beam_width=4)))
    bought, _ = play(rule, list("abcdefgh"))
    assert "".join("p" if allocation.tools else "c" for allocation in bought) == tools


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdaptiveConsistency(threshold=math.nan), "threshold is nan, expected 0.5 to"),
        (lambda: AdaptiveConsistency(threshold=1.0), "threshold is 1.0"),
        (lambda: AdaptiveConsistency(max_samples=0), "max_samples is 0, expected at least 1"),
        (lambda: EarlyStopping(window=0), "window is 0"),
        (lambda: EarlyStopping(max_samples=0), "max_samples is 0"),
        (lambda: UntilAgreement(()), "length of the sequence is 0"),
        (lambda: UntilAgreement((SAMPLE,), agree=0), "agree is 0"),
    ],
)
def test_rules_that_make_no_sense_are_refused(make: Callable[[], Allocator], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()
