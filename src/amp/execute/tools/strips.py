"""STRIPS planning: facts, ground actions, a search for a plan, and a reader of PDDL.

Fikes and Nilsson 1971, "STRIPS: A New Approach to the Application of Theorem Proving to Problem
Solving". There are no negative preconditions: where one is needed, its opposite is a fact of its
own that actions add and delete.

The reader takes PDDL (Ghallab et al. 1998, "PDDL: The Planning Domain Definition Language") whose
actions are STRIPS without types. Not covered, and refused: types, negative and disjunctive
conditions, quantifiers, conditional effects, costs.
"""

from __future__ import annotations

import heapq
import itertools
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from amp.errors import AmpError, InvalidInputError


class SearchLimitError(AmpError):
    """A search ended at its limit of states or seconds; whether there is a plan is unknown."""


@dataclass(frozen=True, slots=True)
class Action:
    """One ground action.

    Attributes:
        name: what it is called in a plan.
        preconditions: facts that must hold before it.
        add: facts that hold after it.
        delete: facts that hold no more after it, unless it adds them, too.
        cost: at least 1.

    Raises:
        InvalidInputError: if the cost is less than 1.
    """

    name: str
    preconditions: frozenset[str] = frozenset()
    add: frozenset[str] = frozenset()
    delete: frozenset[str] = frozenset()
    cost: int = 1

    def __post_init__(self) -> None:
        if self.cost < 1:
            raise InvalidInputError(
                f"action {self.name!r}: cost is {self.cost}, expected 1 or more"
            )

    def after(self, state: frozenset[str]) -> frozenset[str] | None:
        """Returns the state after it, or None where it can't be done."""
        return (state - self.delete) | self.add if self.preconditions <= state else None


@dataclass(frozen=True, slots=True)
class Problem:
    """The facts that hold now, those that shall hold, and what can be done."""

    init: frozenset[str]
    goal: frozenset[str]
    actions: tuple[Action, ...]


def follow(state: frozenset[str], plan: Iterable[Action]) -> frozenset[str] | None:
    """Returns the state after the actions in turn, or None where one of them can't be done.

    The time is that of the plan and the state added up, not multiplied.
    """
    facts = set(state)
    for action in plan:
        if not action.preconditions <= facts:
            return None
        facts -= action.delete
        facts |= action.add
    return frozenset(facts)


def solve(
    problem: Problem,
    *,
    cheapest: bool = False,
    max_states: int = 100_000,
    seconds: float = 5.0,
) -> tuple[Action, ...] | None:
    """Returns a plan, or None if there provably is none.

    A* with the heuristic h_FF (Hoffmann and Nebel 2001, "The FF Planning System", section 4): any
    plan, usually a cheap one. On demand with h_max (Bonet and Geffner 2001, "Planning as Heuristic
    Search", section 4): a plan of the least total cost, for small problems, since it takes far more
    states. The same problem gives the same plan; between equals the actions' order decides.

    Args:
        problem: the problem.
        cheapest: whether the plan has to be of the least cost.
        max_states: states that are expanded at most.
        seconds: time that is taken at most.

    Raises:
        SearchLimitError: if a limit ends the search.
    """
    clock = _Clock(seconds)
    actions, init, goal = _compiled(problem, clock)
    distance = _relaxed(actions, goal, init, clock, cheapest=cheapest)
    if distance is None:
        return None
    order = itertools.count()
    # Least sum of cost and distance first; among equal sums, the state nearer to the goal.
    frontier = [(distance, distance, next(order), init, 0)]
    costs: dict[int, int] = {init: 0}
    distances: dict[int, int | None] = {init: distance}
    reached_by: dict[int, tuple[int, _Masks]] = {}
    expanded: set[int] = set()
    while frontier:
        _, _, _, state, cost = heapq.heappop(frontier)
        if state in expanded:
            continue
        if state & goal == goal:
            return _way(state, reached_by, problem.actions)
        if len(expanded) == max_states:
            raise SearchLimitError(f"no plan found within {max_states:,} states")
        expanded.add(state)
        for action in actions:
            if action.preconditions & ~state:
                continue
            then, cost_then = (state & ~action.delete) | action.add, cost + action.cost
            if cost_then >= costs.get(then, cost_then + 1):
                continue
            if then not in distances:
                distances[then] = _relaxed(actions, goal, then, clock, cheapest=cheapest)
            distance = distances[then]
            if distance is not None:
                costs[then] = cost_then
                reached_by[then] = (state, action)
                entry = (cost_then + distance, distance, next(order), then, cost_then)
                heapq.heappush(frontier, entry)
    return None


class _Clock:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise SearchLimitError(f"no plan found within {self._seconds:g} seconds")


@dataclass(frozen=True, slots=True)
class _Masks:
    """An action whose sets of facts are the bits of integers; much faster than sets of strings."""

    index: int
    preconditions: int
    add: int
    delete: int
    cost: int


def _compiled(problem: Problem, clock: _Clock) -> tuple[list[_Masks], int, int]:
    """The actions that could ever be done, the state, and the goal, as integers."""
    reached, possible = problem.init, []
    left = list(enumerate(problem.actions))
    while ready := [(i, action) for i, action in left if action.preconditions <= reached]:
        clock.check()
        possible += ready
        left = [(i, action) for i, action in left if not action.preconditions <= reached]
        reached = reached.union(*(action.add for _, action in ready))
    bits = {fact: 1 << number for number, fact in enumerate(sorted(reached | problem.goal))}
    actions = [
        _Masks(
            index,
            _mask(action.preconditions, bits),
            _mask(action.add, bits),
            _mask(action.delete & reached, bits),
            action.cost,
        )
        for index, action in sorted(possible, key=lambda numbered: numbered[0])
    ]
    return actions, _mask(problem.init, bits), _mask(problem.goal, bits)


def _mask(facts: Iterable[str], bits: Mapping[str, int]) -> int:
    return sum(bits[fact] for fact in facts)


def _relaxed(
    actions: list[_Masks], goal: int, state: int, clock: _Clock, *, cheapest: bool
) -> int | None:
    """Estimates the cost from a state to the goal as if nothing were ever deleted; None: never.

    h_max, the cost at which the last goal fact can first hold, never overestimates and is
    consistent. h_FF, the cost of a plan without deletions, knows that several facts take several
    actions; it guides far better, and may overestimate.
    """
    reached, cost, waiting = state, 0, actions
    arriving: dict[int, list[_Masks]] = {}  # by the cost from which on an action's facts hold
    arrived: list[tuple[int, list[_Masks]]] = []  # what was new then, and which actions bring it
    while goal & ~reached:
        clock.check()
        left = []
        for action in waiting:
            if action.preconditions & ~reached:
                left.append(action)
            elif action.add & ~reached:
                arriving.setdefault(cost + action.cost, []).append(action)
        waiting = left
        if not arriving:
            return None
        cost = min(arriving)
        bringing, before = arriving.pop(cost), reached
        for action in bringing:
            reached |= action.add
        arrived.append((reached & ~before, bringing))
    if cheapest:
        return cost
    needed, total = goal, 0
    for new, bringing in reversed(arrived):
        missing = needed & new
        for action in bringing:
            if action.add & missing:
                missing &= ~action.add
                needed |= action.preconditions
                total += action.cost
    return total


def _way(
    state: int, reached_by: Mapping[int, tuple[int, _Masks]], actions: tuple[Action, ...]
) -> tuple[Action, ...]:
    way = []
    while state in reached_by:
        state, action = reached_by[state]
        way.append(actions[action.index])
    return tuple(reversed(way))


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
