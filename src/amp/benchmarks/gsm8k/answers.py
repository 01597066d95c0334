"""Answers of GSM8K: the official rule, and how ours are brought into its form."""

from __future__ import annotations

import re
from fractions import Fraction

from amp.execute.tools.arithmetic import format_number

# grade-school-math, dataset.py: ANS_RE and extract_answer.
_OFFICIAL = re.compile(r"#### (\-?[0-9\.\,]+)")
_SIGNED = r"-?\s?\$?\s?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?"
_NUMBER = re.compile(rf"(?<![\w.]){_SIGNED}")
_FINAL = re.compile(rf"####\s*(?:[A-Za-z]+\s*[:=]\s*)?[*`]*({_SIGNED})")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_PHRASE = re.compile(rf"\banswer(?:\s+is\b|\s*[:=])[\s*`:\\(]*({_SIGNED})", re.IGNORECASE)
_LONGEST_NUMBER = 1_000  # characters; Python refuses to read numbers of more than 4,300 digits
_FRACTION = re.compile(r"-?\d{1,100}/0*[1-9]\d{0,100}")


def official_answer(text: str) -> str | None:
    """Returns what the official scorer takes as the answer of a text; None where it takes none.

    That is the first match of ``#### (\\-?[0-9\\.\\,]+)`` without its commas, as a string: the
    official scorer compares strings, so that ``72.0`` is not ``72`` to it.
    """
    match = _OFFICIAL.search(text)
    return match[1].strip().replace(",", "") if match else None


def normalise(text: str) -> str | None:
    """Writes the one number that a text states so that equal numbers are equal strings.

    Currency, thousands separators, a percent sign, units and trailing zeros go; noise of floating
    point goes with the seventh decimal: ``$1,200.00`` is ``1200``, ``17.999999999`` is ``18``, and
    ``7/2``, as Python writes a fraction, is ``3.5``. Idempotent.

    Returns:
        The number, or None if the text states none, or several different ones.
    """
    plain = _plain(text)
    if len(plain) > _LONGEST_NUMBER:
        return None
    if _FRACTION.fullmatch(plain):
        return _write(Fraction(plain))
    numbers = {_write(_read(number)) for number in _NUMBER.findall(plain)}
    if len(numbers) != 1 or len(number := numbers.pop()) > _LONGEST_NUMBER:
        return None
    return number


def final_answer(text: str) -> str | None:
    """Returns the number of the first ``#### N`` in a text, normalised; None if there is none."""
    match = _FINAL.search(_plain(text))
    return normalise(match[1]) if match else None


def read_answer(text: str) -> str | None:
    """Reads the final answer from a model's text, normalised.

    In this order: ``#### N``; the last ``\\boxed{N}``; the last phrase such as "the answer is N"; a
    text that is nothing but one number; the last number of a closing line that is a finished
    sentence, since models end in "Therefore, 12 eggs are left." when they forget the form. A last
    line without a full stop may have been cut off, so it counts for nothing.
    """
    answer = final_answer(text)
    if answer is not None:
        return answer
    plain = _plain(text)
    for pattern in (_BOXED, _PHRASE):
        if found := pattern.findall(plain):
            return normalise(found[-1])
    if _NUMBER.fullmatch(plain):
        return normalise(plain)
    lines = plain.splitlines()
    if not lines or not lines[-1].rstrip("* )\\").endswith("."):
        return None
    numbers = _NUMBER.findall(lines[-1])
    return normalise(numbers[-1]) if numbers else None


def _plain(text: str) -> str:
    return text.strip().replace("\u2212", "-")


def _read(number: str) -> Fraction:
    return Fraction(re.sub(r"[\s$,]", "", number).replace("--", "-"))


def _write(value: Fraction) -> str:
    return format_number(round(value, 6))
