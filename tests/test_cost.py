"""Limits hold for any sequence of calls; FLOPs, dollars and reward follow their formulas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.cost import Ledger, dollars, flops, reward
from amp.errors import InvalidInputError, LimitReachedError
from amp.models.base import ModelCard
from amp.types import Limits, Usage

CARD = ModelCard(
    "paid",
    parameters=1000,
    dollars_per_million_prompt_tokens=1.0,
    dollars_per_million_cached_tokens=0.1,
    dollars_per_million_completion_tokens=4.0,
)
calls = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 8), st.integers(1, 300), st.floats(0, 1)),
    max_size=30,
)


@given(calls, st.integers(1, 3000), st.floats(1e-5, 0.01))
def test_no_sequence_of_worst_case_calls_breaks_a_limit(
    calls: list[tuple[int, int, int, float]], tokens: int, money: float
) -> None:
    ledger = Ledger(Limits(tokens=tokens, dollars=money))
    for prompt_tokens, n, max_tokens, share in calls:
        try:
            grant = ledger.grant(CARD, prompt_tokens, n, max_tokens)
        except LimitReachedError as limit:
            assert ledger.exhausted == limit.limit
            continue
        assert 1 <= grant.n <= n
        assert max_tokens / 2 <= grant.max_tokens <= max_tokens
        spent = int(grant.n * grant.max_tokens * share)
        ledger.release(grant)
        ledger.charge(CARD, [Usage(prompt_tokens=prompt_tokens, completion_tokens=spent)])
        assert ledger.usage.tokens <= tokens
        assert ledger.usage.dollars <= money * (1 + 1e-9)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 1000))
def test_grants_under_way_count_as_spent(first: int, second: int, limit: int) -> None:
    ledger = Ledger(Limits(tokens=limit))
    held = 0
    for cap in (first, second):
        try:
            held += ledger.grant(CARD, 0, 1, cap).tokens
        except LimitReachedError:
            continue
    assert held <= limit


def test_without_limits_everything_is_granted() -> None:
    grant = Ledger(Limits()).grant(CARD, 10**6, 64, 4096)
    assert (grant.n, grant.max_tokens, grant.timeout_seconds) == (64, 4096, None)


def test_samples_become_fewer_before_the_cap_shrinks() -> None:
    grant = Ledger(Limits(tokens=350)).grant(CARD, 100, 4, 100)
    assert (grant.n, grant.max_tokens) == (2, 100)


def test_a_step_is_counted_only_if_it_may_begin() -> None:
    ledger = Ledger(Limits(steps=2))
    assert [ledger.begin_step() for _ in range(3)] == [True, True, False]
    assert ledger.exhausted == "steps"


@pytest.mark.parametrize("name", ["steps", "tokens", "dollars", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_of_nothing_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=f"limit {name} is"):
        Ledger(Limits(**{name: value}))  # type: ignore[arg-type]


def test_cached_tokens_cost_no_flops_and_their_own_price() -> None:
    usage = Usage(prompt_tokens=100, cached_prompt_tokens=60, completion_tokens=10)
    assert flops(usage, CARD) == 2 * 1000 * 50
    assert dollars(usage, CARD) == pytest.approx((40 * 1.0 + 60 * 0.1 + 10 * 4.0) / 1e6)


@given(st.floats(0, 1), st.floats(0, 10), st.floats(0, 1))
def test_reward_rises_with_success_and_falls_with_cost(s: float, c: float, trade: float) -> None:
    assert reward(1.0, c, trade) >= reward(s, c, trade) >= reward(0.0, c, trade)
    assert reward(s, 0.0, trade) >= reward(s, c, trade)


@pytest.mark.parametrize(
    ("values", "named"),
    [((2.0, 0.0, 0.5), "success"), ((1.0, -1.0, 0.5), "normalised_cost"), ((1, 0, 1.5), "trade")],
)
def test_reward_names_what_is_out_of_range(values: tuple[float, ...], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        reward(*values)


def test_usages_add_and_subtract() -> None:
    one, two = Usage(1, 2, 3, 4, 5.0, 6.0, 7.0, 8), Usage(8, 7, 6, 5, 4.0, 3.0, 2.0, 1)
    assert one + two == Usage(9, 9, 9, 9, 9.0, 9.0, 9.0, 9)
    assert one + two - two == one
