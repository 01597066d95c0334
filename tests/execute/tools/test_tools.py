"""What holds for every tool."""

from __future__ import annotations

import json

import pytest
from tests.fakes.tools import FakeTool
from tests.fakes.worlds import context

from amp.errors import InvalidInputError
from amp.execute import tools
from amp.execute.base import Tool
from amp.execute.tools import TOOLS, LargerModelTool, load_tool
from amp.models.scripted import ScriptedModel

ALL: list[Tool] = [*(make() for make in TOOLS.values()), LargerModelTool(ScriptedModel([]))]


def test_every_tool_of_the_registry_bears_its_name() -> None:
    assert {name: make().name for name, make in TOOLS.items()} == {name: name for name in TOOLS}


def test_a_tool_is_found_by_its_name_also_in_another_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_tool("calculator").name == "calculator"
    with pytest.raises(InvalidInputError, match="'calculater'; did you mean 'calculator'"):
        load_tool("calculater")
    name = FakeTool().name
    monkeypatch.setattr(tools, "plugin_names", lambda group, builtin: (name,))
    monkeypatch.setattr("amp.plugins.load_plugin", lambda group, name: FakeTool)
    assert isinstance(load_tool(name), FakeTool)


def test_only_the_larger_model_answers_in_place_of_the_base_model() -> None:
    assert [tool.name for tool in ALL if tool.model is not None] == ["larger_model"]


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
async def test_every_tool_says_what_it_takes_does_and_costs(tool: Tool) -> None:
    assert tool.description
    assert "\n" not in tool.description
    assert json.loads(json.dumps(tool.schema)) == tool.schema
    assert tool.limits.seconds > 0
    assert tool.limits.output_bytes > 0
    assert tool.cost.tool_calls + tool.cost.model_calls == 1


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
async def test_a_tool_without_a_call_or_a_word_to_say_answers_with_none(tool: Tool) -> None:
    assert await tool.use("I think that it is eight.") is None
    assert await tool.advise(context()) is None
