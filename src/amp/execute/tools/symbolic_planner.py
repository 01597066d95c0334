"""The symbolic planner: finds a plan for a STRIPS problem that is stated as JSON.

`Observation.symbols` holds such a problem, and a model may write one. Ground form::

    {"init": ["robot in hall", "key in hall"],
     "goal": ["door open"],
     "actions": [{"name": "take key", "preconditions": ["robot in hall", "key in hall"],
                  "add": ["has key"], "delete": ["key in hall"], "cost": 1}, ...]}

A fact is any text; facts are equal if their words are. Where they are missing, ``cost`` is 1 and
``preconditions``, ``add`` and ``delete`` are empty. Instead of ``actions``, or beside them, there
may be schemas with typed parameters, which make an action for every choice of objects::

    {"objects": {"room": ["hall", "cellar"]},
     "schemas": [{"name": "go to ?to", "parameters": {"?from": "room", "?to": "room"},
                  "preconditions": ["robot in ?from", "way ?from ?to"],
                  "add": ["robot in ?to"], "delete": ["robot in ?from"]}], ...}

An object may be of several types. A fact that no schema and no action adds or deletes (``way``) is
static: schemas whose static preconditions don't hold at the start make no action.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from amp.errors import AmpError, InvalidInputError
from amp.execute.base import Tool, ToolLimits
from amp.execute.tools.strips import Action, Problem, solve
from amp.types import StepContext, ToolUse, Usage

MAX_CHOICES = 50_000
"""Choices of objects that are tried for the schemas of one problem."""

MAX_ACTIONS = 10_000
"""Ground actions of one problem, those left out that static facts rule out."""

_FACTS = {"type": "array", "items": {"type": "string"}}
_ACTION = {
    "name": {"type": "string"},
    "preconditions": _FACTS,
    "add": _FACTS,
    "delete": _FACTS,
    "cost": {"type": "integer", "minimum": 1},
}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "init": _FACTS,
        "goal": _FACTS,
        "actions": {
            "type": "array",
            "items": {"type": "object", "properties": _ACTION, "required": ["name"]},
        },
        "objects": {"type": "object", "additionalProperties": _FACTS},
        "schemas": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": _ACTION
                | {
                    "parameters": {
                        "type": "object",
                        "propertyNames": {"pattern": r"^\?\w+$"},
                        "additionalProperties": {"type": "string"},
                    }
                },
                "required": ["name", "parameters"],
            },
        },
    },
    "required": ["init", "goal"],
}

_PARAMETER = re.compile(r"\?\w+")


def read_problem(value: object) -> Problem:
    """Reads a problem from its JSON form.

    Raises:
        InvalidInputError: if it doesn't have that form, or the schemas stand for too many actions;
            the message names the field.
    """
    fields = _mapping(value, "problem")
    init, goal = _facts(fields, "init", "init"), _facts(fields, "goal", "goal")
    for name in ("init", "goal"):
        if name not in fields:
            raise InvalidInputError(f"{name} is missing, expected a list of facts")
    actions = [
        _action(_mapping(item, f"actions[{number}]"), f"actions[{number}]", {})
        for number, item in enumerate(_list(fields.get("actions", []), "actions"))
    ]
    grounded = list(_ground(fields))
    changing = {fact for action in actions + grounded for fact in action.add | action.delete}
    possible = init | changing
    actions += [action for action in grounded if action.preconditions <= possible]
    if len(actions) > MAX_ACTIONS:
        raise InvalidInputError(f"{len(actions):,} actions, expected at most {MAX_ACTIONS:,}")
    return Problem(init, goal, tuple(actions))


def _ground(fields: Mapping[str, Any]) -> Iterator[Action]:
    """Yields an action for every schema and every choice of objects of its parameters' types."""
    objects = {
        kind: [_words(o, f"objects.{kind}") for o in _list(names, f"objects.{kind}")]
        for kind, names in _mapping(fields.get("objects", {}), "objects").items()
    }
    room = MAX_CHOICES
    for number, item in enumerate(_list(fields.get("schemas", []), "schemas")):
        path = f"schemas[{number}]"
        schema = _mapping(item, path)
        parameters = _mapping(schema.get("parameters"), f"{path}.parameters")
        for parameter, kind in parameters.items():
            if not _PARAMETER.fullmatch(parameter):
                raise InvalidInputError(
                    f"{path}.parameters: found {_short(parameter)}, expected a name such as '?room'"
                )
            if not isinstance(kind, str) or kind not in objects:
                known = ", ".join(objects) or "none"
                raise InvalidInputError(
                    f"{path}.parameters.{parameter}: found {_short(kind)}, expected a type of"
                    f" objects (types: {known})"
                )
        choices = [objects[kind] for kind in parameters.values()]
        room -= math.prod(len(choice) for choice in choices)
        if room < 0:
            raise InvalidInputError(
                f"{path}: more than {MAX_CHOICES:,} choices of objects; give it fewer parameters"
            )
        for choice in itertools.product(*choices):
            yield _action(schema, path, dict(zip(parameters, choice, strict=True)))


def _action(item: Mapping[str, Any], path: str, binding: Mapping[str, str]) -> Action:
    name = _words(item.get("name"), f"{path}.name")
    unnamed = [binding[p] for p in binding if p not in _PARAMETER.findall(name)]
    cost = item.get("cost", 1)
    if isinstance(cost, bool) or not isinstance(cost, int) or cost < 1:
        raise InvalidInputError(
            f"{path}.cost: found {_short(cost)}, expected an integer of 1 or more"
        )
    preconditions, add, delete = (
        frozenset(
            _bound(fact, f"{path}.{key}", binding) for fact in _facts(item, key, f"{path}.{key}")
        )
        for key in ("preconditions", "add", "delete")
    )
    bound_name = " ".join([_bound(name, f"{path}.name", binding), *unnamed])
    return Action(bound_name, preconditions, add, delete, cost)


def _bound(text: str, path: str, binding: Mapping[str, str]) -> str:
    """The text with the objects in the place of the parameters; in ground actions it stays."""

    def chosen(match: re.Match[str]) -> str:
        if match[0] not in binding:
            raise InvalidInputError(f"{path}: {match[0]} is no parameter of this schema")
        return binding[match[0]]

    return _PARAMETER.sub(chosen, text) if binding else text


def _facts(fields: Mapping[str, Any], key: str, path: str) -> frozenset[str]:
    return frozenset(_words(fact, path) for fact in _list(fields.get(key, []), path))


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{path}: found {_short(value)}, expected an object")
    return value


def _list(value: object, path: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInputError(f"{path}: found {_short(value)}, expected a list")
    return value


def _words(value: object, path: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{path}: found {_short(value)}, expected a text")
    return " ".join(value.split())


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else text[:37] + "..."


_FIRST = re.compile(r"Plan: 1\. (.+?)(?: 2\. |$)")
_FENCED = re.compile(r"```json[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


class SymbolicPlannerTool(Tool):
    """Plans from the environment's symbols before the model writes, or from those it wrote.

    Both are STRIPS problems in the JSON form above. In a model's text that
    is the last block fenced as ``json``, or an object from the first brace to the last one; it
    counts as a call if it has the fields ``init`` and ``goal``. The output is
    ``Plan: 1. take key 2. open door``; any plan, usually a cheap one.

    Args:
        seconds: time that one search may take.
        max_states: states that one search expands at most; within the time, its outcome doesn't
            depend on the machine.
    """

    name = "symbolic_planner"
    description = "plans for a problem in a ```json block with init, goal and actions (STRIPS)"
    schema = SCHEMA
    cost = Usage(seconds=0.03, tool_calls=1)

    def __init__(self, seconds: float = 5.0, max_states: int = 100_000) -> None:
        self.limits = ToolLimits(seconds, output_bytes=10_000)
        self._max_states = max_states

    async def advise(self, context: StepContext) -> ToolUse | None:
        """Plans from the state at hand; None where the environment offers no symbols."""
        symbols = context.observation.symbols
        return None if symbols is None else await self._plan("the state in symbols", symbols)

    async def use(self, text: str) -> ToolUse | None:
        """Plans for the problem in a text; None if it holds none."""
        if fenced := _FENCED.findall(text):
            try:
                problem = json.loads(fenced[-1])
            except (ValueError, RecursionError) as error:
                return ToolUse(self.name, fenced[-1], "", f"invalid JSON: {error}")
        else:
            try:
                problem = json.loads(text[text.find("{") : text.rfind("}") + 1])
            except (ValueError, RecursionError):
                return None
        if not isinstance(problem, dict) or not {"init", "goal"} <= set(problem):
            return None
        return await self._plan(json.dumps(problem), problem)

    async def _plan(self, given: str, symbols: Mapping[str, Any]) -> ToolUse:
        started = time.perf_counter()
        # In a thread, so that other episodes go on meanwhile.
        output, error = await asyncio.to_thread(self._outcome, symbols)
        return ToolUse(self.name, given, output, error, time.perf_counter() - started)

    def _outcome(self, symbols: Mapping[str, Any]) -> tuple[str, str | None]:
        """The output and the error; exactly one of them says something."""
        try:
            problem = read_problem(symbols)
            plan = solve(problem, max_states=self._max_states, seconds=self.limits.seconds)
        except AmpError as error:
            return "", str(error)
        if plan is None:
            return "", "there is no plan: the goal can't be reached from here"
        steps = " ".join(f"{number}. {step.name}" for number, step in enumerate(plan, 1))
        output = f"Plan: {steps or 'nothing to do, the goal holds already'}"
        if len(output.encode()) > self.limits.output_bytes:
            return "", f"the plan has more than {self.limits.output_bytes} bytes"
        return output, None


def first_step(output: str) -> str | None:
    """Returns the first step of a plan that the tool found; None where there is nothing to do."""
    match = _FIRST.match(output)
    return None if match is None else match[1]
