"""Every text of the ADaPT-style planner. A change of any of them is a new `VERSION`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from amp.models.base import Message, Prompt
from amp.types import StepContext

VERSION = "adapt/1"

MOST_SUBTASKS = 4
"""Parts of a decomposition that are kept."""

_TOKENS_A_SUBTASK = 40
_HISTORY = 8

_SYSTEM = (
    "You break a task that was too hard into smaller ones, at most "
    f"{MOST_SUBTASKS}, one numbered line each. Then write `Logic: AND` if all of them must be done "
    "in this order, or `Logic: OR` if they are different ways and one suffices."
)
_ACTING_EXAMPLE = (
    "Task: water the fern\nYou see a fern on the shelf. You see a can near the sink.",
    "1. take the can\n2. water the fern with the can\nLogic: AND",
)
_ASKING_EXAMPLE = (
    "Question: A farmer fills 6 crates with 15 apples each and keeps 12 apples for herself. How "
    "many apples did she pick?",
    "1. How many apples are in the 6 crates of 15 apples each?\n"
    "2. How many apples are that with the 12 apples that she keeps?\nLogic: AND",
)
_CHECK_SYSTEM = "You judge whether something is done or right. Answer with yes or no only."
_CHECK_PREFIX = "Answer (yes or no): "

_LINE = re.compile(r"^\s*\d+[.)]\s*(.*?)\s*$")
_LOGIC = re.compile(r"^\s*Logic\s*:\s*(AND|OR)\b", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Subtasks in order; with ``and`` all must succeed, with ``or`` the first success ends it."""

    subtasks: tuple[str, ...]
    logic: Literal["and", "or"]

    def __str__(self) -> str:
        return f" {self.logic} ".join(f"({subtask})" for subtask in self.subtasks)


def decompose(context: StepContext, goal: str, actions: Sequence[str] | None) -> Prompt:
    """Prompt whose answer breaks a goal up; `actions` are the listed ones, None for a question."""
    if actions is None:
        example, lines = _ASKING_EXAMPLE, [f"Question: {goal}"]
    else:
        example, lines = _ACTING_EXAMPLE, [f"Task: {goal}", *_situation(context)]
        lines += ["Possible now:", *(f"- {action}" for action in actions)]
    messages = (
        Message("system", _SYSTEM),
        Message("user", example[0]),
        Message("assistant", example[1]),
        Message("user", "\n".join(lines)),
        Message("assistant", "1."),
    )
    stop = (f"\n{MOST_SUBTASKS + 1}.", "\n\n")
    return Prompt(messages, _TOKENS_A_SUBTASK * MOST_SUBTASKS, stop, VERSION)


def read(text: str) -> Decomposition | None:
    """Reads the answer to `decompose`, whose first number is given; None if it has no subtask."""
    lines = (_LINE.match(line) for line in f"1.{text}".splitlines())
    subtasks = tuple(match[1] for match in lines if match is not None and match[1])
    if not subtasks:
        return None
    logic = _LOGIC.search(text)
    either = logic is not None and logic[1].upper() == "OR"
    return Decomposition(subtasks[:MOST_SUBTASKS], "or" if either else "and")


def reached(context: StepContext, goal: str) -> Prompt:
    """Prompt after which the next token says "yes" or "no": is this goal reached now?"""
    lines = [f"Task: {goal}", *_situation(context), "", "Is the task done now?"]
    return _check("\n".join(lines))


def right(question: str, answer: str) -> Prompt:
    """Prompt after which the next token says "yes" or "no": is this answer right?"""
    # The working is not shown: a small model that reads one believes it, right or wrong.
    return _check(f"{question}\n\nProposed answer: {answer}\n\nIs this answer right?")


def part(question: str, subquestion: str, known: Sequence[str]) -> str:
    """The goal of a sub-question: the question as its story, what is known, and what to answer."""
    facts = [f"Known: {fact}" for fact in known]
    return "\n".join([f"Story: {question}", *facts, f"Answer only this: {subquestion}"])


def with_known(question: str, known: Sequence[str]) -> str:
    """The goal of the final answer: the question with the answers to its parts."""
    return "\n".join([question, *(f"Known: {fact}" for fact in known)])


def _situation(context: StepContext) -> list[str]:
    done = [step for step in context.steps if step.action is not None][-_HISTORY:]
    lines = [f"Done: {step.action}. {step.feedback}".rstrip() for step in done]
    return [*lines, context.observation.state] if context.observation.state else lines


def _check(asked: str) -> Prompt:
    messages = (
        Message("system", _CHECK_SYSTEM),
        Message("user", asked),
        Message("assistant", _CHECK_PREFIX),
    )
    return Prompt(messages, 1, (), VERSION)
