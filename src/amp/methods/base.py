"""What the planners of this folder share: a protocol, a base class, and the record of an episode.

`BaselinePlanner.run` makes a `Trajectory`, which the method's `_plan` fills step by step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from amp.cost import Ledger
from amp.environment import AsyncEnvironment, Environment
from amp.errors import EnvironmentFailedError, LimitReachedError, ModelError
from amp.execute.boundary import act, is_dead_end, open_task, task_of
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.models.base import Completion, LanguageModel
from amp.types import (
    DEAD_END,
    ENVIRONMENT_ERROR,
    MODEL_ERROR,
    WITHHELD,
    Allocation,
    Candidate,
    Complexity,
    Episode,
    Limits,
    Observation,
    Round,
    StepContext,
    StepRecord,
    Task,
    Transition,
)

OnStep = Callable[[StepRecord], None]


class AnyPlanner(Protocol):
    """Anything that plans a task: `amp.planner.Planner` and every planner of this folder."""

    @property
    def limits(self) -> Limits:
        """Hard limits of one episode."""
        ...

    async def run(
        self,
        task: Task | str,
        environment: Environment | AsyncEnvironment,
        on_step: OnStep | None = None,
    ) -> Episode:
        """Plans one task, as `amp.planner.Planner.run` does."""
        ...


class Trajectory:
    """An unfinished episode: the steps done, the state that they led to, and what they cost.

    A step is opened before its first model call and closed after its last one, so that the usage
    of the steps adds up to that of the episode.

    Attributes:
        task: the task.
        meter: the only way to the model and the tools.
        state: the result of the last action.
        steps: the closed steps.
    """

    def __init__(
        self,
        task: Task,
        environment: Environment | AsyncEnvironment,
        opening: Observation,
        meter: Meter,
        on_step: OnStep | None = None,
    ) -> None:
        self.task = task
        self.meter = meter
        self.steps: list[StepRecord] = []
        self.state = Transition(opening, done=False)
        self._environment = environment
        self._on_step = on_step
        self._open = False
        self._rounds: list[Round] = []
        self._before_step = self._before_round = meter.ledger.usage
        self._seen = self.state.observation
        self._action: str | None = None

    @property
    def context(self) -> StepContext:
        """What is known now: the state s, the partial plan p and the budget."""
        remaining = self.meter.ledger.remaining
        return StepContext(
            self.task, self.state.observation, tuple(self.steps), remaining=remaining
        )

    def open_step(self) -> bool:
        """Begins a step if none is open; False if the task is over or a limit forbids it."""
        if self._open:
            return True
        if self.state.done or not self.meter.ledger.begin_step():
            return False
        if is_dead_end(self.state.observation):
            self.meter.ledger.ended_by = DEAD_END
            return False
        self._open, self._rounds, self._action = True, [], None
        self._seen = self.state.observation
        return True

    def note(self, allocation: Allocation, *candidates: Candidate) -> None:
        """Adds a round to the open step, with what was spent since the last round as its usage.

        These planners assess no complexity; it is 0 in their records.
        """
        usage = self.meter.ledger.usage
        self._rounds.append(
            Round(
                complexity=Complexity(0.0),
                allocation=allocation,
                log_prob=0.0,
                candidates=candidates,
                usage=usage - self._before_round,
                substitutes=self.meter.take_notes(),
            )
        )
        self._before_round = usage

    async def act(self, action: str) -> None:
        """Carries out the action of the open step.

        Raises:
            EnvironmentFailedError: from the environment.
        """
        self._action = action
        self.state = replace(self.state, feedback="")  # that of the last action, if this one fails
        patience = self.meter.ledger.limits.environment_seconds
        self.state = await act(self._environment, action, patience)

    def close_step(self, failure: str | None = None) -> None:
        """Ends the open step and keeps its record, with why it has no action or ended early."""
        spent = self.meter.ledger.usage
        step = StepRecord(
            observation=self._seen,
            rounds=tuple(self._rounds),
            complexity=Complexity(0.0),
            action=self._action,
            usage=spent - self._before_step,
            failure=failure,
            feedback="" if self._action is None else self.state.feedback,
        )
        self._open = False
        self._before_step = self._before_round = spent
        self.steps.append(step)
        if self._on_step is not None:
            self._on_step(step)

    def episode(self, ended: str) -> Episode:
        """Closes a step that is still open, and returns the whole.

        Args:
            ended: why it ended, where the task is not done.
        """
        if self._open:
            self.close_step(ended)
        done = self.state.done
        return Episode(
            task=self.task,
            steps=tuple(self.steps),
            success=self.state.success if done else False,
            score=self.state.score,
            usage=self.meter.ledger.usage,
            ended="done" if done else ended,
        )


class BaselinePlanner(ABC):
    """A published planning method that gives every step the same allocation: a baseline.

    Attributes:
        model: the base model M.
        executor: has the tools that the method may use, and the prompts if it has none of its own.
        allocation: how answers are sampled, and which tools of the environment are in use. Other
            fields, such as the depth, are fixed by the method itself.
        limits: hard limits of one episode; a call that would exceed one is not made.
    """

    version: str
    """Version of the method's own prompts."""

    def __init__(
        self,
        model: LanguageModel,
        executor: Executor,
        allocation: Allocation = Allocation(),
        limits: Limits = Limits(steps=100),
    ) -> None:
        self.model = model
        self.executor = executor
        self.allocation = allocation
        self.limits = limits

    async def run(
        self,
        task: Task | str,
        environment: Environment | AsyncEnvironment,
        on_step: OnStep | None = None,
    ) -> Episode:
        """Plans one task; a limit or a failing model ends the episode, and its record says why."""
        ledger = Ledger(self.limits)
        task = task_of(task)
        meter = Meter(self.model, ledger, task.seed)
        opening = await open_task(environment, task, self.limits.environment_seconds)
        run = Trajectory(task, environment, opening, meter, on_step)
        try:
            own_limit = await self._plan(run)
            if own_limit is not None and ledger.ended_by is None:
                return run.episode(own_limit)
        except LimitReachedError as error:
            run.close_step(str(error))
        except ModelError as error:
            ledger.ended_by = MODEL_ERROR
            run.close_step(str(error))
        except EnvironmentFailedError as error:
            ledger.ended_by = ENVIRONMENT_ERROR
            run.close_step(str(error))
        return run.episode(ledger.ending)

    @abstractmethod
    async def _plan(self, run: Trajectory) -> str | None:
        """Plans until the task is over or a limit of the method or the episode is reached.

        Every model call is made while a step is open.

        Returns:
            The method's own limit that was reached, or None.
        """


def candidate_of(
    completion: Completion,
    action: str | None,
    failure: str = "no action could be read",
) -> Candidate:
    """Makes a candidate of a completion; without an action it carries `failure`."""
    if completion.finish_reason == "filtered":
        failure = WITHHELD
    elif completion.cut_off:
        failure = "answer cut off"
    return Candidate(
        text=completion.text,
        action=action,
        log_prob=completion.log_prob,
        entropy=completion.entropy,
        completion_tokens=completion.usage.completion_tokens,
        cut_off=completion.cut_off,
        failure=None if action is not None else failure,
    )
