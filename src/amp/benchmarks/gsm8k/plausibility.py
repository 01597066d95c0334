"""What an answer to a word problem looks like against what is asked, whoever gave it.

A count is no fraction and nothing is negative; a price may have two decimals. A result repeats a
number of the question seldom. A program that leaves a number of the question out, takes one from
nowhere, or computes what it never reads, has often misread the question; so has a chain of thought
whose equations do not hold or do not lead to its answer. Each of these tells little; together with
the model's own confidence they tell a right answer from a wrong one (`amp.assess.correctness`).
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from amp.assess.evidence import value_of
from amp.assess.text import numbers
from amp.execute.program import find_program, parse
from amp.execute.tools.calculator import equations, evaluate, parse_number, what_is_wrong
from amp.types import Candidate, StepContext

_MONEY = re.compile(r"[$\u20ac\u00a3]|\b(?:dollar|cent|cost|price|pay|earn)", re.IGNORECASE)
_COUNT = re.compile(r"\bhow many\b", re.IGNORECASE)
_PERCENT = re.compile(r"%|\bpercent", re.IGNORECASE)
_CACHED = 512


def plausibility(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """What a candidate looks like, as numbers by name.

    Those about the answer are missing where it is no number, those that compare it with the numbers
    of the question where there are none; those about the question are there in any case. Those
    about the working are of a program where the text has one, else of the equations that it states.
    """
    goal = context.task.goal
    asked = _asked(goal)
    looks = asked | working(candidate, goal)
    answer = _number(candidate.action)
    if answer is None:
        return looks
    whole = _is_whole(answer)
    named = _values(goal)
    size = math.log1p(abs(answer))
    looks |= {
        "negative": float(answer < 0.0),
        "zero": float(answer == 0.0),
        "below_one": float(0.0 < answer < 1.0),
        "fraction": float(not whole),
        "fraction_of_count": float(not whole and asked["asks_count"]),
        "fraction_of_money": float(not whole and asked["asks_money"]),
        "below_cents": float(not _is_whole(answer * 100.0)),
        "size": size,
    }
    if named:
        looks["over_largest"] = size - math.log1p(max(named))
        looks["repeats"] = float(answer in named)
    return looks


def working(candidate: Candidate, goal: str) -> dict[str, float]:
    """What the way to an answer looks like; nothing is executed.

    ``foreign``: log(1 + numbers that it takes from nowhere), ``foreign_share``: their share of its
    different numbers. ``below_zero``: whether a result on the way is negative, ``fractions``: the
    share of these that are not whole.

    Of a program that a tool ran, also ``left_out``: the share of the question's numbers that it
    does not compute with; ``idle``: variables that it sets and never reads; ``set_again``: how
    often it sets one that it has set; ``one_operation``: whether it computes no more than one
    thing. Of another text, ``wrong_equation``: whether one does not hold; ``derived``: whether the
    answer is the result of an equation, and ``last``: of the last one.
    """
    if not candidate.text:
        return {}
    program = find_program(candidate.text) if candidate.tool_uses else None
    tree = None if program is None else parse(program)
    return _of_chain(candidate.text, goal) if tree is None else _of_program(tree, goal)


def _of_program(tree: ast.Module, goal: str) -> dict[str, float]:
    nodes = list(ast.walk(tree))
    written = [value for node in nodes if (value := _constant(node)) is not None]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    stored = [name.id for name in names if isinstance(name.ctx, ast.Store)]
    read = {name.id for name in names if isinstance(name.ctx, ast.Load)}
    results = _results(tree)
    named = _values(goal)
    looks = {
        **_foreign(written, goal),
        **_on_the_way(results),
        "idle": float(len(set(stored) - read - {"answer"})),
        "set_again": float(len(stored) - len(set(stored))),
        "one_operation": float(len(results) <= 1),
    }
    if named:
        looks["left_out"] = len(named.difference(written)) / len(named)
    return looks


def _of_chain(text: str, goal: str) -> dict[str, float]:
    sides = list(equations(text))
    results = [value for left, _ in sides if (value := _evaluated(left)) is not None]
    stated = {said for _, right in sides if (said := _stated(right)) is not None}
    found = _values(_ITEM.sub("", text.split("####")[0])) - stated
    looks = {
        **_foreign(found, goal),
        **_on_the_way(results),
        "wrong_equation": float(any(what_is_wrong(*both) is not None for both in sides)),
    }
    final = re.search(rf"####\s*({_FINAL})", text)
    given = None if final is None else _stated(final[1])
    if given is not None and results:
        near = [abs(given - result) < _CENT for result in results]
        looks |= {"derived": float(any(near)), "last": float(near[-1])}
    return looks


def _stated(number: str) -> float | None:
    value = parse_number(number)
    return float(value) if value is not None and abs(value) < _LARGEST else None


def _evaluated(expression: str) -> float | None:
    try:
        value = evaluate(expression)
    except ValueError:
        return None
    return float(value) if abs(value) < _LARGEST else None


_ITEM = re.compile(r"^[^\S\n]*\d+[.)]", re.MULTILINE)
_FINAL = r"\$?-?[\d,]{1,20}(?:\.\d{1,20})?"


def _foreign(values: Iterable[float], goal: str) -> dict[str, float]:
    """How many numbers neither the question nor habit explains."""
    different = set(values)
    low = goal.lower()
    known = {number for word, number in _MEANT.items() if word in low} | _values(goal) | _USUAL
    count = len(different - known)
    return {"foreign": math.log1p(count), "foreign_share": count / max(1, len(different))}


_USUAL = {0.0, 1.0, 100.0}
_MEANT = {
    **{"half": 2.0, "twice": 2.0, "double": 2.0, "couple": 2.0, "pair": 2.0, "both": 2.0},
    **{"triple": 3.0, "thrice": 3.0, "third": 3.0, "quarter": 4.0, "week": 7.0, "dozen": 12.0},
    **{"year": 12.0, "day": 24.0, "hour": 60.0, "minute": 60.0},
}
"""What a word of the question brings in without a digit."""


def _on_the_way(results: list[float]) -> dict[str, float]:
    broken = sum(not _is_whole(result) for result in results)
    return {
        "below_zero": float(any(result < 0.0 for result in results)),
        "fractions": broken / max(1, len(results)),
    }


def _constant(node: ast.AST) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value) if abs(value) < _LARGEST else None
    return None


def _results(tree: ast.Module) -> list[float]:
    """What the assignments of a program compute, as far as they are plain arithmetic."""
    known: dict[str, float | None] = {}
    results: list[float] = []
    with suppress(RecursionError):  # a term of a thousand operations; what came before is kept
        for statement in tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    known[name] = _value(value, known, results)
                case ast.AugAssign(target=ast.Name(id=name), op=operator, value=value):
                    right = _value(value, known, results)
                    known[name] = _combine(known.get(name), operator, right, results)
    return results


def _value(node: ast.expr, known: dict[str, float | None], results: list[float]) -> float | None:
    match node:
        case ast.Name(id=name):
            return known.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _value(operand, known, results)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=operator, right=right):
            values = (_value(side, known, results) for side in (left, right))
            return _combine(next(values), operator, next(values), results)
        case ast.Call(func=ast.Name(id="int" | "round" | "float"), args=[argument, *_]):
            return _value(argument, known, results)
    return _constant(node)


def _combine(
    left: float | None, operator: ast.operator, right: float | None, results: list[float]
) -> float | None:
    if left is None or right is None:
        return None
    match operator:
        case ast.Add():
            value = left + right
        case ast.Sub():
            value = left - right
        case ast.Mult():
            value = left * right
        case ast.Div() if right:
            value = left / right
        case ast.FloorDiv() if right:
            value = left // right
        case ast.Mod() if right:
            value = left % right
        case _:
            return None
    if not abs(value) < _LARGEST:
        return None
    results.append(value)
    return value


_NOISE = 1e-6
_CENT = 0.01


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < _NOISE


def _number(action: str | None) -> float | None:
    try:
        value = math.nan if action is None else float(action)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < _LARGEST else None


_LARGEST = 1e15


@lru_cache(maxsize=_CACHED)
def _asked(goal: str) -> dict[str, float]:
    return {
        "asks_count": float(_COUNT.search(goal) is not None),
        "asks_money": float(_MONEY.search(goal) is not None),
        "asks_percent": float(_PERCENT.search(goal) is not None),
        "question_numbers": math.log1p(len(numbers(goal))),
        "question_words": math.log1p(len(goal.split())),
    }


@lru_cache(maxsize=_CACHED)
def _values(text: str) -> frozenset[float]:
    values = (float(value_of(number)) for number in numbers(text))
    return frozenset(value for value in values if value < _LARGEST)
