"""Reads PDDL: domains whose actions are STRIPS without types, and the problems of such domains.

Ghallab et al. 1998, "PDDL: The Planning Domain Definition Language". Not covered, and refused:
types, negative and disjunctive conditions, quantifiers, conditional effects, costs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from amp.errors import InvalidInputError
from amp.execute.tools.strips import Action

Expression: TypeAlias = "str | list[Expression]"

_FOLDER = Path(__file__).parents[2] / "data" / "planning"
_COMMENT = re.compile(r";[^\n]*")
_TOKEN = re.compile(r"[()]|[^\s()]+")
_DEEPEST = 20  # parentheses within each other; STRIPS has six
_LARGEST = 200  # words of an action's facts; those of Logistics have 27 at most
_BEYOND = frozenset({"-", "=", "and", "or", "not", "imply", "exists", "forall", "when"})
"""Words that stand in no plain fact and no list of names without types."""


@dataclass(frozen=True, slots=True)
class Schema:
    """An action with parameters. A fact is its predicate and its arguments, with spaces between.

    Attributes:
        name: what it is called in a plan.
        parameters: in the order of a plan's arguments.
        preconditions: facts that must hold before it.
        add: facts that hold after it.
        delete: facts that hold no more after it, unless it adds them, too.
    """

    name: str
    parameters: tuple[str, ...]
    preconditions: frozenset[str]
    add: frozenset[str]
    delete: frozenset[str]

    def on(self, objects: Sequence[str]) -> Action | None:
        """Returns the action on these objects; None if it takes more of them, or fewer."""
        if len(objects) != len(self.parameters):
            return None
        binding = dict(zip(self.parameters, objects, strict=True))
        preconditions, add, delete = (
            frozenset(" ".join(binding.get(word, word) for word in fact.split()) for fact in facts)
            for facts in (self.preconditions, self.add, self.delete)
        )
        return Action(" ".join((self.name, *objects)), preconditions, add, delete)


Domain: TypeAlias = Mapping[str, Schema]
"""The actions of a kind of problem by their names."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A problem of a domain: the objects, the facts that hold now, and those that shall hold."""

    objects: frozenset[str]
    init: frozenset[str]
    goal: frozenset[str]


@cache
def load_domain(name: str) -> Domain:
    """Reads a domain that the package brings, such as ``blocksworld``."""
    return read_domain((_FOLDER / f"{name}.pddl").read_text("utf-8"))


def read_domain(text: str) -> Domain:
    """Reads the last ``(define (domain NAME) ...)`` of a text, in small letters.

    Raises:
        InvalidInputError: if there is none, it is cut off, or it says more than STRIPS can.
    """
    definition, _ = _definition(text, "domain", {":requirements", ":predicates", ":action"})
    schemas = [_schema(part) for part in definition if part[0] == ":action"]
    return {schema.name: schema for schema in schemas}


def read_instance(text: str) -> Instance:
    """Reads ``(define (problem NAME) ...)`` at the end of a text, in small letters.

    Words without parentheses may follow it; where more does, it is an example with its plan.

    Raises:
        InvalidInputError: as `read_domain`.
    """
    definition, rest = _definition(text, "problem", {":domain", ":objects", ":init", ":goal"})
    if "(" in rest:
        raise InvalidInputError("more follows the problem, expected its end")
    parts = {str(part[0]): part[1:] for part in definition}
    objects, init, goal = (parts.get(key, []) for key in (":objects", ":init", ":goal"))
    if len(goal) != 1:
        raise InvalidInputError(f"found {len(goal)} goals, expected one: (:goal CONDITION)")
    return Instance(
        frozenset(map(_word, objects)),
        frozenset(map(_fact, init)),
        frozenset(map(_fact, _conjuncts(goal[0]))),
    )


def _definition(
    text: str, kind: str, keywords: Collection[str]
) -> tuple[list[list[Expression]], str]:
    """The parts of the last definition of a kind, such as ``(:init ...)``, and what follows it."""
    text = _COMMENT.sub("", text).lower()
    starts = [found.start() for found in re.finditer(rf"\(\s*define\s*\(\s*{kind}\b", text)]
    if not starts:
        raise InvalidInputError(f"no definition, expected (define ({kind} NAME) ...)")
    (_, _, *whole), rest = _expression(text[starts[-1] :])
    parts = []
    for part in whole:
        match part:
            case [str(keyword), *_] if keyword in keywords:
                parts.append(part)
            case _:
                raise InvalidInputError(
                    f"a {kind} has more than STRIPS, expected {', '.join(sorted(keywords))}"
                )
    return parts, rest


def _expression(text: str) -> tuple[list[Expression], str]:
    """The list that a text begins with, and the rest. A stack, since strangers nest without end."""
    stack: list[list[Expression]] = []
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token == "(":
            if len(stack) == _DEEPEST:
                raise InvalidInputError(f"more than {_DEEPEST} parentheses within each other")
            inner: list[Expression] = []
            if stack:
                stack[-1].append(inner)
            stack.append(inner)
        elif token == ")":
            last = stack.pop()
            if not stack:
                return last, text[found.end() :]
        else:
            stack[-1].append(token)
    raise InvalidInputError("the definition is cut off, expected a closing parenthesis")


def _schema(part: list[Expression]) -> Schema:
    match part:
        case [_, str(name), ":parameters", list(names), ":precondition", before, ":effect", after]:
            add, delete = [], []
        case _:
            raise InvalidInputError("an action lacks :parameters, :precondition or :effect")
    for effect in _conjuncts(after):
        match effect:
            case ["not", fact]:
                delete.append(_fact(fact))
            case fact:
                add.append(_fact(fact))
    parameters, needed = tuple(map(_word, names)), list(map(_fact, _conjuncts(before)))
    used = [word for fact in (*needed, *add, *delete) for word in fact.split()]
    if len(used) > _LARGEST:  # each time that a plan does it, they are gone through
        raise InvalidInputError(f"action {name}: {len(used)} words, expected at most {_LARGEST}")
    if free := {word for word in used if word[0] == "?"} - set(parameters):
        raise InvalidInputError(f"action {name}: {min(free)} is no parameter of it")
    return Schema(name, parameters, frozenset(needed), frozenset(add), frozenset(delete))


def _conjuncts(condition: Expression) -> list[Expression]:
    match condition:
        case []:
            return []
        case ["and", *conditions]:
            return conditions
    return [condition]


def _fact(expression: Expression) -> str:
    if not isinstance(expression, list) or not expression:
        raise InvalidInputError("expected a fact such as (on a b)")
    return " ".join(map(_word, expression))


def _word(expression: Expression) -> str:
    if isinstance(expression, list) or expression in _BEYOND:
        found = "a list" if isinstance(expression, list) else expression
        raise InvalidInputError(f"found {found}, expected a name: STRIPS without types")
    return expression
