"""The state of one word problem, the official verdict on an answer, and the judge that asks it."""

from __future__ import annotations

import copy
import re

from amp.assess.evidence import remaining_quantities
from amp.assess.uncertainty import saturating
from amp.benchmarks.gsm8k.answers import official_answer
from amp.benchmarks.gsm8k.numbers import normalise
from amp.benchmarks.gsm8k.prompts import StepKind
from amp.errors import InvalidInputError
from amp.types import Observation, Task, Transition

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
