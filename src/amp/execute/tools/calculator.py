"""The calculator: puts right values into annotations, and finds equations that are wrong.

It evaluates expressions as people write them, exactly; nothing is ever executed.
"""

from __future__ import annotations

import ast
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from amp.execute.base import Tool, ToolLimits
from amp.types import ToolUse

_LONGEST_EXPRESSION = 500  # characters
_LARGEST_EXPONENT = 10_000
_LARGEST_BITS = 14_000  # of a numerator or denominator; Python refuses to write 14,300 and more
_LARGEST_POWER_BITS = 20_000  # about those of a power before it is computed

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_PERCENT = re.compile(r"(\d[\d.]*|\.\d+)\s*%(?=\s*(?:[-+*/)]|$))")
_TIMES = re.compile(r"(?<=[\d).%])(\s*)[xX](?=\s*[\d(.$])")
_SIGNS = str.maketrans({"\u00d7": "*", "·": "*", "÷": "/", "\u2212": "-", "\u2013": "-", "$": None})
_NUMBER = re.compile(r"([-+]?(?:\d+(?:\.\d+)?|\.\d+))(%?)\.?")


def evaluate(expression: str) -> Fraction:
    """Returns the value of an arithmetic expression, exactly.

    Understood are numbers (``1,200``, ``$3.50``, ``20%``), ``+ - * / // %``, ``x`` and the
    typographic signs of multiplication and division between numbers, powers as ``**`` or ``^``,
    signs and parentheses. A percent sign before an operator, a closing parenthesis or the end is
    "per cent"; before a number it is the remainder. A power with a fractional exponent is computed
    in floating point.

    Raises:
        ValueError: if it is anything else, divides by zero, or is too large; says which.
    """
    if len(expression) > _LONGEST_EXPRESSION:
        raise ValueError(f"expression has more than {_LONGEST_EXPRESSION} characters")
    source = _THOUSANDS.sub("", expression.translate(_SIGNS)).replace("^", "**")
    source = _PERCENT.sub(r"(\1/100)", _TIMES.sub(r"\1*", source)).strip()
    try:
        with warnings.catch_warnings(action="ignore"):  # about odd literals, such as 1or 2
            tree = ast.parse(source, mode="eval")
        return _value(tree.body)
    except ZeroDivisionError:
        raise ValueError(f"division by zero in {expression!r}") from None
    except (SyntaxError, RecursionError, MemoryError, OverflowError):
        raise ValueError(f"not an arithmetic expression: {expression!r}") from None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            # The shortest decimal that reads as this float is what was written: 0.1 is a tenth.
            return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            value = _combine(_value(left), operator, _value(right))
            if max(value.numerator.bit_length(), value.denominator.bit_length()) > _LARGEST_BITS:
                raise ValueError(f"a value has more than {_LARGEST_BITS:,} bits")
            return value
    raise ValueError(f"{type(node).__name__} is not arithmetic")


def _combine(left: Fraction, operator: ast.operator, right: Fraction) -> Fraction:
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return Fraction(left // right)
        case ast.Mod():
            return left % right
        case ast.Pow():
            return _power(left, right)
    raise ValueError(f"{type(operator).__name__} is not arithmetic")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) > _LARGEST_EXPONENT or bits * abs(exponent) > _LARGEST_POWER_BITS:
        raise ValueError(f"power too large: exponent {exponent} of a number of {bits} bits")
    if exponent.denominator == 1:
        return Fraction(base ** int(exponent))
    if base < 0:
        raise ValueError("fractional power of a negative number")
    return Fraction(repr(float(base) ** float(exponent)))


def format_number(value: Fraction) -> str:
    """Writes a number the shortest way: ``72``, ``0.5``, ``0.333333``; at most six decimals.

    Numbers nearer to zero than that keep six significant digits.
    """
    if value.denominator == 1:
        return str(value.numerator)
    scaled = round(abs(value) * 10**6)
    if scaled == 0:
        return f"{float(value):.6g}"
    whole, decimals = divmod(scaled, 10**6)
    text = f"{whole}.{decimals:06d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text


def parse_number(text: str) -> Fraction | None:
    """Reads one number with its signs of currency, thousands and per cent; None if it is none."""
    plain = re.sub(r"[\s,$]", "", text.replace("\u2212", "-"))
    match = _NUMBER.fullmatch(plain) if len(plain) <= _LONGEST_EXPRESSION else None
    return Fraction(match[1]) / (100 if match[2] else 1) if match else None


def agrees(value: Fraction, stated: str, *, divided: bool = False) -> bool:
    """Whether a stated number is the value, rounded to as many decimals as it states.

    Args:
        value: the exact value.
        stated: a number as written, such as ``$1,200.5`` or ``25%``. A percentage agrees with both
            readings, 0.25 and 25, since people write both.
        divided: also accept a value that was cut off or rounded up instead of rounded, as people do
            after a division (buses for 10/3 classes: 4).
    """
    number = parse_number(stated)
    if number is None:
        return False
    decimals = re.search(r"\.(\d+)", stated)
    unit = Fraction(1, 10 ** (len(decimals[1]) if decimals else 0))
    readings = [(number, unit)]
    if "%" in stated:
        readings = [(number, unit / 100), (number * 100, unit)]
    for reading, last_digit in readings:
        difference = abs(value - reading)
        if difference <= last_digit / 2 or (divided and difference < last_digit):
            return True
    return False


__all__ = ["CalculatorTool", "equations", "evaluate", "what_is_wrong", "wrong_equation"]

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


class CalculatorTool(Tool):
    """Corrects the first annotation ``<<expression=value>>`` whose value is missing or wrong.

    The answer's `resume` is the text up to there with the right value in it: the model goes on from
    what is correct, instead of building on a slip. An expression that is no arithmetic is passed
    over if the model gave it a value, and is an error if the model left the value to the tool.
    """

    name = "calculator"
    description = "computes the value of an expression written as <<expression=value>>"
    limits = ToolLimits(seconds=1.0, output_bytes=10_000)  # `evaluate` holds both by its bounds
    schema: Mapping[str, Any] = {"type": "string", "description": "an arithmetic expression"}

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
    for left, stated in equations(text):
        if (wrong := what_is_wrong(left, stated)) is not None:
            return wrong
    return None


def equations(text: str) -> Iterator[tuple[str, str]]:
    """What is certainly an equation in a text: its left side, and the number on its right.

    Those of annotations come first. See `wrong_equation` for what counts.
    """
    annotations = " ; ".join(mark[2:-2] for mark in _COMPLETE_ANNOTATION.findall(text))
    for part in (annotations, _COMPLETE_ANNOTATION.sub("", text)):
        for line in _LIST_MARK.sub("", part).splitlines():
            for right in _RIGHT.finditer(line):
                begin = max(0, right.start() - _LONGEST_LEFT)
                left = _LEFT.search(line[begin : right.start()])
                if left is None or (begin and left.start() == 0):
                    continue
                if _stands_alone(line[: begin + left.start()], line[right.end() :]):
                    yield left[0], right[1]


def _stands_alone(before: str, after: str) -> bool:
    """Whether nothing around an equation could make it part of something larger."""
    match = _BEFORE.search(before[-_LONGEST_LEFT:])
    if match is None or (match["word"] or "").lower() in _JOINS:
        return False
    return _AFTER.match(after) is None


def what_is_wrong(left: str, stated: str) -> str | None:
    """Why an equation of `equations` does not hold, in words; None if it does."""
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
