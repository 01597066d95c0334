from __future__ import annotations

import pytest
from tests.fakes.worlds import context

from amp.cost import flops
from amp.execute.tools import TYPICAL_CALL, LargerModelTool
from amp.models.base import ModelCard
from amp.models.scripted import ScriptedModel


async def test_it_holds_a_model_and_says_nothing_itself() -> None:
    model = ScriptedModel(["8"])
    tool = LargerModelTool(model)
    assert tool.model is model
    assert await tool.advise(context()) is None
    assert await tool.use("8") is None
    assert not model.requests


def test_its_cost_is_that_of_a_typical_call_by_the_card() -> None:
    card = ModelCard(
        "large",
        parameters=70,
        dollars_per_million_prompt_tokens=2.0,
        dollars_per_million_completion_tokens=8.0,
    )
    cost = LargerModelTool(ScriptedModel([], card=card)).cost
    assert cost.dollars == pytest.approx(1000 * 2e-6 + 250 * 8e-6)
    assert cost.flops == flops([TYPICAL_CALL], card) > 0
    assert (cost.prompt_tokens, cost.completion_tokens, cost.model_calls) == (1000, 250, 1)
    unknown = LargerModelTool(ScriptedModel([], card=ModelCard("unknown"))).cost
    assert (unknown.dollars, unknown.flops) == (0.0, 0.0)
