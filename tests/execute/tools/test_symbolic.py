from __future__ import annotations

import json

import pytest
from tests.fakes.worlds import CORRIDOR, context

from amp.execute.tools.symbolic_planner import SymbolicPlannerTool, first_step
from amp.types import Observation, ToolUse

DOOR = {
    "init": ["key here"],
    "goal": ["door open"],
    "actions": [
        {"name": "open door", "preconditions": ["has key"], "add": ["door open"]},
        {
            "name": "take key",
            "preconditions": ["key here"],
            "add": ["has key"],
            "delete": ["key here"],
        },
    ],
}
PLAN = "Plan: 1. take key 2. open door"


async def use(text: str, tool: SymbolicPlannerTool | None = None) -> ToolUse:
    found = await (tool or SymbolicPlannerTool()).use(text)
    assert found is not None
    assert found.tool == "symbolic_planner"
    assert bool(found.output) != bool(found.error)
    assert "\n" not in found.output + (found.error or "")
    return found


async def test_it_advises_where_the_environment_offers_symbols() -> None:
    advice = await SymbolicPlannerTool().advise(context(CORRIDOR, Observation(symbols=DOOR)))
    assert advice is not None
    assert (advice.output, advice.error) == (PLAN, None)
    assert advice.seconds > 0
    assert await SymbolicPlannerTool().advise(context(CORRIDOR)) is None


async def test_it_plans_for_what_a_model_wrote_however_it_is_marked() -> None:
    for text in (
        json.dumps(DOOR),
        f"The problem is {json.dumps(DOOR)}. Please solve it.",
        f"```json\n{json.dumps(DOOR, indent=2)}\n```",
        f"So:\n```JSON\n{json.dumps(DOOR)}\n```\nThat's it.",
        f"```json\n{json.dumps(DOOR)}",
        f'```json\n{{"init": [], "goal": []}}\n```\nNo:\n```json\n{json.dumps(DOOR)}\n```',
    ):
        assert (await use(text)).output == PLAN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Action: 8",
        "{",
        "}{",
        "f{o}o",
        '{"a": 1}',
        '```json\n["init", "goal"]\n```',
        '```json\n{"init": []}\n```',
        "{" * 100_000,
        "{" * 50_000 + "}" * 50_000,
    ],
)
async def test_other_texts_are_no_call(text: str) -> None:
    assert await SymbolicPlannerTool().use(text) is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"init": []}, "there is no plan: the goal can't be reached from here"),
        ({"goal": "door"}, "goal: found 'door', expected a list"),
        ({"actions": [{"name": "x" * 10_000, "add": ["door open"]}]}, "the plan has more than"),
    ],
)
async def test_a_failure_is_one_line(change: dict[str, object], error: str) -> None:
    assert str((await use(json.dumps(DOOR | change))).error).startswith(error)
    advice = await SymbolicPlannerTool().advise(
        context(CORRIDOR, Observation(symbols=DOOR | change))
    )
    assert advice is not None
    assert str(advice.error).startswith(error)


async def test_invalid_json_in_a_fence_is_an_error() -> None:
    assert str((await use('```json\n{"init": [\n```')).error).startswith("invalid JSON: ")
    assert str((await use("```json\n" + "[" * 100_000)).error).startswith("invalid JSON: ")


async def test_limits_are_held() -> None:
    tool = SymbolicPlannerTool(max_states=0)
    assert (await use(json.dumps(DOOR), tool)).error == "no plan found within 0 states"
    late = SymbolicPlannerTool(seconds=-1.0)
    assert (await use(json.dumps(DOOR), late)).error == "no plan found within -1 seconds"


async def test_a_goal_that_holds_is_said_to_hold() -> None:
    done = DOOR | {"goal": ["key here"]}
    assert (await use(json.dumps(done))).output == "Plan: nothing to do, the goal holds already"


@pytest.mark.parametrize("name", ["take key 1", "go to shelf 2", "open 1"])
async def test_the_first_step_is_read_from_a_plan_of_any_length(name: str) -> None:
    last = {"name": "rest", "preconditions": ["begun"], "add": ["done"]}
    for goal in ("begun", "done"):
        actions = [{"name": name, "add": ["begun"]}, last]
        found = await use(json.dumps({"init": [], "goal": [goal], "actions": actions}))
        assert first_step(found.output) == name
    holds = await use(json.dumps({"init": ["done"], "goal": ["done"]}))
    assert first_step(holds.output) is None
