"""Nothing reaches the model but through the meter: granted, numbered, counted."""

from __future__ import annotations

import asyncio

import pytest

from amp.cost import Ledger
from amp.errors import LimitReachedError
from amp.execute.meter import Meter
from amp.models.base import Message, Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Limits

PROMPT = Prompt((Message("system", "s"), Message("user", "say something")), 20)


def meter_for(model: ScriptedModel, limits: Limits = Limits()) -> Meter:
    return Meter(model, Ledger(limits))


async def test_asking_again_gives_the_next_samples() -> None:
    model = ScriptedModel(["zero", "one", "two", "three"])
    meter = meter_for(model)
    first = await meter.generate(PROMPT, n=2, temperature=0.5)
    second = await meter.generate(PROMPT, n=2, temperature=0.5)
    assert [c.text for c in first + second] == ["zero", "one", "two", "three"]


async def test_a_greedy_sample_is_not_bought_twice_in_one_call() -> None:
    model = ScriptedModel(["x"])
    meter = meter_for(model)
    assert len(await meter.generate(PROMPT, n=4)) == 1
    assert meter.take_notes() == ("1 greedy sample instead of 4 equal ones",)


async def test_the_ledger_has_exactly_what_the_completions_cost() -> None:
    model = ScriptedModel(["one two three", "four"])
    meter = meter_for(model)
    completions = await meter.generate(PROMPT, n=2, temperature=1.0)
    probe = await meter.probe(PROMPT)
    spent = [c.usage for c in completions] + [probe.usage]
    assert meter.ledger.usage.tokens == sum(u.tokens for u in spent)
    assert meter.ledger.usage.model_calls == 2
    assert meter.ledger.usage.flops > 0


async def test_a_probe_is_made_once() -> None:
    model = ScriptedModel([])
    meter = meter_for(model)
    assert await meter.probe(PROMPT) == await meter.probe(PROMPT)
    assert len(model.probes) == 1


async def test_the_call_that_would_break_the_limit_is_not_made() -> None:
    model = ScriptedModel(["x"])
    meter = meter_for(model, Limits(tokens=await model.count_tokens(PROMPT) + 9))
    with pytest.raises(LimitReachedError, match="limit of .* tokens reached"):
        await meter.generate(PROMPT)
    assert model.requests == []


async def test_a_smaller_call_that_fits_is_made_and_noted() -> None:
    model = ScriptedModel(["x"])
    meter = meter_for(model, Limits(tokens=await model.count_tokens(PROMPT) + 45))
    assert len(await meter.generate(PROMPT, n=4, temperature=1.0)) == 2
    assert meter.take_notes() == ("2 samples instead of 4 to stay within the limits",)


async def test_time_that_runs_out_is_a_limit_and_holds_nothing_back() -> None:
    model = ScriptedModel([], delay_seconds=30)
    meter = meter_for(model, Limits(seconds=0.05))
    async with asyncio.timeout(5):
        with pytest.raises(LimitReachedError, match="seconds"):
            await meter.probe(PROMPT)
    assert meter.ledger.exhausted == "seconds"
