"""Nothing reaches the model but through the meter: granted, numbered, counted."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.fakes.tools import FakeTool
from tests.fakes.worlds import context

from amp.cost import Ledger
from amp.errors import LimitReachedError, ModelError
from amp.execute.base import ToolLimits
from amp.execute.meter import ESTIMATED, Meter
from amp.models.base import (
    Capabilities,
    Completion,
    LogProbs,
    Message,
    ModelCard,
    NextToken,
    Prompt,
    Request,
)
from amp.models.scripted import ScriptedModel
from amp.types import Limits, StepContext, ToolUse

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
    probe = await meter.next_token(PROMPT)
    spent = [c.usage for c in completions] + [probe.usage]
    assert meter.ledger.usage.tokens == sum(u.tokens for u in spent)
    assert meter.ledger.usage.model_calls == 2
    assert meter.ledger.usage.flops > 0


async def test_a_probe_is_made_once() -> None:
    model = ScriptedModel([])
    meter = meter_for(model)
    assert await meter.next_token(PROMPT) == await meter.next_token(PROMPT)
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
            await meter.next_token(PROMPT)
    assert meter.ledger.ended_by == "seconds"


class Hanging(FakeTool):
    """Takes longer than it may."""

    limits = ToolLimits(seconds=0.0, output_bytes=10)

    async def use(self, text: str) -> ToolUse | None:
        await asyncio.sleep(60)
        return None


class Crashing(FakeTool):
    """Breaks its promise to fail by an error."""

    async def use(self, text: str) -> ToolUse | None:
        raise KeyError("no such drawer")

    async def advise(self, context: StepContext) -> ToolUse | None:
        raise KeyError("no such drawer")


class Verbose(FakeTool):
    """Says more than it may."""

    async def use(self, text: str) -> ToolUse | None:
        return ToolUse(self.name, text, "x" * 2000, resume="x")


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        (Hanging(), "no result within 0 seconds"),
        (Crashing(), "the tool failed: KeyError: 'no such drawer'"),
        (Verbose(), "the result has more than 1000 bytes"),
    ],
)
async def test_a_tool_that_misbehaves_is_an_error_of_its_use(tool: FakeTool, error: str) -> None:
    meter = meter_for(ScriptedModel([]))
    async with asyncio.timeout(10):
        use = await meter.use(tool, "text")
    assert use is not None
    assert (use.error, use.output, use.resume) == (error, "", None)
    assert meter.ledger.usage.tool_calls == 1


async def test_advice_that_crashes_is_an_error_of_its_use() -> None:
    use = await meter_for(ScriptedModel([])).advise(Crashing(), context())
    assert use is not None
    assert use.error == "the tool failed: KeyError: 'no such drawer'"


# ------------------------------------------------------------------- calls without an answer


class Stranger:
    """A model of somebody else, which knows nothing of what is paid for a call cut off."""

    capabilities = Capabilities(parallel_samples=True)
    card = ModelCard("stranger")

    async def generate(self, request: Request) -> list[Completion]:
        await asyncio.sleep(60)
        return []

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        raise ModelError("no")

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        raise ModelError("no")

    async def count_tokens(self, prompt: Prompt) -> int:
        return 7

    async def close(self) -> None:
        """Holds nothing."""


async def test_a_call_that_time_cuts_off_is_paid_for_and_marked() -> None:
    meter = meter_for(ScriptedModel([], delay_seconds=30), Limits(seconds=0.05))
    with pytest.raises(LimitReachedError, match="seconds"):
        await meter.generate(PROMPT, n=2, temperature=1.0)
    spent = meter.ledger.usage
    assert (spent.model_calls, spent.estimated_calls) == (1, 1)
    assert spent.prompt_tokens == await meter.model.count_tokens(PROMPT)
    assert spent.seconds >= 0.05
    assert meter.take_notes() == (ESTIMATED,)


async def test_a_call_that_the_user_cancels_is_paid_for_and_holds_nothing_back() -> None:
    meter = meter_for(ScriptedModel([], delay_seconds=30), Limits(tokens=1000))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await meter.next_token(PROMPT)
    spent = meter.ledger.usage
    assert (spent.model_calls, spent.estimated_calls) == (1, 1)
    assert spent.seconds >= 0.04
    assert meter.ledger.ended_by is None
    assert meter.ledger.remaining.tokens == 1000 - spent.tokens


async def test_a_model_that_writes_nothing_down_pays_the_most_that_it_can_have_spent() -> None:
    meter = Meter(Stranger(), Ledger(Limits(seconds=0.05, tokens=1000)))
    with pytest.raises(LimitReachedError, match="seconds"):
        await meter.generate(PROMPT, n=2, temperature=1.0)
    assert meter.ledger.usage.tokens == 7 + 2 * PROMPT.max_tokens
    assert meter.ledger.usage.estimated_calls == 1


async def test_a_failure_costs_its_time_and_no_tokens_that_nobody_wrote_down() -> None:
    meter = Meter(Stranger(), Ledger(Limits()))
    with pytest.raises(ModelError):
        await meter.next_token(PROMPT)
    assert meter.ledger.usage.tokens == 0
    assert meter.ledger.usage.seconds > 0.0


class Unsure(ScriptedModel):
    """Gives these log-probabilities and entropies with each answer."""

    def __init__(self, log_probs: tuple[float, ...], entropies: tuple[float, ...]) -> None:
        super().__init__(["x"])
        self._log_probs, self._entropies = log_probs, entropies

    async def generate(self, request: Request) -> list[Completion]:
        return [
            replace(c, log_probs=self._log_probs, entropies=self._entropies)
            for c in await super().generate(request)
        ]


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf, 0.5])
async def test_log_probabilities_that_are_none_are_left_out_and_noted(bad: float) -> None:
    meter = meter_for(Unsure((-0.5, bad), (0.1,)))
    (completion,) = await meter.generate(PROMPT)
    assert (completion.log_prob, completion.entropies) == (None, (0.1,))
    (note,) = meter.take_notes()
    assert "no log-probabilities of tokens" in note


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.5])
async def test_entropies_that_are_none_are_left_out_and_noted(bad: float) -> None:
    meter = meter_for(Unsure((-0.5, 1e-9), (0.1, bad)))
    (completion,) = await meter.generate(PROMPT)
    assert (completion.log_probs, completion.entropy) == ((-0.5, 1e-9), None)
    (note,) = meter.take_notes()
    assert "no entropies of tokens" in note
