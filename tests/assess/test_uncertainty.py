"""Uncertainty is a share; entropies and divergences keep their bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amp.assess.uncertainty import (
    MAX_DIVERGENCE,
    answer_counts,
    answer_entropy,
    divergence,
    entropy,
    entropy_bounds,
    entropy_share,
    fault,
    saturating,
    uncertainty,
)
from amp.types import Candidate, Evidence, Probe

numbers = st.none() | st.floats()
candidates = st.lists(
    st.builds(
        Candidate,
        text=st.just(""),
        action=st.sampled_from([None, "a", "b"]),
        entropy=numbers,
        probability=numbers,
    ),
    max_size=6,
).map(tuple)
probes = st.none() | st.builds(
    Probe, options=st.dictionaries(st.sampled_from("ab"), st.floats() | st.sampled_from([0.5, 1.0]))
)
evidences = st.builds(Evidence, candidates, st.integers(0, 4), probes)


def answers(*actions: str | None) -> Evidence:
    return Evidence(tuple(Candidate("", action) for action in actions), 1)


@given(evidences)
def test_uncertainty_stays_in_bounds_whatever_the_model_tells(evidence: Evidence) -> None:
    known = uncertainty(evidence)
    assert known is None or 0.0 <= known[0] <= 1.0


@given(candidates)
def test_every_candidate_stands_behind_one_answer(made: tuple[Candidate, ...]) -> None:
    assert sum(answer_counts(Evidence(made)).values()) == len(made)


def test_entropy_of_answers_is_zero_in_harmony_and_one_in_chaos() -> None:
    assert answer_entropy(answers("a")) is None
    assert answer_entropy(answers("a", "a", "a")) == 0.0
    assert answer_entropy(answers("a", "b", "c")) == pytest.approx(1.0)
    assert answer_entropy(answers(None, None)) == pytest.approx(1.0)
    assert answer_entropy(answers("a", "a", "b")) < answer_entropy(answers("a", "b", "c"))  # type: ignore[operator]


def test_uncertainty_names_its_source_and_prefers_answers_to_tokens_to_the_look() -> None:
    probe = Evidence(probe=Probe(options={"a": 0.5, "b": 0.5}))
    one = probe.after((Candidate("", "a", entropy=0.25),))
    chosen = probe.after((Candidate("", "a", entropy=0.25, probability=0.75),))
    two = one.after((Candidate("", "b", entropy=0.2),))
    assert uncertainty(Evidence()) is None
    assert uncertainty(probe) == (1.0, "next-token entropy")
    assert uncertainty(one) == (0.5, "entropy of the answer's tokens")
    assert uncertainty(chosen) == (0.25, "probability of the choice")
    assert uncertainty(two) == (1.0, "entropy of the answers")
    assert uncertainty(answers(None)) == (1.0, "no answer")


def test_what_cannot_be_a_measure_leaves_the_next_source_to_tell() -> None:
    probe = Evidence(probe=Probe(options={"a": 0.5, "b": 0.5}))
    odd = probe.after((Candidate("", "a", entropy=math.nan, probability=1.5),))
    assert uncertainty(odd) == (1.0, "next-token entropy")
    assert uncertainty(Evidence(probe=Probe(options={"a": 0.5, "b": 0.6}))) is None


@given(st.floats(0, 1e9), st.floats(0.1, 10))
def test_saturating_is_one_half_at_its_half_and_below_one(value: float, half: float) -> None:
    assert 0.0 <= saturating(value, half) < 1.0
    assert saturating(half, half) == 0.5


# --------------------------------------------------------------------------- entropy lies between i


weights = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)
counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1)


def distribution(masses: list[float]) -> list[float]:
    return [mass / math.fsum(masses) for mass in masses]


@given(weights)
def test_entropy_lies_between_zero_and_log_of_the_support(masses: list[float]) -> None:
    assert 0.0 <= entropy(distribution(masses)) <= math.log(len(masses))


@given(weights, st.integers(0, 40))
def test_the_true_entropy_lies_between_the_bounds_of_its_top(masses: list[float], k: int) -> None:
    p = distribution(masses)
    top = [math.log(mass) for mass in sorted(p, reverse=True)[:k]]
    lower, upper = entropy_bounds([min(0.0, value) for value in top], len(p))
    assert 0.0 <= lower <= upper <= math.log(len(p))
    assert lower - 1e-5 <= entropy(p) <= upper + 1e-5


@given(st.integers(1, 5), st.integers(6, 100))
def test_a_tail_spread_evenly_reaches_the_upper_bound(k: int, vocabulary: int) -> None:
    top = [math.log(0.5 / k)] * k
    rest = vocabulary - k
    _, upper = entropy_bounds(top, vocabulary)
    assert upper == pytest.approx(entropy([0.5 / k] * k + [0.5 / rest] * rest))


def test_a_fair_coin_carries_one_bit_of_nats() -> None:
    assert entropy([0.5, 0.5]) == pytest.approx(math.log(2))
    assert entropy([1.0]) == 0.0
    assert entropy_bounds([math.log(0.5)], 3) == pytest.approx((math.log(2), 1.5 * math.log(2)))


@pytest.mark.parametrize(
    ("probabilities", "found"),
    [
        ([0.5, 0.4], "add up to 0.9"),
        ([0.7, 0.7], "add up to 1.4"),
        ([math.nan, 1.0], "of nan"),
        ([-0.5, 1.5], "of -0.5"),
        ([math.inf], "of inf"),
        ([], "add up to 0"),
    ],
)
def test_what_is_no_distribution_is_refused(probabilities: list[float], found: str) -> None:
    assert found in (fault(probabilities) or "")
    with pytest.raises(ValueError, match=found):
        entropy(probabilities)


@pytest.mark.parametrize(
    ("log_probs", "vocabulary", "found"),
    [
        ([0.1], 5, "0.1"),
        ([math.nan], 5, "nan"),
        ([-1.0, -1.0, -1.0], 2, "vocabulary is 2"),
        ([], 0, "vocabulary is 0"),
        ([math.log(0.5)], 1, "add up to 0.5"),
        ([-0.1, -0.1], 9, "add up to 1.8"),
    ],
)
def test_bounds_of_impossible_tops_are_refused(
    log_probs: list[float], vocabulary: int, found: str
) -> None:
    with pytest.raises(ValueError, match=found):
        entropy_bounds(log_probs, vocabulary)


@given(weights)
def test_the_share_of_entropy_is_one_only_for_even_odds(masses: list[float]) -> None:
    p = distribution(masses)
    assert 0.0 <= entropy_share(p) <= 1.0
    if len(p) > 1:
        assert entropy_share(p) == pytest.approx(entropy(p) / math.log(len(p)))
        assert entropy_share([1 / len(p)] * len(p)) == pytest.approx(1.0)
    assert entropy_share([1.0, *[0.0] * len(p)]) == 0.0
    assert entropy_share([1.0]) == 0.0


@given(counts, counts)
def test_divergence_is_finite_and_never_below_zero(
    posterior: dict[str, int], prior: dict[str, int]
) -> None:
    assume(any(posterior.values()) and any(prior.values()))
    assert 0.0 <= divergence(posterior, prior) <= MAX_DIVERGENCE


@given(counts, st.integers(1, 7))
def test_divergence_is_exactly_zero_for_equal_shares(seen: dict[str, int], times: int) -> None:
    assume(any(seen.values()))
    again = {name: times * seen[name] for name in reversed(seen)}
    assert divergence(seen, seen) == 0.0
    assert divergence(again, {**seen, "unseen": 0}) == pytest.approx(0.0, abs=1e-15)


@given(st.integers(1, 99), st.integers(1, 99))
def test_divergence_grows_with_the_distance_from_the_prior(first: int, second: int) -> None:
    near, far = sorted((first, second))
    prior = {"a": 0, "b": 100}
    moved = [divergence({"a": n, "b": 100 - n}, prior) for n in (near, far)]
    assert moved[0] < moved[1] or near == far


def test_divergence_is_that_of_the_smoothed_shares() -> None:
    p, q = 0.51 / 1.02, 0.01 / 1.02
    expected = p * math.log(p / (1 - q)) + p * math.log(p / q)
    assert divergence({"a": 1, "b": 1}, {"a": 7}) == pytest.approx(expected)
    assert divergence({"a": 1}, {"b": 1}) == pytest.approx(math.log(101) * 1.00 / 1.02)


@pytest.mark.parametrize("wrong", [{"a": -1.0}, {"a": math.nan}, {"a": math.inf}, {"a": 0.0}, {}])
def test_divergence_refuses_what_has_no_shares(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        divergence(wrong, {"a": 1.0})
    with pytest.raises(ValueError, match="expected"):
        divergence({"a": 1.0}, wrong)
