"""The judge of GSM8K's answers: the official verdict, asked without giving the answer."""

from __future__ import annotations

from amp.benchmarks.gsm8k.environment import GSM8KEnvironment
from amp.benchmarks.gsm8k.prompts import StepKind
from amp.types import Task


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
