"""Entropy lies between its bounds, and divergence is 0 for equals and never below."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amp.assess.uncertainty import (
    MAX_DIVERGENCE,
    divergence,
    entropy,
    entropy_bounds,
    entropy_share,
    fault,
)

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
