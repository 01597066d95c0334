"""ADaPT-style: try first, break the task up only on failure (Prasad et al. 2024, 2311.05772).

A change of any prompt's text is a new `VERSION`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from amp.errors import InvalidInputError
from amp.execute.choice_step import ask
from amp.execute.executor import Executor
from amp.methods.base import BaselinePlanner, Trajectory, candidate_of
from amp.models.base import LanguageModel, Message, Prompt
from amp.types import Allocation, Limits, StepContext
from amp.votes import vote

VERSION = "adapt/1"

MAX_SUBTASKS = 4
"""Parts of a decomposition that are kept."""

_TOKENS_A_SUBTASK = 40
_HISTORY = 8

_SYSTEM = (
    "You break a task that was too hard into smaller ones, at most "
    f"{MAX_SUBTASKS}, one numbered line each. Then write `Logic: AND` if all of them must be done "
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

_LINE = re.compile(r"\s*\d+[.)](.*)")
_LOGIC = re.compile(r"^[^\S\n]*Logic\s*:\s*(AND|OR)\b", re.IGNORECASE | re.MULTILINE)


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
    stop = (f"\n{MAX_SUBTASKS + 1}.", "\n\n")
    return Prompt(messages, _TOKENS_A_SUBTASK * MAX_SUBTASKS, stop, VERSION)


def read(text: str) -> Decomposition | None:
    """Reads the answer to `decompose`, whose first number is given; None if it has no subtask."""
    lines = (_LINE.match(line) for line in f"1.{text}".splitlines())
    named = (match[1].strip() for match in lines if match is not None)
    subtasks = tuple(filter(None, named))
    if not subtasks:
        return None
    logic = _LOGIC.search(text)
    either = logic is not None and logic[1].upper() == "OR"
    return Decomposition(subtasks[:MAX_SUBTASKS], "or" if either else "and")


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


_YES_AND_NO = ("yes", "no")
_NOTHING_LEFT = "limit of depth"


@dataclass(frozen=True, slots=True)
class BelievedAnswer:
    """The answer to a question, None if none could be read, and whether the model believes it."""

    text: str | None
    believed: bool


class ADaPTPlanner(BaselinePlanner):
    """An executor tries the task; where it reports failure, a planner breaks the task up.

    The executor is that of amp with its own prompts and the whole allocation. The parts are tried
    in the same way, joined by AND or OR, down to a greatest depth.

    Where actions are listed, a try is a few plan steps, and after each the model reports whether
    the subtask is done; that the task itself is done, the environment says. Elsewhere a try is one
    answer, which the model judges; the answers to the parts are told with the question when it is
    tried again, and the last answer is given even if no check believes it.

    Attributes:
        max_depth: 1 never breaks anything up.
        try_steps: plan steps of one try where actions are listed.
    """

    version = VERSION

    def __init__(
        self,
        model: LanguageModel,
        executor: Executor,
        allocation: Allocation = Allocation(),
        limits: Limits = Limits(steps=100),
        max_depth: int = 2,
        try_steps: int = 6,
    ) -> None:
        for name, value in (("max_depth", max_depth), ("try_steps", try_steps)):
            if value < 1:
                raise InvalidInputError(f"{name} is {value}, expected at least 1")
        super().__init__(model, executor, allocation, limits)
        self.max_depth = max_depth
        self.try_steps = try_steps

    async def _plan(self, run: Trajectory) -> str | None:
        if run.context.actions(self.allocation.tools) is not None:
            await self._reach(run, run.task.goal)
            return _NOTHING_LEFT
        while run.open_step():
            answer = await self._answer(run, run.task.goal)
            if answer.text is None:
                return _NOTHING_LEFT
            await run.act(answer.text)
            run.close_step()
        return None

    # ------------------------------------------------------------------ listed actions

    async def _reach(self, run: Trajectory, goal: str, depth: int = 1) -> bool:
        """Whether the goal was reached, as far as the executor can tell (the paper's algorithm)."""
        if await self._try(run, goal):
            return True
        if depth == self.max_depth or not run.open_step():
            return run.state.done
        actions = run.context.actions(self.allocation.tools)
        parts = await self._decompose(run, goal, actions)
        if parts is None:
            return False
        either = parts.logic == "or"  # one success ends it, where all must succeed one failure does
        for subtask in parts.subtasks:
            reached = await self._reach(run, subtask, depth + 1)
            if run.state.done or reached is either:
                return reached
        return not either

    async def _try(self, run: Trajectory, goal: str) -> bool:
        """A few plan steps towards a goal; whether it is reached."""
        for _ in range(self.try_steps):
            if not run.open_step():
                break
            action = await self._execute(run, goal)
            if action is None:
                run.close_step("no action could be read")
                continue
            await run.act(action)
            done = run.state.done
            if not done and goal != run.task.goal:
                done = await self._yes(run, reached(run.context, goal))
            run.close_step()
            if done:
                return True
        return run.state.done

    # ------------------------------------------------------------------ questions

    async def _answer(self, run: Trajectory, question: str, depth: int = 1) -> BelievedAnswer:
        """The answer to a question, from its parts where the first one is not believed."""
        text = await self._execute(run, question)
        believed = text is not None and await self._yes(run, right(question, text))
        if believed or depth == self.max_depth:
            return BelievedAnswer(text, believed)
        parts = await self._decompose(run, question, None)
        if parts is None:
            return BelievedAnswer(text, believed)
        known: list[str] = []
        sure = True
        for subtask in parts.subtasks:
            answer = await self._answer(run, part(question, subtask, known), depth + 1)
            if answer.believed and parts.logic == "or":
                return answer
            sure = sure and answer.believed
            if answer.text is not None:
                known.append(f"{subtask} {answer.text}")
        again = await self._execute(run, with_known(question, known)) if known else None
        return BelievedAnswer(again or text, sure and again is not None)

    # ------------------------------------------------------------------ the model's three roles

    async def _execute(self, run: Trajectory, goal: str) -> str | None:
        """The executor: the action that it would take towards a goal now, or None."""
        context = replace(run.context, task=replace(run.task, goal=goal))
        candidates = await self.executor.execute(context, self.allocation, run.meter)
        run.note(self.allocation, *candidates)
        chosen = vote(candidates)
        return None if chosen is None else chosen.action

    async def _yes(self, run: Trajectory, question: Prompt) -> bool:
        """The executor's report on itself; an answer that is neither yes nor no is no."""
        answer = await ask(run.meter, question, _YES_AND_NO)
        return answer is not None and answer[0] > answer[1]

    async def _decompose(
        self, run: Trajectory, goal: str, actions: Sequence[str] | None
    ) -> Decomposition | None:
        """The planner: smaller tasks, or None if it names none."""
        written = await run.meter.generate(
            decompose(run.context, goal, actions),
            temperature=self.allocation.temperature,
            top_p=self.allocation.top_p,
        )
        parts = read(written[0].text)
        sampled = replace(self.allocation, depth=0, beam_width=1, verification=0)
        run.note(sampled, candidate_of(written[0], None if parts is None else str(parts)))
        return parts
