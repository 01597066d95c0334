"""Exact arithmetic on expressions as people write them; nothing is ever executed."""

from __future__ import annotations

import ast
import re
import warnings
from fractions import Fraction

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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd literals, such as 1or 2
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
    match = _NUMBER.fullmatch(plain)
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
