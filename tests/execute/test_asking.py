"""A tool may ask the base model before it advises: every question is counted, once an episode."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.fakes.tools import FakeTool
from tests.fakes.worlds import CORRIDOR, Corridor, context

from amp.cost import Ledger
from amp.errors import LimitReachedError
from amp.execute.base import PlainPrompts, Question
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.models.base import Capabilities, Message, Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Limits, StepContext, ToolUse

AT = context(CORRIDOR, Corridor().reset(CORRIDOR))
ALLOCATION = Allocation(tools=frozenset({"oracle"}))
NO_LOG_PROBS = Capabilities(parallel_samples=True)


class Oracle(FakeTool):
    """Says how likely the model finds it that the door is locked."""

    name = "oracle"

    def questions(self, context: StepContext) -> Sequence[Question]:
        message = Message("user", "Is the door locked (1) or open (2)?")
        return (Question(Prompt((message,), 1), "12"),)

    def informed(
        self, context: StepContext, answers: Sequence[Sequence[float] | None]
    ) -> StepContext:
        (answer,) = answers
        told = "?" if answer is None else f"{answer[0]:.2f}"
        return replace(context, observation=replace(context.observation, symbols={"locked": told}))

    async def advise(self, context: StepContext) -> ToolUse | None:
        return ToolUse(self.name, "", f"Locked: {(context.observation.symbols or {})['locked']}")


def says(locked: dict[str, float], capabilities: Capabilities | None = None) -> ScriptedModel:
    def next_tokens(prompt: Prompt) -> dict[str, float]:
        return locked if "locked (1)" in prompt.messages[-1].content else {"2": 1.0}

    if capabilities is None:
        return ScriptedModel([""], next_tokens=next_tokens)
    return ScriptedModel(["1", "2", "1", "1"], capabilities=capabilities)


def meter_of(model: ScriptedModel, limits: Limits = Limits()) -> Meter:
    return Meter(model, Ledger(limits))


def executor() -> Executor:
    return Executor(PlainPrompts(), {"oracle": Oracle()})


def test_a_tool_that_asks_nothing_leaves_the_step_as_it_is() -> None:
    assert FakeTool().questions(AT) == ()
    assert FakeTool().informed(AT, ()) is AT


async def test_what_the_model_answers_stands_in_the_state_before_it_acts() -> None:
    model = says({"1": 0.3, "2": 0.1})
    (candidate,) = await executor().execute(AT, ALLOCATION, meter_of(model))
    assert [use.output for use in candidate.tool_uses] == ["Locked: 0.75"]
    asked, acted = model.probes
    assert "locked (1)" in asked.messages[-1].content
    assert any("Locked: 0.75" in message.content for message in acted.messages)


@pytest.mark.parametrize("capabilities", [None, NO_LOG_PROBS])
async def test_a_question_is_charged_once_an_episode_and_anew_in_the_next(
    capabilities: Capabilities | None,
) -> None:
    model, carrier = says({"1": 1.0}, capabilities), executor()
    meters = [meter_of(model), meter_of(model)]
    first = [await carrier.advise(AT, ALLOCATION, meters[0]) for _ in range(3)]
    assert first == [first[0]] * 3
    assert meters[0].ledger.usage.model_calls == 1
    assert meters[0].ledger.usage.tool_calls == 3
    assert await carrier.advise(AT, ALLOCATION, meters[1]) == first[0]
    assert meters[1].ledger.usage.model_calls == 1
    assert len(model.requests) + len(model.probes) == 2


async def test_a_model_without_log_probabilities_is_sampled_and_the_notes_say_so() -> None:
    meter = meter_of(says({}, NO_LOG_PROBS))
    (use,) = await executor().advise(AT, ALLOCATION, meter)
    assert use.output == "Locked: 0.80"  # of 1, 2, 1, 1 and 1
    assert meter.take_notes() == ("frequencies in 5 samples for next-token probabilities",)


async def test_a_model_without_an_answer_is_noted_at_every_step() -> None:
    meter = meter_of(says({"?": 1.0}))
    for _ in range(2):
        (use,) = await executor().advise(AT, ALLOCATION, meter)
        assert use.output == "Locked: ?"
        assert meter.take_notes() == ("the model has no answer to a question of oracle",)


async def test_a_question_that_does_not_fit_is_not_asked() -> None:
    model = says({"1": 1.0})
    with pytest.raises(LimitReachedError):
        await executor().execute(AT, ALLOCATION, meter_of(model, Limits(tokens=5)))
    assert model.probes == []


async def test_a_tool_that_is_not_allocated_asks_nothing() -> None:
    model = says({"1": 1.0})
    await executor().execute(AT, Allocation(), meter_of(model))
    assert len(model.probes) == 1


async def test_episodes_side_by_side_have_their_own_answers() -> None:
    carrier = executor()
    models = [says({"1": p, "2": 1 - p}) for p in (0.25, 0.5, 1.0)]
    told = await asyncio.gather(*(carrier.advise(AT, ALLOCATION, meter_of(m)) for m in models))
    assert [use.output for (use,) in told] == ["Locked: 0.25", "Locked: 0.50", "Locked: 1.00"]
    assert len(carrier._answers) == 0  # nothing stays of an episode that is over
