"""Rules that stop by confidence or by gain: each against its law, and against plain counting."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.allocate.test_stopping import SAMPLE, ask

from amp.allocate import ALLOCATORS, AllocatorOptions, make_allocator
from amp.allocate.base import Allocator
from amp.allocate.confidence import (
    ByGain,
    ConfidenceStop,
    ReliabilityStop,
    UntilSure,
    Way,
    expected_gain,
    lead_probability,
)
from amp.allocate.stopping import AdaptiveConsistency, InOrder, majority_probability
from amp.errors import InvalidInputError
from amp.tokens import TokenFigures
from amp.types import Allocation, Candidate, Evidence

PLAIN = replace(SAMPLE, tools=frozenset())
SIX = (SAMPLE,) * 6
rated = st.builds(
    lambda action, p, window: Candidate(
        "",
        action,
        p_right=p,
        tokens=None if window is None else TokenFigures(window=window),
    ),
    st.sampled_from(("a", "b", "c", None)),
    st.none() | st.floats(0.0, 1.0),
    st.none() | st.floats(-3.0, 0.0),
)
streams = st.lists(rated, min_size=6, max_size=6)
few = settings(max_examples=12)


def play(rule: Allocator, stream: list[Candidate]) -> list[Allocation]:
    """The rounds of a step in which sample i is stream[i]."""
    evidence, bought = Evidence(), list[Allocation]()
    while (allocation := ask(rule, evidence)) is not None:
        begin = len(evidence.candidates)
        bought.append(allocation)
        brought = stream[begin : begin + allocation.beam_width]
        evidence = evidence.after(tuple(brought), allocation.tools)
    return bought


def by_gain(worth: float) -> ByGain:
    return ByGain((Way(SAMPLE, 3), Way(PLAIN, 3, 2.0, chances=(0.2, 0.9))), worth)


FAMILIES: dict[str, Callable[[float], Allocator]] = {
    "until_sure": lambda t: UntilSure(SIX, t),
    "cges": lambda t: ConfidenceStop(SIX, t),
    "reasc": lambda t: ReliabilityStop(SIX, gate=t),
    "reasc, later": lambda t: ReliabilityStop(SIX, threshold=0.5 + 0.49 * t),
    "by_gain": lambda t: by_gain(1.0 - t),
}


# ------------------------------------------------------------------ laws of all rules


@pytest.mark.parametrize("name", FAMILIES)
@few
@given(streams, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_higher_threshold_never_takes_fewer_of_one_to_six_samples(
    name: str, stream: list[Candidate], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    fewer, more = (play(FAMILIES[name](threshold), stream) for threshold in (low, high))
    if name == "reasc":  # with a higher gate, each vote weighs less
        assert not (len(fewer) > 1 and len(more) == 1)
    else:
        assert len(fewer) <= len(more)
    assert 1 <= len(fewer) <= 6
    assert 1 <= len(more) <= 6


@pytest.mark.parametrize(
    "name", [name for name, kind in ALLOCATORS.items() if "max_samples" in kind.takes]
)
def test_a_named_rule_takes_no_more_samples_than_the_user_allows(name: str) -> None:
    options = AllocatorOptions(fixed=replace(SAMPLE, beam_width=4), max_samples=3)
    silent = [Candidate("", None)] * 8
    assert sum(one.beam_width for one in play(make_allocator(name, options), silent)) == 3


# ------------------------------------------------------------------ until sure, CGES


def test_where_nothing_rates_the_candidates_two_that_agree_are_enough() -> None:
    for answers, samples in (("aa", 2), ("aba", 3), ("abcaa", 4), ("abcabc", 4)):
        assert len(play(UntilSure(SIX), plain(f"{answers:x<6}"))) == samples
    assert len(play(UntilSure(SIX), [Candidate("", "a", p_right=0.71)])) == 1


@few
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), st.floats(0.2, 0.9))
def test_with_equal_confidences_cges_is_a_function_of_the_votes_and_led_by_their_leader(
    answers: list[str], c: float
) -> None:
    rule = ConfidenceStop(SIX, answers=6)
    voters = [Candidate("", answer, p_right=c) for answer in answers]
    renamed = [Candidate("", str(sorted(answers).index(a)), p_right=c) for a in reversed(answers)]
    assert rule.leader(voters) == pytest.approx(rule.leader(renamed))
    counts = sorted((answers.count(a) for a in set(answers)), reverse=True)
    odds = c / (1.0 - c) * 5.0  # a vote for an answer multiplies its odds by this
    weights = [odds**n for n in counts] + [1.0] * (6 - len(counts))
    assert rule.leader(voters) == pytest.approx(max(weights) / sum(weights))


def test_one_candidate_is_believed_as_much_as_it_says() -> None:
    rule = ConfidenceStop(SIX)
    told = Candidate("", "a", log_prob=-4 * math.log(2), completion_tokens=4)
    assert rule.leader([replace(told, p_right=0.7)]) == pytest.approx(0.7)
    assert rule.leader([told]) == pytest.approx(0.5)  # by its tokens
    assert rule.leader([Candidate("", "a")]) == pytest.approx(0.5)
    assert rule.leader([Candidate("", None)]) == 0.0


# ------------------------------------------------------------------ ReASC


@few
@given(st.lists(st.sampled_from(("a", "b", "c", None)), min_size=6, max_size=6))
def test_without_token_probabilities_reasc_is_adaptive_consistency(
    answers: list[str | None],
) -> None:
    stream = [Candidate("", answer) for answer in answers]
    counting = AdaptiveConsistency(SAMPLE, 0.9, max_samples=6)
    assert play(ReliabilityStop(SIX, threshold=0.9), stream) == play(counting, stream)


@few
@given(st.integers(0, 30), st.integers(0, 30))
def test_the_lead_of_whole_masses_is_that_of_votes(first: int, second: int) -> None:
    assert lead_probability(first, second) == pytest.approx(majority_probability(first, second))


@few
@given(st.floats(0.0, 30.0), st.floats(0.0, 30.0))
def test_the_lead_is_a_probability_that_the_other_side_completes(a: float, b: float) -> None:
    assert lead_probability(a, b) + lead_probability(b, a) == pytest.approx(1.0)
    assert 0.0 <= lead_probability(a, b) <= lead_probability(a + 1.0, b) <= 1.0


def test_the_gate_takes_one_sure_candidate_and_only_that() -> None:
    rule = ReliabilityStop(SIX, gate=0.8)
    sure, unsure = (TokenFigures(window=math.log(p)) for p in (0.81, 0.79))
    assert len(play(rule, [Candidate("", "a", tokens=sure)])) == 1
    assert len(play(rule, [Candidate("", "a", tokens=unsure)] * 6)) > 1
    broken = Candidate("", "a", tokens=sure, broken_rule="no number")
    assert len(play(rule, [broken] * 6)) > 1


# ------------------------------------------------------------------ gain


@few
@given(streams)
def test_what_is_never_worth_it_takes_one_sample_and_what_always_is_takes_all(
    stream: list[Candidate],
) -> None:
    assert len(play(by_gain(math.inf), stream)) == 1
    assert len(play(by_gain(-1.0), stream)) == 6
    assert len(play(replace(by_gain(-1.0), max_samples=5), stream)) == 5


@pytest.mark.parametrize("costs", [(1.0, 3.0), (3.0, 1.0)])
def test_of_equal_gains_the_cheaper_way_is_taken_until_its_samples_are_out(
    costs: tuple[float, float],
) -> None:
    ways = (Way(SAMPLE, 2, costs[0]), Way(PLAIN, 2, costs[1]))
    cheap, dear = sorted(ways, key=lambda way: way.cost)
    stream = [Candidate("", answer, p_right=0.3) for answer in "abcd"]
    bought = play(ByGain(ways, 0.0), stream)
    assert bought == [cheap.allocation] * 2 + [dear.allocation] * 2
    gain = expected_gain(stream[:2], dear)
    assert gain > 0.0
    # The dear one costs 3.
    assert len(play(ByGain(ways, gain / 3.01), stream)) > 2
    assert len(play(ByGain(ways, gain / 2.99), stream)) == 2


def test_before_the_first_sample_its_gain_is_its_chance() -> None:
    assert expected_gain((), Way(SAMPLE, chances=(0.2, 0.7, 0.9))) == pytest.approx(0.6)


@few
@given(streams, st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
def test_the_gain_is_the_mean_over_the_chances(
    stream: list[Candidate], chances: list[float]
) -> None:
    each = [expected_gain(stream, Way(SAMPLE, chances=(p,))) for p in chances]
    whole = expected_gain(stream, Way(SAMPLE, chances=tuple(chances)))
    assert whole == pytest.approx(sum(each) / len(each))
    assert whole >= 0.0


def test_a_way_that_may_look_surely_right_is_worth_more_than_one_that_is_always_in_doubt() -> None:
    stream = [Candidate("", "a", p_right=0.6)]
    usual, spread = (Way(SAMPLE, chances=chances) for chances in ((0.5,), (0.05, 0.95)))
    assert expected_gain(stream, spread) > expected_gain(stream, usual) + 0.05


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UntilSure((), 0.9), "length of the sequence is 0"),
        (lambda: UntilSure(SIX, 1.0), "threshold is 1.0, expected above 0 and below 1"),
        (lambda: ConfidenceStop(SIX, math.nan), "threshold is nan"),
        (lambda: ConfidenceStop(SIX, answers=1), "answers is 1, expected at least 2"),
        (lambda: ReliabilityStop(SIX, gate=math.nan), "gate is nan"),
        (lambda: ReliabilityStop(SIX, threshold=0.4), "threshold is 0.4, expected 0.5 to"),
        (lambda: Way(SAMPLE, cost=0.0), "cost is 0.0, expected a number above 0"),
        (lambda: Way(SAMPLE, chances=(0.5, math.nan)), "chances are .*nan"),
        (lambda: Way(SAMPLE, chances=()), "chances are "),
        (lambda: ByGain(()), "ways are 0"),
        (lambda: ByGain((Way(SAMPLE), Way(SAMPLE))), "ways are 2, 2 of them with tools"),
        (lambda: by_gain(math.nan), "worth is nan"),
    ],
)
def test_rules_that_make_no_sense_are_refused(make: Callable[[], Allocator], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_what_the_user_set_holds_in_every_round_but_for_beams_and_tools() -> None:
    rules: list[InOrder | ByGain] = [UntilSure(SIX), by_gain(0.0)]
    for rule in rules:
        changed = rule.with_overrides({"temperature": 0.3, "beam_width": 4, "tools": frozenset()})
        bought = play(changed, plain("abcabc"))
        assert {(one.temperature, one.beam_width) for one in bought} == {(0.3, 1)}
        assert SAMPLE.tools in {one.tools for one in bought}


def plain(answers: str) -> list[Candidate]:
    return [Candidate("", answer) for answer in answers]
