from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.models.base import entropy, normalised, perplexity


@st.composite
def distributions(draw: st.DrawFn) -> list[float]:
    weights = draw(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=50))
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def logs(masses: list[float]) -> list[float]:
    return [min(0.0, math.log(mass)) for mass in masses]


@given(distributions())
def test_entropy_lies_between_zero_and_the_log_of_the_support(masses: list[float]) -> None:
    # The mass left out is nought up to rounding, so it adds no outcome worth speaking of.
    assert 0.0 <= entropy(logs(masses)) <= math.log(len(masses)) + 1e-9


@given(distributions(), st.data())
def test_the_top_alone_gives_a_lower_bound(masses: list[float], data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(masses)))
    assert entropy(logs(masses)[:kept]) <= entropy(logs(masses)) + 1e-9


@given(distributions(), st.randoms())
def test_order_does_not_matter(masses: list[float], random: object) -> None:
    shuffled = sorted(masses)
    assert entropy(logs(shuffled)) == pytest.approx(entropy(logs(masses)), abs=1e-12)


def test_a_fair_coin_carries_one_bit() -> None:
    assert entropy([math.log(0.5)] * 2) == pytest.approx(math.log(2))


def test_the_mass_left_out_is_one_more_outcome() -> None:
    assert entropy([math.log(0.5)]) == pytest.approx(math.log(2))
    assert entropy([]) == 0.0
    assert entropy([-math.inf, 0.0]) == 0.0


@pytest.mark.parametrize("bad", [[0.1], [math.nan], [math.log(0.7)] * 2])
def test_what_is_no_distribution_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        entropy(bad)


@given(distributions(), st.floats(-5e-4, 5e-4))
def test_rounding_of_a_server_is_removed(masses: list[float], error: float) -> None:
    rounded = [math.log(mass) + error for mass in masses]
    assert entropy(normalised(rounded)) >= 0.0


def test_more_than_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="add up to"):
        normalised([math.log(0.6)] * 2)


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=30))
def test_perplexity_is_between_that_of_the_likeliest_and_of_the_unlikeliest_token(
    log_probs: list[float],
) -> None:
    found = perplexity(log_probs)
    assert found is not None
    assert found >= 1.0
    assert math.exp(-max(log_probs)) * (1 - 1e-9) <= found <= math.exp(-min(log_probs)) * (1 + 1e-9)


def test_perplexity_of_even_odds_is_their_number_and_of_nothing_none() -> None:
    assert perplexity([-math.log(6)] * 5) == pytest.approx(6)
    assert perplexity([]) is None
    assert perplexity([-1e6]) == math.inf
    for wrong in (math.nan, 0.1):
        with pytest.raises(ValueError, match="log-probability is"):
            perplexity([wrong])
