"""The calculator: puts right values into annotations, and finds equations that are wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from amp.execute.base import ToolLimits
from amp.execute.tools.arithmetic import agrees, evaluate, format_number
from amp.types import StepContext, ToolUse, Usage

__all__ = ["CalculatorTool", "evaluate", "wrong_equation"]

# GSM8K's annotations: <<48/2=24>>. The value, and what closes it, may be missing.
_ANNOTATION = re.compile(r"<<([^<>=\n]+)(?:=([^<>=\n]*))?>>|<<([^<>=\n]+)=\s*\Z")
_COMPLETE_ANNOTATION = re.compile(r"<<[^<>\n]*>>")

_LIST_MARK = re.compile(
    r"^[ \t]*(?:[-*•][ \t]+)?(?:\**step[ \t]*)?(?:\d+[.):]\**[ \t]+)?(?:[-*•][ \t]+)?",
    re.MULTILINE | re.IGNORECASE,
)
_N = r"\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)%?"
_OPERATOR = r"(?:\*\*|//|[-+*/^\u00d7·÷\u2212xX])"
_LEFT = re.compile(rf"(?<![\d.,])\(*-?{_N}\)*(?:[ \t]*{_OPERATOR}[ \t]*\(*-?{_N}\)*)+(?=[ \t]*\Z)")
_RIGHT = re.compile(rf"=[ \t]*(-?{_N})")
_LONGEST_LEFT = 200  # characters; keeps the search linear in the length of the text
# What may stand before: nothing, or a word, bracket or mark that a space or nothing separates. An
# operator, a number or a sign of a larger term makes the left side a part of something else.
_BEFORE = re.compile(
    r"(?:^|(?P<word>[^\W\d_]{2,})[,:;.]?[ \t]+|[=≈>\]`\"'][ \t]*|[:;,.][ \t]+|\ba[ \t]+)\Z",
    re.IGNORECASE,
)
_JOINS = frozenset({"and", "plus", "minus", "times", "over", "of", "by"})
_AFTER = re.compile(
    rf"\d|[^\W\d]|[ \t]*(?:{_OPERATOR}[ \t]*[\d($\w]|[\d(:]"
    r"|(?:hundred|thousand|million|billion|dozen|cents?)\b)",
    re.IGNORECASE,
)


class CalculatorTool:
    """Corrects the first annotation ``<<expression=value>>`` whose value is missing or wrong.

    The answer's `resume` is the text up to there with the right value in it: the model goes on from
    what is correct, instead of building on a slip. An expression that is no arithmetic is passed
    over if the model gave it a value, and is an error if the model left the value to the tool.
    """

    name = "calculator"
    description = "computes the value of an expression written as <<expression=value>>"
    limits = ToolLimits(seconds=1.0, output_bytes=10_000)  # `evaluate` holds both by its bounds
    cost = Usage(tool_calls=1)

    @property
    def schema(self) -> Mapping[str, Any]:
        return {"type": "string", "description": "an arithmetic expression"}

    async def advise(self, context: StepContext) -> None:
        """It works on what was written and can't advise."""

    async def use(self, text: str) -> ToolUse | None:
        """Corrects the first wrong annotation; None if there is none."""
        started = time.perf_counter()
        for match in _ANNOTATION.finditer(text):
            expression = (match[1] or match[3]).strip()
            stated = (match[2] or "").strip()
            try:
                value = evaluate(expression)
            except ValueError as error:
                if stated:
                    continue
                seconds = time.perf_counter() - started
                return ToolUse("calculator", expression, "", str(error), seconds)
            if stated and agrees(value, stated, divided="/" in expression):
                continue
            output = format_number(value)
            resume = f"{text[: match.start()]}<<{expression}={output}>>"
            seconds = time.perf_counter() - started
            return ToolUse("calculator", expression, output, None, seconds, resume)
        return None


def wrong_equation(text: str) -> str | None:
    """Finds a stated equation that does not hold, such as ``3 * 4 = 13``.

    Only what is certainly an equation counts: numbers, operators and parentheses on the left, one
    number on the right, and nothing on either side that could make them part of something larger.
    Words or units in between mean that it is none. A right side rounded to the digits that it
    states holds, after a division also one that is cut off or rounded up.

    Returns:
        What is wrong in words, ``3 * 4 is 12, not 13``, of the first such equation; None otherwise.
    """
    annotations = " ; ".join(mark[2:-2] for mark in _COMPLETE_ANNOTATION.findall(text))
    return _first_wrong(annotations) or _first_wrong(_COMPLETE_ANNOTATION.sub("", text))


def _first_wrong(text: str) -> str | None:
    for line in _LIST_MARK.sub("", text).splitlines():
        for right in _RIGHT.finditer(line):
            begin = max(0, right.start() - _LONGEST_LEFT)
            left = _LEFT.search(line[begin : right.start()])
            if left is None or (begin and left.start() == 0):
                continue
            if _stands_alone(line[: begin + left.start()], line[right.end() :]):
                wrong = _what_is_wrong(left[0], right[1])
                if wrong is not None:
                    return wrong
    return None


def _stands_alone(before: str, after: str) -> bool:
    """Whether nothing around an equation could make it part of something larger."""
    match = _BEFORE.search(before[-_LONGEST_LEFT:])
    if match is None or (match["word"] or "").lower() in _JOINS:
        return False
    return _AFTER.match(after) is None


def _what_is_wrong(left: str, stated: str) -> str | None:
    if len(re.findall(r"[/÷]", left)) > 1:
        return None  # "2 / 1/3 = 6" means a division by a third, and nothing here says so
    if "%" in left and re.search(r"[-+\u2212]", left):
        return None  # "50 - 20% = 40" means a fifth of the 50: no arithmetic of numbers
    try:
        value = evaluate(left)
    except ValueError:
        return None
    if agrees(value, stated, divided=bool(re.search(r"[/÷]", left))):
        return None
    return f"{' '.join(left.split())} is {format_number(value)}, not {stated}"
