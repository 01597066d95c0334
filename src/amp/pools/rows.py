"""One line of a pool's file: its fields, their other names, and what is wrong with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ALIASES: Mapping[str, tuple[str, ...]] = {
    "kind": ("kind", "exam", "domain", "task", "type"),
    "prompt_chars": ("prompt_chars", "problem_chars"),
    "completion_chars": ("completion_chars", "chars"),
}
"""Fields that may be called otherwise; the first that is there counts."""

_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*|(?=\.\d))(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d{0,14})", re.ASCII)
_EXACT = 2.0**53
_MOST = 1e12
"""Tokens or characters that can be meant; sums of more might overflow."""


class RowError(Exception):
    """What is wrong with a row, without its place."""


@dataclass(frozen=True, slots=True)
class PoolSample:
    """One recorded answer; None is what the row does not tell."""

    answer: str | None
    right: bool
    completion_tokens: float | None = None
    completion_chars: float | None = None
    prompt_tokens: float | None = None
    log_prob: float | None = None


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One task with its samples.

    Attributes:
        line: number of the line, from 1.
        group: None if the row names none.
        contradiction: the first ``correct`` that contradicts the equality of answer and gold.
        judged_otherwise: whether a right answer has another form than gold, such as ``(7 - 1) * 4``
            where gold is 24: then equality decides nothing.
    """

    line: int
    id: str
    kind: str
    group: str | None
    question: str
    gold: str | None
    prompt_tokens: float | None
    prompt_chars: float | None
    difficulty: Mapping[str, Any]
    extra: Mapping[str, Any]
    arms: Mapping[str, tuple[PoolSample, ...]]
    contradiction: str | None
    judged_otherwise: bool


def answer_text(value: object) -> str | None:
    """An answer as text, the same for all that are equal; None if it is none.

    Texts are stripped, and their case is kept. Numbers are numbers, whether written as such or as
    text: 18, 18.0 and "18" are equal; "018" is no number. Lists and objects are JSON.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        return _number_text(text) if _NUMBER.fullmatch(text) else text or None
    if isinstance(value, float | int) and not isinstance(value, bool):
        return _number_text(str(value))
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _number_text(text: str) -> str:
    number = float(text)
    if abs(number) < _EXACT and number.is_integer():
        return str(int(number))
    # Longer ones are kept digit by digit: a float would take different ones for equal.
    return text.removeprefix("+") if abs(number) >= _EXACT or math.isnan(number) else repr(number)


def contradicts(gold: object, answer: object, right: bool) -> bool | None:
    """Whether ``correct`` is wrong by answer = gold; None if equality does not decide.

    It decides between whole numbers, or numbers that are none of text, and between single letters.
    Other texts are not compared: plans, proofs and rounded numbers are right in many forms.
    """
    gold_form, answer_form = _form(gold), _form(answer)
    if gold_form is None or gold_form != answer_form:
        return None
    if gold_form == "letter":
        letters = str(gold).strip(), str(answer).strip()
        equal = letters[0] == letters[1]
        if not equal and letters[0].casefold() == letters[1].casefold():
            return None
    else:
        equal = math.isclose(float(str(gold)), float(str(answer)), rel_tol=1e-9)
    return equal != right


def _form(value: object) -> Literal["letter", "number"] | None:
    """What kind of plain value it is; None for all else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float | int):
        return "number"
    if isinstance(value, str):
        text = value.strip()
        if _WHOLE.fullmatch(text):
            return "number"
        return "letter" if len(text) == 1 and text.isalpha() else None
    return None


def read_row(line: int, content: Mapping[str, Any]) -> PoolRow:
    """Reads and checks one row.

    Raises:
        RowError: if a field is missing or wrong; names it.
    """
    rest = dict(content)
    name = _text(rest, "id")
    if not name:
        raise RowError("id is missing, expected a text or a whole number that no other row has")
    folder = name.rpartition("/")[0]
    kind = _text(rest, *ALIASES["kind"])
    group = _text(rest, "group")
    if group is None and {"source", "source_id"} <= rest.keys():
        group = f"{_text(rest, 'source')}/{_text(rest, 'source_id')}"
    question = _text(rest, "question") or ""
    gold = rest.pop("gold", None)
    prompt_tokens = _amount(rest, "prompt_tokens")
    prompt_chars = _amount(rest, *ALIASES["prompt_chars"])
    difficulty = rest.pop("difficulty", None)
    if isinstance(difficulty, float | int):
        difficulty = {"difficulty": difficulty}
    if not isinstance(difficulty, dict | None):
        raise RowError(f"difficulty is {_shown(difficulty)}, expected an object or a number")
    arms = rest.pop("arms", None)
    if not isinstance(arms, dict) or not arms:
        raise RowError(f"arms is {_shown(arms)}, expected an object with a list of samples by arm")
    read = {arm: tuple(_samples(arm, samples, gold)) for arm, samples in arms.items()}
    judged = [verdict for verdicts in read.values() for verdict in verdicts]
    return PoolRow(
        line,
        name,
        folder if kind is None else kind,
        group,
        question,
        answer_text(gold),
        prompt_tokens,
        prompt_chars,
        difficulty or {},
        rest,
        {arm: tuple(sample for sample, _ in verdicts) for arm, verdicts in read.items()},
        next((problem for _, problem in judged if problem), None),
        _form(gold) is not None and any(problem == "" for _, problem in judged),
    )


def _samples(arm: str, samples: object, gold: object) -> Iterator[tuple[PoolSample, str | None]]:
    """The samples of an arm, each with its contradiction; "" if it is right in another form."""
    if not arm.strip() or arm.startswith("|"):
        raise RowError(f"arms has the name {arm!r}, expected MODEL or MODEL|WAY")
    if not isinstance(samples, list) or not samples:
        raise RowError(f"arm {arm!r} is {_shown(samples)}, expected a list of samples")
    right_text = answer_text(gold)
    for number, content in enumerate(samples, 1):
        place = f"arm {arm!r}, sample {number}: "
        if not isinstance(content, dict):
            raise RowError(f"{place}{_shown(content)}, expected an object with answer and correct")
        correct = content.get("correct")
        if correct not in (0, 1):
            raise RowError(f"{place}correct is {_shown(correct)}, expected 0 or 1")
        answer, right = content.get("answer"), bool(correct)
        text = answer_text(answer)
        log_prob = content.get("log_prob")
        if log_prob is not None and not (_is_finite(log_prob) and log_prob <= 0):
            raise RowError(f"{place}log_prob is {_shown(log_prob)}, expected a number up to 0")
        _amount(content, "reasoning_tokens", place=place)
        wrong = contradicts(gold, answer, right)
        problem = None
        if wrong:
            relation = "differs from" if right else "equals"
            problem = (
                f"{place}correct is {_shown(correct)}, but answer {_shown(answer)} {relation} gold"
                f" {_shown(gold)}"
            )
        elif right and text not in (None, right_text) and _form(answer) != _form(gold):
            problem = ""
        yield (
            PoolSample(
                text,
                right,
                _amount(content, "completion_tokens", place=place),
                _amount(content, *ALIASES["completion_chars"], place=place),
                _amount(content, "prompt_tokens", place=place),
                None if log_prob is None else float(log_prob),
            ),
            problem,
        )


def _take(content: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Takes the value of the first of these names that is there and not null."""
    for name in names:
        value = content.pop(name, None)
        if value is not None:
            return value
    return None


def _text(content: dict[str, Any], *names: str) -> str | None:
    value = _take(content, names)
    if isinstance(value, str | None):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise RowError(f"{names[0]} is {_shown(value)}, expected a text")


def _amount(content: dict[str, Any], *names: str, place: str = "") -> float | None:
    value = _take(content, names)
    if value is None or (_is_finite(value) and 0 <= value <= _MOST):
        return None if value is None else float(value)
    raise RowError(f"{place}{names[0]} is {_shown(value)}, expected a number from 0 to {_MOST:g}")


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, float | int):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: object) -> str:
    text = "missing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
