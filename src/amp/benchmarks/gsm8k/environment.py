"""The state of one word problem, where a text states its answer, and the official verdict on it.

`amp.benchmarks.gsm8k.numbers` says what the number in an answer is.
"""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import Iterator
from typing import Literal

from amp.assess.evidence import remaining_quantities
from amp.assess.uncertainty import saturating
from amp.benchmarks.gsm8k.numbers import (
    BEGIN,
    Stated,
    normalise,
    plain_text,
    signs_of,
    stated_at,
    written,
)
from amp.errors import InvalidInputError
from amp.types import Observation, Task, Transition

# grade-school-math, dataset.py: ANS_RE and extract_answer.
_OFFICIAL = re.compile(r"#### (\-?[0-9\.\,]+)")


def official_answer(text: str) -> str | None:
    """Returns what the official scorer takes as the answer of a text; None where it takes none.

    That is the first match of ``#### (\\-?[0-9\\.\\,]+)`` without its commas, as a string: the
    official scorer compares strings, so that ``72.0`` is not ``72`` to it.
    """
    match = _OFFICIAL.search(text)
    return match[1].strip().replace(",", "") if match else None


def final_answer(text: str) -> str | None:
    """Returns the number of the first ``#### N`` in a text, normalised; None if there is none.

    The value is taken: ``#### 18 - 5 = 13`` is 13, where the official scorer takes the 18.
    """
    plain = plain_text(text)
    return _marked(plain, headings=False) or _marked(plain, headings=True)


def read_answer(text: str) -> str | None:
    """Reads the final answer from a model's text, normalised.

    In this order: ``#### N``; the last ``\\boxed{N}``; the last phrase such as "the answer is N" or
    heading such as "Final Answer"; a text that is nothing but one number or equation; a number in
    bold in the last line or alone on a line; the last number of a closing line that is a finished
    sentence, since models end in "Therefore, 12 eggs are left." when they forget the form. A last
    line without a full stop may have been cut off, so it counts for nothing.
    """
    plain = plain_text(text)
    if (answer := _marked(plain, headings=False)) is not None:
        return answer
    for stated in (_boxed(plain), _said(plain), _alone(plain)):
        if stated is not None:
            return written(stated)
    return _bold(text) or _closing(plain) or _marked(plain, headings=True)


_MARK = re.compile(r"####[#\s]*+(?:[A-Za-z][A-Za-z ,']{0,40}?(?:\bis\b|[:=]))?")
_LIST = re.compile(r"[.):]\s+[A-Z]")
_BOX = re.compile(r"\\(?:f?boxed|fbox)\s?\{|\{|\}")
_MOST_BOXES = 8
_PHRASE = re.compile(
    r"<answer>|\banswer\b(?:[^\n\d.:=#?!]{0,60}?(?:\bis\b|\bwould be\b|\bequals\b|:"
    r"|(?<![-+*/%=<>!])=(?!=)|\u2192|->|\s-\s)|[ *_:]{0,6}\n)",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(?:\*\*|__) ?([^*_\n]{1,60}?) ?(?:\*\*|__)")
_BOLD_LINE = re.compile(r"\s*(?:\*\*|__)[^*_\n]{1,60}(?:\*\*|__)[.!]?\s*")
_FEW_WORDS = re.compile(r"(?:\s?[A-Za-z%]{1,20}){0,3}[.!]?\s?")
_BRACKETS = re.compile(r"\([^()]*\)")


def _marked(plain: str, *, headings: bool) -> str | None:
    """The number behind the first ``####`` that has one; headings count up from 1 and are none."""
    heading = 1
    for mark in _MARK.finditer(plain):
        stated = stated_at(plain, mark.end())
        if stated is None or stated.value is None:
            continue
        if stated.value == heading and _LIST.match(plain, stated.end):
            if headings:
                return written(stated)
            heading += 1
        elif not headings:
            return written(stated)
    return None


def _boxed(plain: str) -> Stated | None:
    """What the last box with a digit in it states."""
    contents: deque[tuple[int, int]] = deque(maxlen=_MOST_BOXES)
    open_braces: list[int | None] = []  # where the content begins, of those that are boxes
    for brace in _BOX.finditer(plain):
        if brace[0] != "}":
            open_braces.append(None if brace[0] == "{" else brace.end())
        elif open_braces and (start := open_braces.pop()) is not None:
            contents.append((start, brace.start()))
    for start, end in reversed(contents):
        content = plain[start:end]
        if begin := BEGIN.search(content):
            return stated_at(content, begin.start())
    return None


def _said(plain: str) -> Stated | None:
    """What the last phrase or heading states that names the answer."""
    for phrase in reversed(list(_PHRASE.finditer(plain))):
        if stated := stated_at(plain, phrase.end()):
            return stated
    return None


def _alone(plain: str) -> Stated | None:
    """What a text states that is nothing but one number or equation."""
    stated = stated_at(plain, 0)
    return stated if stated and not plain[stated.end :].strip(" \n\t.*)]}!,;$\"'") else None


def _bold(text: str) -> str | None:
    """The last number in bold that is alone on its line or stands in the last line."""
    lines = [line for line in signs_of(text).splitlines() if line.strip()]
    for line in reversed(lines):
        if line is not lines[-1] and not _BOLD_LINE.fullmatch(line):
            continue
        for content in reversed(_BOLD.findall(line)):
            stated = stated_at(content, 0)
            if stated and stated.value is not None and _FEW_WORDS.fullmatch(content, stated.end):
                return written(stated)
    return None


def _closing(plain: str) -> str | None:
    """The last number of a closing line that is a finished sentence, brackets left out."""
    lines = plain.rstrip().splitlines()
    if not lines or not lines[-1].rstrip("* )\\").endswith((".", "!")):
        return None
    outside = _BRACKETS.sub("", lines[-1])
    line = outside if BEGIN.search(outside) else lines[-1]
    found = [stated for stated in _statements(line) if stated.value is not None]
    return written(found[-1]) if found else None


def _statements(line: str) -> Iterator[Stated]:
    at = 0
    while begin := BEGIN.search(line, at):
        stated = stated_at(line, begin.start())
        if stated is None:
            return
        yield stated
        at = stated.end


StepKind = Literal["solution", "reasoning"]

_TYPICAL_QUANTITIES = 4.0
"""Numbers still to be used at which the goal-state distance is a half."""

_LINE_NUMBER = re.compile(r"^[^\S\n]*\d+\.\s", re.MULTILINE)


class GSM8KEnvironment:
    """One problem, solved in one plan step or in one reasoning step after the other.

    With step ``solution`` an action is the final answer, and the episode is over with it. With
    step ``reasoning`` an action is text: the state is all of it so far, one line after the other,
    and the episode is over with the action that holds a final answer ``#### N``.

    The verdict is the official one: ``#### N`` is looked for, commas go, and strings are compared.
    An action of step ``solution`` that is a bare number is brought into that form first, so that
    ``72``, ``72.0`` and ``$72`` are the answer ``#### 72``; an action that holds ``####`` is judged
    to the letter.

    The goal-state distance D in [0, 1) is n / (n + 4) for the n numbers of the question that the
    state does not name yet (spec 2.2); the numbers of its lines don't count.

    Args:
        step: ``solution`` or ``reasoning``.
    """

    def __init__(self, step: StepKind = "solution") -> None:
        self._step = step
        self._goal = ""
        self._answer: str | None = None
        self._lines: list[str] = []
        self._open = False

    def reset(self, task: Task) -> Observation:
        """Starts a task; `task.data["answer"]` is the right answer, absent if it is unknown."""
        self._goal = task.goal
        self._answer = task.data.get("answer")
        self._lines = []
        self._open = True
        return self._observation()

    def step(self, action: str) -> Transition:
        """Takes an answer or a reasoning step.

        Success is None where the task has no known answer.

        Raises:
            InvalidInputError: if the action is empty, or the episode is over or was never begun.
        """
        if not self._open:
            raise InvalidInputError("gsm8k: the episode is over; call reset first")
        if not action.strip():
            raise InvalidInputError("gsm8k: the action is empty, expected an answer or a step")
        self._lines.append(action.strip())
        given = official_answer(action)
        if given is None and self._step == "solution":
            bare = normalise(action)
            given = action.strip() if bare is None else bare
        if given is None:
            return Transition(self._observation(), done=False)
        self._open = False
        success = None if self._answer is None else given == self._answer
        return Transition(self._observation(), True, success, 1.0 if success else 0.0)

    def fork(self) -> GSM8KEnvironment:
        """Returns a second environment in the same state; what is done in one leaves the other."""
        twin = copy.copy(self)
        twin._lines = list(self._lines)
        return twin

    def _observation(self) -> Observation:
        state = "\n".join(self._lines) if self._step == "reasoning" else ""
        remaining = len(remaining_quantities(self._goal, _LINE_NUMBER.sub("", state)))
        return Observation(state, distance=saturating(remaining, _TYPICAL_QUANTITIES))


class GSM8KJudge:
    """Says which answers are wrong; `Judge` of benchmarks.

    Args:
        task: the problem.
        step: what one plan step is, as for `GSM8KEnvironment`.
    """

    def __init__(self, task: Task, step: StepKind) -> None:
        self._environment = GSM8KEnvironment(step)
        self._environment.reset(task)

    def mistaken(self, action: str | None) -> bool | None:
        """Whether the official verdict on an answer is no.

        True for no answer; None for a piece of reasoning without a final answer, and where the task
        has no known answer.

        Raises:
            InvalidInputError: if the action is empty, or the episode is over.
        """
        if action is None:
            return True
        success = self._environment.fork().step(action).success
        return None if success is None else not success

    def advance(self, action: str) -> None:
        """Takes an answer or a piece of reasoning into the plan."""
        self._environment.step(action)
