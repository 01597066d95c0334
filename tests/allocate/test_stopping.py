"""Rules that count votes, each against its paper."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.worlds import context

from amp.allocate import AllocatorOptions, make_allocator
from amp.allocate.base import Allocator
from amp.allocate.stopping import (
    AdaptiveConsistency,
    BayesianStop,
    Cascade,
    EarlyStopping,
    Shape,
    UntilAgreement,
    flat_prior,
    learn_prior,
    majority_probability,
    mode_probability,
    tally_of,
)
from amp.errors import InvalidInputError
from amp.types import Allocation, Candidate, Complexity, Evidence, StepContext

SAMPLE = Allocation(temperature=0.7, tools=frozenset({"python"}))
RULES: list[Allocator] = [
    AdaptiveConsistency(SAMPLE, max_samples=12),
    EarlyStopping(SAMPLE, window=3, max_samples=12),
    UntilAgreement((SAMPLE,) * 12, agree=3),
    BayesianStop((SAMPLE,) * 12),
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
    other = replace(SAMPLE, tools=none)
    rule = UntilAgreement((SAMPLE, SAMPLE, other, SAMPLE))
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
    chain = Allocation(depth=4, temperature=0.7)
    options = AllocatorOptions(fixed=replace(SAMPLE, beam_width=4), arms=(SAMPLE, chain))
    bought, _ = play(make_allocator(name, options), list("abcdefgh"))
    assert {one for one in bought if not one.tools} <= {chain}
    assert "".join("p" if allocation.tools else "c" for allocation in bought) == tools


# ------------------------------------------------------------------ Bayesian stop

TWO_TO_ONE = ((Shape(2 / 3, 1 / 3, 0), 1.0),)


@pytest.mark.parametrize(
    ("tally", "probability"),
    [
        ((1, 0, 0), 2 / 3),
        ((2, 0, 0), 4 / 5),
        ((3, 0, 0), 8 / 9),
        ((1, 1, 0), 1 / 2),
        ((2, 1, 0), 2 / 3),
    ],
)
def test_with_a_known_shape_the_mode_is_as_probable_as_bayes_says(
    tally: tuple[int, int, int], probability: float
) -> None:
    assert mode_probability(TWO_TO_ONE, tally) == pytest.approx(probability)


def test_a_shape_with_others_is_summed_over_who_is_who() -> None:
    # Four answers, 0.4 and three of 0.2: by hand, all ways in which "aab" can come about.
    prior = ((Shape(0.4, 0.2, 2), 1.0),)
    of_mode = 0.4**2 * 3 * 0.2
    total = of_mode + 3 * 0.2**2 * (0.4 + 2 * 0.2)
    assert mode_probability(prior, (2, 1, 0)) == pytest.approx(of_mode / total)


def test_who_knows_that_tasks_are_easy_is_content_with_one_sample() -> None:
    sure, open_minded = ((Shape(0.95, 0.05, 0), 1.0),), flat_prior()
    assert len(play(BayesianStop((SAMPLE,) * 12, 0.1, sure), list("a" * 12))[0]) == 1
    assert len(play(BayesianStop((SAMPLE,) * 12, 0.1, open_minded), list("a" * 12))[0]) > 1


@settings(max_examples=20)
@given(answers, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_smaller_error_never_takes_fewer_samples(
    stream: list[str | None], one: float, other: float
) -> None:
    small, large = sorted((one, other))
    rules = [BayesianStop((SAMPLE,) * 12, delta) for delta in (small, large)]
    more, fewer = (len(play(rule, stream)[0]) for rule in rules)
    assert fewer <= more


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_the_leader_is_the_mode_with_a_probability(votes: list[int]) -> None:
    tally = tally_of({str(index): n for index, n in enumerate(votes)})
    assert 0.0 <= mode_probability(flat_prior(), tally) <= 1.0 + 1e-12
    assert sum(tally) == sum(votes)


def test_a_learned_prior_is_that_of_the_tasks() -> None:
    assert sum(weight for _, weight in flat_prior()) == pytest.approx(1.0)
    rng = random.Random(0)

    def tally(first: float) -> tuple[int, int, int]:
        drawn = ["a" if rng.random() < first else "b" for _ in range(20)]
        return tally_of({answer: drawn.count(answer) for answer in set(drawn)})

    # Half of the tasks have one answer, half are tossed up between two.
    learned = learn_prior([tally(1.0) for _ in range(200)] + [tally(0.6) for _ in range(200)])
    assert sum(weight for _, weight in learned) == pytest.approx(1.0)
    assert sum(w for shape, w in learned if shape.first > 0.9) == pytest.approx(0.5, abs=0.03)
    assert sum(w for s, w in learned if 0.5 <= s.first <= 0.7) == pytest.approx(0.5, abs=0.05)
    # Nothing recorded, nothing learned.
    assert [w for _, w in learn_prior([(0, 0, 0)])] == pytest.approx([w for _, w in flat_prior()])


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("numbers", [(0.4, 0.5, 1), (0.5, 0.2, 0), (0.5, 0.1, 2), (0.9, 0.2, 1)])
def test_what_is_no_distribution_is_no_shape(numbers: tuple[float, float, int]) -> None:
    with pytest.raises(InvalidInputError, match="is no shape, expected first >= second"):
        Shape(*numbers)


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
        (lambda: BayesianStop((SAMPLE,), delta=0.0), "delta is 0.0, expected above 0 and below 1"),
        (lambda: BayesianStop((SAMPLE,), prior=()), "weights of the prior do not add up to 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(make: Callable[[], Allocator], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


# ------------------------------------------------------------------ a cascade of models

NAMES = ("small", "middle", "big")
THREE = tuple(replace(SAMPLE, beam_width=3, model=name) for name in NAMES)


def cascaded(
    said: dict[str, str], failed: frozenset[str] = frozenset(), agreement: float = 0.6
) -> list[str]:
    """The models that are asked, where each gives these answers, a letter a sample."""
    rule, evidence, asked = Cascade(THREE, agreement), Evidence(), list[str]()
    while True:
        at = replace(context(), evidence=evidence, failed=failed)
        allocation = rule.allocate(at, Complexity(0.5)).allocation
        if allocation is None:
            return asked
        name = str(allocation.model)
        asked.append(name)
        brought = tuple(Candidate("", letter, model=name) for letter in said[name])
        evidence = evidence.after(brought)


@settings(max_examples=30)
@given(
    st.fixed_dictionaries(dict.fromkeys(NAMES, st.text("abc", min_size=1, max_size=3))),
    st.frozensets(st.sampled_from(NAMES), max_size=2),
    st.floats(0.01, 1.0),
)
def test_a_cascade_asks_model_after_model_until_one_agrees_with_itself(
    said: dict[str, str], failed: frozenset[str], agreement: float
) -> None:
    asked = cascaded(said, failed, agreement)
    left = [name for name in NAMES if name not in failed]
    assert asked == left[: len(asked)]
    agreed = [max(map(said[n].count, "abc")) / len(said[n]) >= agreement - 1e-9 for n in asked]
    assert not any(agreed[:-1])
    assert agreed[-1] or asked == left


def test_only_the_samples_of_the_model_at_hand_have_to_agree() -> None:
    said = {"small": "abc", "middle": "aab", "big": "ccc"}
    assert cascaded(said) == ["small", "middle"]
    assert cascaded(said, agreement=0.7) == ["small", "middle", "big"]
    assert cascaded(said, frozenset({"small", "middle", "big"})) == ["small"]  # another answers


@pytest.mark.parametrize(
    ("sample", "agreement", "message"),
    [
        (replace(SAMPLE, beam_width=1), 0.6, "a cascade of 1 samples at temperature 0.7"),
        (replace(THREE[0], temperature=0.0), 0.6, "agrees with itself whatever is asked"),
        (THREE[0], 0.0, "agreement is 0.0, expected above 0 and at most 1"),
    ],
)
def test_a_cascade_that_could_never_go_on_is_refused(
    sample: Allocation, agreement: float, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Cascade((sample, THREE[1]), agreement)
