"""An allocation is carried out as granted; a history that is too long is cut."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.fakes.tools import CorrectingTool, ShoutingTool
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, context

from amp.cost import Ledger
from amp.errors import InvalidInputError
from amp.execute.base import PlainPrompts, Tool
from amp.execute.choice_step import choice_looks
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.models.base import ModelCard, Prompt
from amp.models.scripted import ScriptedModel
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Limits,
    Observation,
    Probe,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

GUIDED = Corridor().reset(CORRIDOR)


async def execute(
    model: ScriptedModel,
    allocation: Allocation,
    observation: Observation | None = None,
    tools: Mapping[str, Tool] | None = None,
    limits: Limits = Limits(),
) -> tuple[tuple[Candidate, ...], Meter]:
    meter = Meter(model, Ledger(limits))
    at = context(RIDDLE if observation is None else CORRIDOR, observation)
    return await Executor(PlainPrompts(), tools).execute(at, allocation, meter), meter


async def test_looks_that_are_no_finite_numbers_are_left_out() -> None:
    told = {"odd": True, "far": math.inf, "lost": math.nan, "unknown": None, "size": 2}
    meter = Meter(ScriptedModel(["Action: x"]), Ledger(Limits()))
    executor = Executor(PlainPrompts(), plausibility=lambda at, candidate: told)  # type: ignore[arg-type, return-value]  # None is not promised, but likely
    (candidate,) = await executor.execute(context(RIDDLE), Allocation(), meter)
    assert candidate.looks == {"odd": 1.0, "size": 2.0}
    json.dumps(dict(candidate.looks), allow_nan=False)
    told["size"] = "two"  # type: ignore[assignment]  # what is to be refused
    with pytest.raises(InvalidInputError, match="plausibility says 'size' is 'two', expected a"):
        await executor.execute(context(RIDDLE), Allocation(), meter)


async def test_depth_zero_acts_at_once_and_depth_writes_first() -> None:
    model = ScriptedModel(["I walk."], next_tokens=lambda prompt: {"1": 0.1, "2": 0.9})
    at_once, _ = await execute(model, Allocation(), GUIDED)
    assert (at_once[0].action, at_once[0].completion_tokens) == ("walk", 0)
    assert at_once[0].probability == pytest.approx(0.9)
    assert model.requests == []
    thought, _ = await execute(model, Allocation(depth=2), GUIDED)
    assert thought[0].text == "I walk."
    assert thought[0].completion_tokens > 0
    assert "I walk." in model.probes[-1].messages[1].content


async def test_more_depth_asks_for_more_steps_and_allows_more_tokens() -> None:
    model = ScriptedModel(["Action: 8"])
    await execute(model, Allocation(depth=1))
    await execute(model, Allocation(depth=5))
    short, long = (request.prompt for request in model.requests)
    assert long.max_tokens > short.max_tokens
    assert "5 short steps" in long.messages[-1].content


async def test_temperature_and_top_p_reach_the_model() -> None:
    model = ScriptedModel(["Action: 8"])
    await execute(model, Allocation(temperature=0.3, top_p=0.8))
    assert (model.requests[0].temperature, model.requests[0].top_p) == (0.3, 0.8)


async def test_beams_are_samples_of_one_prompt_in_one_call() -> None:
    model = ScriptedModel(["Action: 8", "Action: 6", "Action: 8"])
    candidates, meter = await execute(model, Allocation(temperature=1.0, beam_width=3))
    assert [c.action for c in candidates] == ["8", "6", "8"]
    assert meter.ledger.usage.model_calls == 1


async def test_beams_of_a_choice_each_think_and_choose() -> None:
    def choose(prompt: object) -> dict[str, float]:
        return {"2": 0.8, "1": 0.2} if "go" in str(prompt) else {"1": 0.7, "2": 0.3}

    model = ScriptedModel(["go", "stay", "go"], next_tokens=choose)
    # Close to greedy, so that the draw is the likelier option.
    allocation = Allocation(depth=1, beam_width=3, temperature=0.01)
    candidates, _ = await execute(model, allocation, GUIDED)
    assert [c.action for c in candidates] == ["walk", "wait", "walk"]
    assert len(model.probes) == 2  # the same thought twice is read once


async def test_a_tool_of_the_environment_changes_what_can_be_chosen() -> None:
    model = ScriptedModel([], next_tokens=lambda prompt: {"2": 1.0})
    candidates, _ = await execute(model, Allocation(tools=frozenset({"guide"})), GUIDED)
    assert candidates[0].action == "follow the guide"


async def test_a_tool_works_on_the_text_only_if_allocated() -> None:
    model = ScriptedModel(["Action: eight!"])
    allocated, meter = await execute(
        model, Allocation(tools=frozenset({"shout"})), tools={"shout": ShoutingTool()}
    )
    assert allocated[0].action == "ACTION: EIGHT!"
    assert meter.ledger.usage.tool_calls == 1
    assert meter.ledger.usage.seconds == pytest.approx(0.5)
    without, _ = await execute(model, Allocation(), tools={"shout": ShoutingTool()})
    assert without[0].action == "eight!"
    assert without[0].tool_uses == ()


async def test_a_tool_can_have_the_model_go_on_from_a_corrected_text() -> None:
    def answer(prompt: Prompt, sample: int) -> str:
        return "\nAction: 4" if prompt.messages[-1].role == "assistant" else "2+2=5\nAction: 5"

    model = ScriptedModel(answer)
    candidates, meter = await execute(
        model, Allocation(tools=frozenset({"correct"})), tools={"correct": CorrectingTool()}
    )
    assert candidates[0].text == "2+2=4\nAction: 4"
    assert candidates[0].action == "4"
    assert model.requests[1].prompt.messages[-1].content == "2+2=4"
    assert meter.ledger.usage.completion_tokens == candidates[0].completion_tokens


async def test_a_tool_that_does_not_exist_is_noted() -> None:
    model = ScriptedModel(["Action: 8"])
    _, meter = await execute(model, Allocation(tools=frozenset({"oracle"})))
    assert meter.take_notes() == ("no tool 'oracle' here",)


async def test_verification_levels_add_rules_then_the_models_yes() -> None:
    model = ScriptedModel(
        ["2 + 2 = 5. Action: 5", "Action: 4"], next_tokens=lambda prompt: {"yes": 0.3, "no": 0.1}
    )
    two = Allocation(temperature=1.0, beam_width=2)
    none, _ = await execute(model, two)
    assert [c.broken_rule for c in none] == [None, None]
    rules, _ = await execute(model, Allocation(temperature=1.0, beam_width=2, verification=1))
    assert rules[0].broken_rule is not None
    assert rules[1].broken_rule is None
    assert model.probes == []
    checked, _ = await execute(model, Allocation(temperature=1.0, beam_width=2, verification=2))
    assert [c.p_correct for c in checked] == [None, pytest.approx(0.75)]
    assert len(model.probes) == 1


async def test_a_self_check_that_does_not_fit_is_left_out_and_noted() -> None:
    model = ScriptedModel(["Action: 8"])
    _, free = await execute(model, Allocation())
    limits = Limits(tokens=free.ledger.usage.tokens + 40)
    candidates, meter = await execute(model, Allocation(verification=2), limits=limits)
    assert candidates[0].p_correct is None
    assert "self-check left out to stay within the limits" in meter.take_notes()


async def test_an_answer_without_an_action_is_a_failure_that_says_why() -> None:
    candidates, _ = await execute(ScriptedModel([""]), Allocation(verification=1))
    assert candidates[0].action is None
    assert candidates[0].failure == "no answer could be read"
    unlisted = ScriptedModel([], next_tokens=lambda prompt: {"perhaps": 1.0})
    chosen, _ = await execute(unlisted, Allocation(), GUIDED)
    assert chosen[0].failure == "no listed action was named"


async def test_the_look_is_the_probe_that_acting_at_once_reads() -> None:
    model = ScriptedModel([], next_tokens=lambda prompt: {"1": 0.5, "2": 0.5})
    meter = Meter(model, Ledger(Limits()))
    executor, at = Executor(PlainPrompts()), context(CORRIDOR, GUIDED)
    seen = await executor.probe(at, frozenset({"options"}), meter)
    assert seen == Probe(options={"wait": 0.5, "follow the guide": 0.5})
    spent = meter.ledger.usage
    await executor.execute(at, Allocation(tools=frozenset({"guide"})), meter)
    assert meter.ledger.usage == spent


async def test_the_only_admissible_action_costs_nothing() -> None:
    model = ScriptedModel([])
    single = Observation("a corridor", actions=("walk",))
    candidates, meter = await execute(model, Allocation(depth=3, beam_width=2), single)
    assert [c.action for c in candidates] == ["walk"]
    assert meter.ledger.usage.tokens == 0
    assert meter.take_notes() == ("no model call for the only admissible action",)
    executor = Executor(PlainPrompts(), plausibility=choice_looks)
    at = StepContext(Task("t", "walk"), single)
    (only,) = await executor.execute(at, Allocation(), meter)
    assert only.looks == choice_looks(at, only) != {}


# --------------------------------------------------------------------------- a plan too long for th


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
