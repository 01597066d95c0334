"""Changing one resource of an allocation changes what is asked of the model, as documented."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.tools import AdvisingTool
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, context

from amp.cost import Ledger
from amp.execute.base import PlainPrompts, Tool
from amp.execute.executor import TOKENS_A_REASONING_STEP, Executor
from amp.execute.meter import Meter
from amp.execute.tools import CalculatorTool, LargerModelTool
from amp.models.base import Capabilities, ModelCard, Request
from amp.models.scripted import ALL_CAPABILITIES, ScriptedModel
from amp.types import Allocation, Candidate, Evidence, Limits, StepContext

OPEN = context(RIDDLE)
CHOICE = context(CORRIDOR, Corridor().reset(CORRIDOR))
BASE = Allocation(depth=1, temperature=0.7, top_p=0.9, beam_width=2)


def scripted(capabilities: Capabilities = ALL_CAPABILITIES) -> ScriptedModel:
    return ScriptedModel(
        ["Action: 8", "2 + 2 = 4. Action: 9"],
        next_tokens=lambda prompt: {"1": 0.2, "2": 0.6, "yes": 0.15, "no": 0.05},
        capabilities=capabilities,
    )


async def spend(
    model: ScriptedModel,
    allocation: Allocation,
    at: StepContext = OPEN,
    tools: dict[str, Tool] | None = None,
) -> tuple[tuple[Candidate, ...], Meter]:
    meter = Meter(model, Ledger(Limits()))
    return await Executor(PlainPrompts(), tools).execute(at, allocation, meter), meter


async def only_request(allocation: Allocation, at: StepContext = OPEN) -> Request:
    model = scripted()
    await spend(model, allocation, at)
    (request,) = model.requests
    return request


# --------------------------------------------------------------------------- depth


async def test_depth_asks_for_so_many_steps_and_grants_the_tokens_for_them() -> None:
    shallow, deep = [await only_request(replace(BASE, depth=depth)) for depth in (1, 3)]
    assert "at most 1 short steps" in shallow.prompt.messages[-1].content
    assert "at most 3 short steps" in deep.prompt.messages[-1].content
    assert deep.prompt.max_tokens > shallow.prompt.max_tokens
    assert replace(deep, prompt=shallow.prompt) == shallow


async def test_depth_0_of_a_choice_acts_at_once_and_more_thinks_first() -> None:
    at_once, thoughtful = scripted(), scripted()
    await spend(at_once, replace(BASE, depth=0), CHOICE)
    await spend(thoughtful, replace(BASE, depth=2), CHOICE)
    assert (len(at_once.requests), len(at_once.probes)) == (0, 1)
    assert (len(thoughtful.requests), len(thoughtful.probes)) == (1, 2)


@pytest.mark.parametrize("at", [OPEN, CHOICE], ids=["open", "choice"])
async def test_depth_is_a_budget_of_native_thinking_where_the_model_has_one(
    at: StepContext,
) -> None:
    model = scripted(replace(ALL_CAPABILITIES, thinking_budget=True))
    _, meter = await spend(model, replace(BASE, depth=3), at)
    (request,) = model.requests
    tokens = 3 * TOKENS_A_REASONING_STEP
    assert request.thinking_tokens == tokens
    assert "short steps" not in request.prompt.messages[-1].content
    assert meter.take_notes() == (f"{tokens} tokens of native thinking for 3 reasoning steps",)
    await spend(model, replace(BASE, depth=0), OPEN)
    assert model.requests[-1].thinking_tokens == 0


async def test_thinking_is_cut_before_the_answer_is_when_the_limits_bite() -> None:
    model = scripted(replace(ALL_CAPABILITIES, thinking_budget=True))
    allocation = replace(BASE, depth=3, beam_width=1)
    prompt = PlainPrompts().solve(OPEN, replace(allocation, depth=0))
    room = await model.count_tokens(prompt) + prompt.max_tokens + 2000
    meter = Meter(model, Ledger(Limits(tokens=room)))
    await Executor(PlainPrompts()).execute(OPEN, allocation, meter)
    (request,) = model.requests
    assert request.prompt.max_tokens == prompt.max_tokens
    assert request.thinking_tokens == 2000
    wanted = 3 * TOKENS_A_REASONING_STEP
    assert f"2000 tokens of thinking instead of {wanted}" in meter.take_notes()


async def test_a_budget_too_small_for_any_thinking_is_none() -> None:
    model = scripted(replace(ALL_CAPABILITIES, thinking_budget=True))
    allocation = replace(BASE, depth=1, beam_width=1)
    prompt = PlainPrompts().solve(OPEN, replace(allocation, depth=0))
    room = await model.count_tokens(prompt) + prompt.max_tokens + 1000
    meter = Meter(model, Ledger(Limits(tokens=room)))
    await Executor(PlainPrompts()).execute(OPEN, allocation, meter)
    assert model.requests[0].thinking_tokens == 0
    assert f"0 tokens of thinking instead of {TOKENS_A_REASONING_STEP}" in meter.take_notes()


# --------------------------------------------------------------------------- sampling


async def test_temperature_and_top_p_reach_the_model_and_change_nothing_else() -> None:
    base = await only_request(BASE)
    warmer = await only_request(replace(BASE, temperature=1.1))
    wider = await only_request(replace(BASE, top_p=1.0))
    assert warmer == replace(base, temperature=1.1)
    assert wider == replace(base, top_p=1.0)


async def test_what_a_model_does_not_heed_is_noted() -> None:
    own_mind = replace(ALL_CAPABILITIES, temperature=False, top_p=False)
    _, meter = await spend(scripted(own_mind), BASE)
    assert meter.take_notes() == (
        "the model's own sampling instead of temperature 0.7",
        "no nucleus sampling instead of top_p 0.9",
    )
    cool = replace(ALL_CAPABILITIES, max_temperature=1.0)
    _, meter = await spend(scripted(cool), replace(BASE, temperature=1.5))
    assert meter.take_notes() == ("temperature 1 instead of 1.5",)


async def test_beams_are_samples_of_one_call_on_one_prompt() -> None:
    one, four = [await only_request(replace(BASE, beam_width=b)) for b in (1, 4)]
    assert four == replace(one, n=4)


async def test_the_prompt_of_beams_is_billed_once() -> None:
    bills = []
    for beam_width in (1, 4):
        candidates, meter = await spend(scripted(), replace(BASE, beam_width=beam_width))
        assert len(candidates) == beam_width
        bills.append(meter.ledger.usage.prompt_tokens)
    assert bills[0] == bills[1]


async def test_without_shared_prompts_every_beam_is_held_against_the_limits() -> None:
    alone = replace(ALL_CAPABILITIES, parallel_samples=False)
    model = ScriptedModel(["Action: 8"], capabilities=alone)
    prompt = PlainPrompts().solve(OPEN, BASE)
    each = await model.count_tokens(prompt) + prompt.max_tokens
    meter = Meter(model, Ledger(Limits(tokens=2 * each)))
    await Executor(PlainPrompts()).execute(OPEN, replace(BASE, beam_width=3), meter)
    assert model.requests[0].n == 2
    assert "2 samples instead of 3 to stay within the limits" in meter.take_notes()


# --------------------------------------------------------------------------- tools


async def test_a_tool_that_works_on_answers_runs_only_where_it_is_allocated() -> None:
    model = ScriptedModel(lambda prompt, i: "so it is <<4*2=9>> Action: 9")
    tools: dict[str, Tool] = {"calculator": CalculatorTool()}
    without, _ = await spend(model, BASE, tools=tools)
    assert without[0].tool_uses == ()
    with_it, _ = await spend(model, replace(BASE, tools=frozenset(tools)), tools=tools)
    assert [use.output for use in with_it[0].tool_uses][:1] == ["8"]


async def test_advice_becomes_a_part_of_the_state_that_the_model_reads() -> None:
    model = scripted()
    allocation = replace(BASE, tools=frozenset({"almanac"}))
    candidates, meter = await spend(model, allocation, tools={"almanac": AdvisingTool()})
    assert "State: spiders have eight legs" in model.requests[0].prompt.messages[-1].content
    assert candidates[0].tool_uses[0].output == "spiders have eight legs"
    assert candidates[0].action == "8"
    assert (meter.ledger.usage.tool_calls, meter.ledger.usage.seconds) == (1, 0.25)


async def test_advice_that_fails_is_noted_and_breaks_no_rule() -> None:
    model = scripted()
    allocation = replace(BASE, tools=frozenset({"almanac"}), verification=1)
    candidates, meter = await spend(model, allocation, tools={"almanac": AdvisingTool("torn page")})
    assert candidates[0].valid
    assert meter.take_notes() == ("no advice of almanac: torn page",)


async def test_the_larger_model_answers_in_place_of_the_base_model_at_its_own_price() -> None:
    base = scripted()
    card = ModelCard("large", parameters=10**9, dollars_per_million_completion_tokens=50.0)
    large = ScriptedModel(["Action: 7"], card=card)
    tools: dict[str, Tool] = {"larger_model": LargerModelTool(large)}
    candidates, meter = await spend(base, replace(BASE, tools=frozenset(tools)), tools=tools)
    assert {c.action for c in candidates} == {"7"}
    assert (len(base.requests), len(large.requests)) == (0, 1)
    assert meter.ledger.usage.dollars > 0


# --------------------------------------------------------------------------- verification


async def test_each_level_of_verification_asks_for_more() -> None:
    asked = []
    for level in range(4):
        model = scripted()
        allocation = replace(BASE, beam_width=1, verification=level)
        candidates, _ = await spend(model, allocation)
        asked.append((len(model.requests), len(model.probes)))
        assert (candidates[0].p_correct is not None) == (level >= 2)
        assert (candidates[0].critique is not None) == (level == 3)
    # The new attempt comes to the same answer, whose self-check is known.
    assert asked == [(1, 0), (1, 0), (1, 1), (3, 1)]


# --------------------------------------------------------------------------- rounds


async def test_another_round_draws_the_next_samples_of_the_same_prompt() -> None:
    model = scripted()
    meter = Meter(model, Ledger(Limits()))
    executor = Executor(PlainPrompts())
    first = await executor.execute(OPEN, BASE, meter)
    await executor.execute(replace(OPEN, evidence=Evidence().after(first)), BASE, meter)
    assert [(r.first_sample, r.n) for r in model.requests] == [(0, 2), (2, 2)]
