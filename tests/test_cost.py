"""Limits hold for any sequence of calls; FLOPs, dollars and reward follow their formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.cost import (
    COSTS,
    Ledger,
    attended,
    charged,
    costing,
    dollars,
    flops,
    is_priced,
    read_cost,
    worst_dollars,
)
from amp.errors import InvalidInputError, LimitReachedError
from amp.models.base import ModelCard
from amp.reward import Charge, Reward, dual_step, reward
from amp.types import Limits, Usage

CARD = ModelCard(
    "paid",
    parameters=1000,
    dollars_per_million_prompt_tokens=1.0,
    dollars_per_million_cached_tokens=0.1,
    dollars_per_million_completion_tokens=4.0,
)
DECODER = ModelCard("decoder", parameters=5000, layers=4, attention_width=96)
LOCAL = replace(DECODER, name="local", parameters=1_500_000_000)
HOSTED = replace(CARD, layers=4, attention_width=96)
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
            assert ledger.ended_by == limit.limit
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
    assert ledger.ended_by == "steps"


@pytest.mark.parametrize("name", ["steps", "tokens", "dollars", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_of_nothing_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=f"limit {name} is"):
        Ledger(Limits(**{name: value}))  # type: ignore[arg-type]


def reference_flops(call: Sequence[Usage], card: ModelCard) -> float:
    """The definition, token by token, for one call."""
    prompt, cached = call[0].prompt_tokens, call[0].cached_prompt_tokens
    positions = list(range(cached + 1, prompt + 1))
    for usage in call:
        positions += range(prompt + 1, prompt + usage.completion_tokens + 1)
    return sum(
        2 * (card.parameters or 0) + 4 * (card.layers or 0) * (card.attention_width or 0) * t
        for t in positions
    )


@st.composite
def model_calls(draw: st.DrawFn) -> list[Usage]:
    """The usages of one call: the first sample carries the prompt."""
    prompt = draw(st.integers(1, 60))
    cached = draw(st.integers(0, prompt))
    first, *others = draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
    return [Usage(1, prompt, cached, first), *(Usage(completion_tokens=c) for c in others)]


@given(st.lists(model_calls(), min_size=1, max_size=3))
def test_flops_are_those_of_every_processed_token_of_every_call(calls: list[list[Usage]]) -> None:
    usages = [usage for call in calls for usage in call]
    expected = sum(reference_flops(call, DECODER) for call in calls)
    assert flops(usages, DECODER) == pytest.approx(expected)


@given(st.integers(1, 500), st.integers(0, 300), st.integers(0, 300))
def test_a_text_costs_the_same_in_one_call_and_in_two(prompt: int, one: int, two: int) -> None:
    whole = flops([Usage(1, prompt, 0, one + two)], DECODER)
    begun = flops([Usage(1, prompt, 0, one)], DECODER)
    continued = flops([Usage(1, prompt + one, prompt + one, two)], DECODER)
    assert begun + continued == pytest.approx(whole)


@given(model_calls())
def test_flops_rise_with_every_token_and_a_cache_only_saves(call: list[Usage]) -> None:
    first, *others = call
    spent = flops(call, DECODER)
    assert (
        flops([replace(first, completion_tokens=first.completion_tokens + 1), *others], DECODER)
        > spent
    )
    assert flops([replace(first, prompt_tokens=first.prompt_tokens + 1), *others], DECODER) > spent
    assert flops([replace(first, cached_prompt_tokens=0), *others], DECODER) >= spent


@given(st.lists(model_calls(), min_size=1, max_size=4), st.sampled_from([LOCAL, HOSTED]))
def test_every_cost_is_the_sum_over_calls_and_a_cache_only_saves(
    calls: list[list[Usage]], card: ModelCard
) -> None:
    whole = charged(card, [usage for call in calls for usage in call])
    for cost in COSTS:
        measure = costing(cost, card)
        each = [measure.of(charged(card, call)) for call in calls]
        assert min(each) >= 0
        assert measure.of(whole) == pytest.approx(sum(each), rel=1e-12)
        uncached = [[replace(u, cached_prompt_tokens=0) for u in call] for call in calls]
        dearer = sum(measure.of(charged(card, call)) for call in uncached)
        assert sum(each) <= dearer * (1 + 1e-12)


@given(st.integers(1, 500), st.integers(1, 50))
def test_of_a_cached_prompt_flops_count_the_attention_to_it_alone(prompt: int, new: int) -> None:
    known = Usage(1, prompt, prompt)
    assert flops([known], DECODER) == 0
    assert flops([replace(known, completion_tokens=new)], DECODER) == pytest.approx(
        2 * 5000 * new + 4 * 4 * 96 * attended(prompt, new)
    )


def test_a_cost_is_read_by_its_name_and_by_the_one_that_it_had() -> None:
    assert [read_cost(name) for name in COSTS] == list(COSTS)
    assert read_cost("completion_tokens") == "written"
    with pytest.raises(InvalidInputError, match=r"unknown cost 'dollar'; did you mean 'dollars'"):
        read_cost("dollar")


@pytest.mark.parametrize(
    ("parameters", "model"),
    [(494_032_768, "Qwen3.5-0.8B"), (1_543_714_304, "Ministral 3B"), (4 * 10**9, "Ministral 3B")],
)
def test_a_local_model_is_compared_at_the_price_of_a_hosted_one_of_its_size(
    parameters: int, model: str
) -> None:
    card = ModelCard("local", parameters=parameters)
    usage = charged(card, [Usage(1, 100, 60, 30)])
    assert usage.dollars == 0  # for limits it costs nothing
    measure = costing("dollars", card)
    assert measure.prices is not None
    assert measure.of(usage) == dollars(usage, measure.prices) > 0
    assert f"local at the price of {model}" in measure.note
    assert costing("tokens", card).note == costing("dollars", HOSTED).note == ""


def test_ones_own_table_has_reference_prices_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        '[reference.mine]\nparameters = 2_000_000_000\nmodel = "M"\nprovider = "P"\n'
        'date = "2027-01"\nprompt = 3\ncached = 1\ncompletion = 5\nnote = "a guess"\n'
    )
    monkeypatch.setenv("AMP_PRICES", str(own))
    card = ModelCard("local", parameters=1_500_000_000)
    assert costing("dollars", card).note == (
        "dollars: local at the price of M (P, 2027-01: 3 prompt, 1 cached, 5 completion, a million"
        " tokens; a guess)"
    )
    larger = replace(card, parameters=3_000_000_000)
    assert "Ministral 3B" in costing("dollars", larger).note


def test_two_equal_calls_in_one_usage_cost_what_they_cost_apart() -> None:
    apart = flops([Usage(1, 50, 20, 7), Usage(1, 50, 20, 7)], DECODER)
    assert flops([Usage(2, 100, 40, 14)], DECODER) == pytest.approx(apart)


def test_attention_over_a_full_context_is_kaplans_term() -> None:
    n, attention_alone = 4096, replace(DECODER, parameters=None)
    per_token = flops([Usage(1, n)], attention_alone) / n
    assert per_token == pytest.approx(2 * 4 * 96 * n, rel=1e-3)


def test_a_model_that_tells_no_layers_counts_its_weights_alone() -> None:
    usage = Usage(prompt_tokens=100, cached_prompt_tokens=60, completion_tokens=10)
    assert flops([usage], CARD) == 2 * 1000 * 50
    assert flops([usage], ModelCard("unknown")) == 0


def test_a_request_is_charged_with_the_attention_of_its_own_prompts() -> None:
    shared, apart = Ledger(Limits()), Ledger(Limits())
    shared.charge(DECODER, [Usage(1, 100, 0, 10), Usage(completion_tokens=10)])
    apart.charge(DECODER, [Usage(1, 100, 0, 10), Usage(1, 100, 100, 10)])
    assert shared.usage.flops == apart.usage.flops > 0


def test_cached_and_reasoning_tokens_have_their_own_price() -> None:
    usage = Usage(
        prompt_tokens=100, cached_prompt_tokens=60, completion_tokens=10, reasoning_tokens=4
    )
    assert dollars(usage, CARD) == pytest.approx((40 * 1.0 + 60 * 0.1 + 10 * 4.0) / 1e6)
    thinker = replace(CARD, dollars_per_million_reasoning_tokens=7.0)
    expected = (40 * 1.0 + 60 * 0.1 + 6 * 4.0 + 4 * 7.0) / 1e6
    assert dollars(usage, thinker) == pytest.approx(expected)


prices = st.floats(0, 100)


@given(prices, prices, prices, st.none() | prices, st.data())
def test_no_call_costs_more_than_its_worst_case(
    prompt: float, cached: float, completion: float, reasoning: float | None, data: st.DataObject
) -> None:
    card = ModelCard("m", "", None, None, None, None, prompt, cached, completion, reasoning)
    usage = Usage(prompt_tokens=500, completion_tokens=300)
    hit, thought = data.draw(st.integers(0, 500)), data.draw(st.integers(0, 300))
    real = dollars(replace(usage, cached_prompt_tokens=hit, reasoning_tokens=thought), card)
    assert real <= worst_dollars(500, 300, card) * (1 + 1e-9)


def test_a_dollar_limit_that_cannot_hold_is_an_error() -> None:
    unknown: dict[str, Any] = {"dollars_per_million_prompt_tokens": None}
    card = replace(CARD, **unknown)
    assert is_priced(CARD)
    assert not is_priced(card)
    with pytest.raises(
        InvalidInputError, match="limited to 0.5, but no price is known for model 'paid'.*AMP_PRI"
    ):
        Ledger(Limits(dollars=0.5)).grant(card, 10, 1, 10)
    assert Ledger(Limits(tokens=50)).grant(card, 10, 1, 10).dollars >= 0


CHARGES = st.sampled_from(get_args(Charge))


@given(st.floats(0, 1), st.floats(0, 10), st.floats(0, 10), st.floats(0, 1), CHARGES)
def test_reward_falls_with_cost_whatever_is_charged(
    s: float, one: float, other: float, trade: float, charge: Charge
) -> None:
    cheap, dear = sorted((one, other))
    assert reward(s, cheap, trade, charge) >= reward(s, dear, trade, charge)
    assert reward(s, 0.0, trade, charge) == trade * s


@given(
    *(st.floats(0, 1), st.floats(0, 1), st.floats(0, 10), st.floats(0, 1)),
    st.sampled_from(("always", "log")),
)
def test_reward_rises_with_success_where_failures_pay_too(
    one: float, other: float, c: float, trade: float, charge: Charge
) -> None:
    worse, better = sorted((one, other))
    assert reward(better, c, trade, charge) >= reward(worse, c, trade, charge)


@given(st.floats(0, 1), st.floats(0, 10), st.floats(0, 10), st.floats(0, 1))
def test_the_logarithm_charges_every_further_token_less(
    s: float, one: float, more: float, trade: float
) -> None:
    def lost(charge: Charge, low: float, high: float) -> float:
        return reward(s, low, trade, charge) - reward(s, high, trade, charge)

    assert lost("log", one, one + more) <= lost("always", one, one + more) + 1e-9
    assert lost("log", one, one + more) <= lost("log", 0.0, more) + 1e-9


def test_the_logarithm_charges_the_first_tokens_in_full_and_the_budget_at_its_log() -> None:
    assert reward(0.0, 1e-6, 0.0, "log") == pytest.approx(reward(0.0, 1e-6, 0.0), rel=1e-5)
    assert reward(1.0, 1.0, 0.5, "log") == pytest.approx(0.5 - 0.5 * math.log(2))


@pytest.mark.parametrize(
    ("values", "named"),
    [((2.0, 0.0, 0.5), "success"), ((1.0, -1.0, 0.5), "normalised_cost"), ((1, 0, 1.5), "trade")],
)
def test_reward_names_what_is_out_of_range(values: tuple[float, float, float], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        reward(*values)


@given(st.floats(0, 1), st.floats(0, 10), st.floats(0, 1))
def test_what_is_charged_on_success_costs_nothing_without_and_all_of_it_with_it(
    s: float, c: float, trade: float
) -> None:
    assert reward(0.0, c, trade, "on_success") == 0.0
    assert reward(1.0, c, trade, "on_success") == reward(1.0, c, trade)
    assert reward(s, c, trade, "on_success") == pytest.approx(s * reward(1.0, c, trade), abs=1e-9)
    assert reward(s, c, trade, "on_success") >= reward(s, c, trade)


@given(st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1), st.floats(1e-3, 1e6))
def test_a_learner_is_rewarded_by_the_same_formula_one_by_one_and_in_arrays(
    s: float, tokens: float, trade: float, budget: float
) -> None:
    for charge in get_args(Charge):
        pays = Reward(budget, charge)
        plain = reward(s, tokens / budget, trade, charge)
        assert pays.of(s, tokens, trade) == plain
        arrays = (np.array([s, 1.0]), np.array([tokens, 0.0]), np.array([trade, 0.5]))
        assert pays.of(*arrays).tolist() == pytest.approx([plain, 0.5], rel=1e-12)
    # At the reference budget the cost is 1.
    assert Reward(budget).of(1.0, budget, trade) == pytest.approx(2.0 * trade - 1.0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_where_success_is_binary_a_share_of_it_is_none(s: float, trade: float) -> None:
    pays = Reward(100.0, binary=True)
    assert pays.of(s, 50.0, trade) == reward(float(s == 1.0), 0.5, trade)
    assert pays.of(np.array([s, 1.0]), np.zeros(2), np.full(2, trade))[1] == trade


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf])
def test_a_reference_budget_that_is_none_is_refused(budget: float) -> None:
    with pytest.raises(InvalidInputError, match="reference_cost is .*, expected a number above"):
        Reward(budget)
    with pytest.raises(InvalidInputError, match="charge is 'never', expected one of always, on_su"):
        Reward(1.0, "never")  # type: ignore[arg-type]


@given(st.floats(0.01, 1), st.floats(0, 10), st.floats(1e-3, 1))
def test_dual_ascent_weighs_cost_more_where_the_budget_is_exceeded(
    trade: float, cost: float, rate: float
) -> None:
    after = dual_step(trade, cost, rate)
    assert 0.0 < after <= 1.0
    assert dual_step(trade, 1.0, rate) == pytest.approx(trade)
    if cost > 1.0:
        assert after <= trade * (1 + 1e-12)
    elif cost < 1.0:
        assert after >= trade * (1 - 1e-12)


def test_dual_ascent_finds_the_trade_off_at_which_the_budget_is_met() -> None:
    trade = 1.0
    for _ in range(500):
        # A policy that spends less the more a cost weighs.
        trade = dual_step(trade, 2.0 * trade, rate=0.1)
    assert trade == pytest.approx(0.5, abs=1e-6)


def test_usages_add_and_subtract() -> None:
    one, two = Usage(1, 2, 3, 4, 5.0, 6.0, 7.0, 8), Usage(8, 7, 6, 5, 4.0, 3.0, 2.0, 1)
    assert one + two == Usage(9, 9, 9, 9, 9.0, 9.0, 9.0, 9)
    assert one + two - two == one


def test_a_ledger_can_be_held_to_fewer_tokens_for_a_while() -> None:
    ledger = Ledger(Limits(tokens=1000))
    with ledger.at_most(50):
        assert ledger.remaining.tokens == 50
        ledger.grant(CARD, 60, 1, 10)
    assert (ledger.ended_by, ledger.remaining.tokens) == (None, 1000)  # refused, nothing reserved
    with pytest.raises(LimitReachedError), ledger.at_most(5000):
        ledger.grant(CARD, 2000, 1, 10)
    assert ledger.ended_by == "tokens"
