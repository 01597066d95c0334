"""Problems in symbols are read strictly, and plans for them hold."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import CORRIDOR, context

from amp.errors import InvalidInputError
from amp.execute.tools import symbolic_planner
from amp.execute.tools.strips import Action, Problem, solve
from amp.execute.tools.symbolic_planner import SymbolicPlannerTool, first_step, read_problem
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


# ---------------------------------------------------------------------------


GO = {
    "name": "go to ?to",
    "parameters": {"?from": "room", "?to": "room"},
    "preconditions": ["robot in ?from", "way ?from ?to"],
    "add": ["robot in ?to"],
    "delete": ["robot in ?from"],
}
HOUSE: dict[str, Any] = {
    "init": ["robot in attic", "way attic hall", "way hall cellar", "wine in cellar"],
    "goal": ["has wine"],
    "objects": {"room": ["attic", "hall", "cellar"], "thing": ["wine"]},
    "schemas": [
        GO,
        {
            "name": "take",
            "parameters": {"?what": "thing", "?where": "room"},
            "preconditions": ["robot in ?where", "?what in ?where"],
            "add": ["has ?what"],
            "delete": ["?what in ?where"],
            "cost": 2,
        },
    ],
}

words = st.text("abc", min_size=1, max_size=2)
facts = st.lists(words, max_size=3)


@given(facts, facts, st.lists(st.tuples(words, facts, facts, facts, st.integers(1, 5))))
def test_the_ground_form_says_what_the_problem_is(
    init: list[str], goal: list[str], actions: list[tuple[str, Any, Any, Any, int]]
) -> None:
    keys = ("name", "preconditions", "add", "delete", "cost")
    form = {
        "init": init,
        "goal": goal,
        "actions": [dict(zip(keys, a, strict=True)) for a in actions],
    }
    assert read_problem(form) == Problem(
        frozenset(init),
        frozenset(goal),
        tuple(
            Action(name, frozenset(before), frozenset(add), frozenset(delete), cost)
            for name, before, add, delete, cost in actions
        ),
    )


def test_schemas_stand_for_an_action_a_choice_and_static_facts_thin_them() -> None:
    problem = read_problem(HOUSE)
    assert {action.name for action in problem.actions} == {
        "go to hall attic",
        "go to cellar hall",
        "take wine attic",
        "take wine hall",
        "take wine cellar",
    }
    plan = solve(problem)
    assert plan is not None
    assert [step.name for step in plan] == [
        "go to hall attic",
        "go to cellar hall",
        "take wine cellar",
    ]
    assert sum(step.cost for step in plan) == 4


@given(st.integers(0, 4), st.integers(0, 4))
def test_there_is_one_action_for_every_choice(a: int, b: int) -> None:
    objects = {"a": [f"a{n}" for n in range(a)], "b": [f"b{n}" for n in range(b)]}
    schema = {"name": "join ?x and ?y", "parameters": {"?x": "a", "?y": "b"}, "add": ["?x ?y"]}
    problem = read_problem({"init": [], "goal": [], "objects": objects, "schemas": [schema]})
    expected = [f"join {x} and {y}" for x, y in itertools.product(objects["a"], objects["b"])]
    assert [action.name for action in problem.actions] == expected


def test_facts_are_equal_if_their_words_are() -> None:
    assert read_problem({"init": ["at  home "], "goal": ["at home"]}).goal == {"at home"}


def test_names_of_parameters_may_begin_alike() -> None:
    schema = {"name": "do", "parameters": {"?x": "t", "?x2": "t"}, "add": ["?x2 ?x"]}
    form = {"init": [], "goal": [], "objects": {"t": ["u", "v"]}, "schemas": [schema]}
    assert Action("do u v", add=frozenset({"v u"})) in read_problem(form).actions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "at home"}, "init: found 'at home', expected a list"),
        ({"goal": [5]}, "goal: found 5, expected a text"),
        ({"goal": [" "]}, "goal: found ' ', expected a text"),
        ({"actions": {}}, "actions: found {}, expected a list"),
        ({"actions": ["go"]}, "actions[0]: found 'go', expected an object"),
        ({"actions": [{}]}, "actions[0].name: found None, expected a text"),
        (
            {"actions": [{"name": "a"}, {"name": "b", "add": "x"}]},
            "actions[1].add: found 'x', expected a list",
        ),
        (
            {"actions": [{"name": "a", "cost": 0}]},
            "actions[0].cost: found 0, expected an integer of 1 or more",
        ),
        (
            {"actions": [{"name": "a", "cost": True}]},
            "actions[0].cost: found True, expected an integer of 1 or more",
        ),
        ({"objects": {"room": "hall"}}, "objects.room: found 'hall', expected a list"),
        (
            {"schemas": [{"name": "go"}]},
            "schemas[0].parameters: found None, expected an object",
        ),
        (
            {"schemas": [GO | {"parameters": {"to": "room"}}]},
            "schemas[0].parameters: found 'to', expected a name such as '?room'",
        ),
        (
            {"schemas": [GO | {"parameters": {"?to": "place"}}]},
            "schemas[0].parameters.?to: found 'place', expected a type of objects"
            " (types: room, thing)",
        ),
        (
            {"schemas": [GO | {"parameters": {"?to": "room"}}]},
            "schemas[0].preconditions: ?from is no parameter of this schema",
        ),
        (
            {"objects": {"room": [f"r{n}" for n in range(300)], "thing": []}},
            "schemas[0]: more than 50,000 choices of objects; give it fewer parameters",
        ),
    ],
)
def test_an_error_names_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_problem(HOUSE | change)
    assert str(caught.value) == message


@pytest.mark.parametrize("missing", ["init", "goal"])
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{missing} is missing, expected a list of facts"):
        read_problem({key: value for key, value in HOUSE.items() if key != missing})
    with pytest.raises(InvalidInputError, match="problem: found None, expected an object"):
        read_problem(None)


def test_too_many_actions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbolic_planner, "MAX_ACTIONS", 4)
    with pytest.raises(InvalidInputError, match="5 actions, expected at most 4"):
        read_problem(HOUSE)
