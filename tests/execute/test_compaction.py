"""A plan too long for the model's context loses its oldest steps, and the trace says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.worlds import CORRIDOR, Corridor, context

from amp.cost import Ledger
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.models.base import ModelCard, Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Complexity, Limits, Probe, StepContext, StepRecord, Usage

START = context(CORRIDOR, Corridor().reset(CORRIDOR))


def after(steps: int) -> StepContext:
    """The corridor after so many steps, each of which says its number."""
    done = tuple(
        StepRecord(START.observation, (), Complexity(0.0), f"walk number {n} on and on", Usage())
        for n in range(steps)
    )
    return replace(START, steps=done)


class Model(ScriptedModel):
    """A model with room for so many tokens, of which it counts one a word."""

    def __init__(self, context_tokens: int | None) -> None:
        card = ModelCard("small", parameters=1, context_tokens=context_tokens)
        super().__init__(["I walk."], next_tokens={"": {"2": 1.0}}, card=card)


async def run(
    context_tokens: int | None, steps: int, allocation: Allocation = Allocation()
) -> tuple[Prompt, Meter]:
    model = Model(context_tokens)
    meter = Meter(model, Ledger(Limits()))
    await Executor(PlainPrompts()).execute(after(steps), allocation, meter)
    return (model.requests[0].prompt if model.requests else model.probes[0]), meter


@pytest.mark.parametrize("context_tokens", [None, 8192])
async def test_where_all_fits_nothing_is_left_out(context_tokens: int | None) -> None:
    prompt, meter = await run(context_tokens, 12)
    assert "walk number 0 " in str(prompt)
    assert meter.take_notes() == ()


@pytest.mark.parametrize("depth", [0, 2])
async def test_the_oldest_steps_go_until_prompt_and_answers_fit(depth: int) -> None:
    prompt, meter = await run(400, 100, Allocation(depth=depth))
    assert "walk number 99 " in str(prompt)
    assert "walk number 0 " not in str(prompt)
    assert await meter.model.count_tokens(prompt) + prompt.max_tokens <= 400
    (note,) = meter.take_notes()
    assert note.endswith(
        "of 100 earlier steps left out of the prompt to fit a context of 400 tokens"
    )


async def test_text_that_is_no_text_is_no_reason_to_fail() -> None:
    model = Model(8192)
    step = replace(after(1), task=replace(CORRIDOR, goal="reach \udcff"))
    await Executor(PlainPrompts()).execute(step, Allocation(), Meter(model, Ledger(Limits())))
    assert len(model.probes) == 1


async def test_side_by_side_answers_share_the_room() -> None:
    one, _ = await run(600, 60, Allocation(depth=2))
    four, _ = await run(600, 60, Allocation(depth=2, beam_width=4))
    assert len(str(four)) < len(str(one))


async def test_the_look_before_a_round_has_room_too() -> None:
    model = Model(400)
    meter = Meter(model, Ledger(Limits()))
    probe = await Executor(PlainPrompts()).probe(after(100), frozenset({"options"}), meter)
    assert isinstance(probe, Probe)
    assert await model.count_tokens(model.probes[0]) <= 400


async def test_a_step_that_does_not_fit_without_history_is_left_to_the_model() -> None:
    prompt, meter = await run(10, 3)
    assert "walk number" not in str(prompt)
    assert len(meter.take_notes()) == 1
