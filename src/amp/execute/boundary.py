"""Calls environments that others wrote, sync or async; checks what they return, names their errors.

`open_task` and `act` are the only places that call an environment while a task is planned. What it
returns is checked field by field, so that a mistake is named where it is made; what it raises ends
the episode with its record. `GymEnvironment` makes an environment of a gymnasium one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar, cast

from amp.environment import AsyncEnvironment, Environment, Observation, Task, Transition
from amp.errors import AmpError, EnvironmentFailedError, InvalidInputError

_SHOWN = 60

_FAILURES = (Exception, SystemExit, asyncio.CancelledError)
"""What other people's code may raise; a cancellation only where nobody cancelled this task."""

Value = TypeVar("Value")


async def open_task(
    environment: Environment | AsyncEnvironment, task: Task, seconds: float | None = None
) -> Observation:
    """Resets an environment and returns the first state.

    Args:
        environment: is reset.
        task: for this task.
        seconds: how long that may take where it is async.

    Raises:
        EnvironmentFailedError: if it raises, takes longer, or returns what is no observation.
        AmpError: what it raises of these, such as `MissingDependencyError`, as it is.
    """
    if isinstance(environment, type):
        name = environment.__name__
        raise EnvironmentFailedError(f"the environment is the class {name}; pass {name}() instead")
    where = f"{type(environment).__name__}.reset"
    try:
        return _observation(await _awaited(environment.reset(task), where, seconds), where)
    except AmpError:
        raise
    except _FAILURES as error:  # other people's code, whose failure the caller is told
        raise _failed(where, error) from error


async def act(
    environment: Environment | AsyncEnvironment, action: str, seconds: float | None = None
) -> Transition:
    """Carries an action out, within so many seconds where the environment is async.

    Raises:
        EnvironmentFailedError: if it raises, takes longer, refuses the action, or returns what is
            no transition.
    """
    where = f"{type(environment).__name__}.step"
    try:
        return _transition(await _awaited(environment.step(action), where, seconds), where)
    except EnvironmentFailedError:
        raise
    except AmpError as error:
        raise EnvironmentFailedError(str(error)) from error
    except _FAILURES as error:  # other people's code, whose failure ends the episode
        raise _failed(where, error) from error


def task_of(goal: Task | str) -> Task:
    """A task, or the task that a goal in words stands for; the goal is its id, too."""
    if isinstance(goal, Task):
        _require_task(goal)
        return goal
    if not isinstance(goal, str) or not goal.strip():
        raise InvalidInputError(f"the task is {goal!r}, expected an amp.Task or a goal in words")
    return Task(goal, goal)


def _require_task(task: Task) -> None:
    fields: tuple[tuple[str, type, str], ...] = (
        ("id", str, "a string"),
        ("goal", str, "a string"),
        ("data", Mapping, "a mapping"),
        ("seed", int, "a whole number"),
    )
    for name, kind, expected in fields:
        value = getattr(task, name)
        if not isinstance(value, kind):
            raise InvalidInputError(f"task {task.id!r}: {name} is {value!r}, expected {expected}")


def is_dead_end(observation: Observation) -> bool:
    """Whether actions are listed, but there is none, not even with a tool."""
    return observation.actions == () and not any(observation.tool_actions.values())


async def _awaited(answer: Value | Awaitable[Value], where: str, seconds: float | None) -> Value:
    if not isinstance(answer, Awaitable):
        return answer
    try:
        async with asyncio.timeout(seconds) as limit:
            return await answer
    except TimeoutError as error:
        if not limit.expired():
            raise  # the environment's own
        raise EnvironmentFailedError(
            f"{where} took longer than {seconds:g} s (limit environment_seconds)"
        ) from error


def _failed(where: str, error: BaseException) -> EnvironmentFailedError:
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error  # of the caller, and not of something that the environment awaits
    said = " ".join(_words(error, str).split())
    return EnvironmentFailedError(
        f"{where} failed: {type(error).__name__}{': ' if said else ''}{said}"
    )


def _words(value: object, write: Callable[[object], str]) -> str:
    """What a value says of itself; nothing, where it cannot."""
    try:
        return write(value)
    except Exception:  # __repr__ and __str__ are other people's code, too
        return ""


def _transition(answer: object, where: str) -> Transition:
    if not isinstance(answer, Transition):
        raise _wrong(where, "the result", answer, "an amp.Transition")
    success = None if answer.success is None else _truth(answer.success, where, "success")
    return replace(
        answer,
        observation=_observation(answer.observation, where),
        done=_truth(answer.done, where, "done"),
        success=success,
        score=_share(answer.score, where, "score"),
        feedback=_text(answer.feedback, where, "feedback"),
    )


def _observation(answer: object, where: str) -> Observation:
    if not isinstance(answer, Observation):
        raise _wrong(where, "the observation", answer, "an amp.Observation")
    tools = answer.tool_actions
    if not isinstance(tools, Mapping):
        raise _wrong(where, "tool_actions", tools, "a mapping from tools to actions")
    distance = answer.distance
    symbols = answer.symbols
    return replace(
        answer,
        state=_text(answer.state, where, "state"),
        actions=None if answer.actions is None else _actions(answer.actions, where, "actions"),
        tool_actions={
            _text(name, where, "a key of tool_actions"): _actions(
                actions, where, f"tool_actions[{name!r}]"
            )
            for name, actions in tools.items()
        },
        distance=None if distance is None else _share(distance, where, "distance"),
        symbols=None if symbols is None else _symbols(symbols, where),
    )


def _symbols(value: object, where: str) -> dict[str, Any]:
    """Symbols as they are, if a trace can hold them; a set is a sorted list there."""
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        symbols = dict(value)
        with suppress(TypeError, ValueError, RecursionError):
            json.dumps(symbols, default=sorted, ensure_ascii=False, allow_nan=False).encode()
            return symbols
    raise _wrong(where, "symbols", value, "a mapping from names to what JSON can hold")


def _actions(value: object, where: str, field: str) -> tuple[str, ...]:
    expected = "a tuple of different strings, or None for free text"
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(where, field, value, expected)
    for action in value:
        if not isinstance(action, str) or not action.strip() or _text(action, "", "") != action:
            raise _wrong(where, f"one of {field}", action, "a string of whole characters")
    if len(set(value)) < len(value):
        twice = next(action for action in value if value.count(action) > 1)
        raise EnvironmentFailedError(f"{where}: {field} has {twice!r} twice, expected {expected}")
    return tuple(_text(action, where, field) for action in value)  # plain ones, and no enums


def _text(value: object, where: str, field: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, field, value, "a string")
    # Half an emoji has no place in a file, nor in a request.
    return value.encode("utf-8", "replace").decode()


def _truth(value: object, where: str, field: str) -> bool:
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise _wrong(where, field, value, "True or False")
    return plain


def _share(value: object, where: str, field: str) -> float:
    plain = _plain(value)
    if isinstance(plain, int | float) and 0.0 <= plain <= 1.0:  # and no NaN
        return float(plain)
    raise _wrong(where, field, value, "a number from 0 to 1")


def _plain(value: object) -> object:
    """The Python value of a numpy or torch scalar; anything else as it is."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else value


def _wrong(where: str, field: str, value: object, expected: str) -> EnvironmentFailedError:
    kind = type(value).__name__
    shown = " ".join(_words(value, repr).split()) or "something"
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}..."
    return EnvironmentFailedError(f"{where}: {field} is {shown} ({kind}), expected {expected}")


class GymEnvironment:
    """An environment of gymnasium whose observations are texts, or can be put into words.

    Args:
        env: with ``reset(seed=...)`` and ``step(action)``, as gymnasium's. It is reset with the
            seed of the task.
        actions: names of the actions 0, 1, ... of a discrete action space; or a function of the
            observation and its ``info`` that returns the actions that are admissible now, as the
            environment takes them; None where an action is free text.
        describe: puts an observation into words; by default it has to be a string.
        succeeded: whether the task is done well, from the reward of the last action and its
            ``info``; by default ``info["is_success"]`` if it is there, else whether the reward
            is above 0.
    """

    def __init__(
        self,
        env: Any,
        actions: Sequence[str] | Callable[[Any, Mapping[str, Any]], Sequence[str]] | None = None,
        *,
        describe: Callable[[Any], str] | None = None,
        succeeded: Callable[[float, Mapping[str, Any]], bool] | None = None,
    ) -> None:
        space = getattr(env, "action_space", None)
        count = getattr(space, "n", None)
        is_discrete = count is not None and not getattr(space, "shape", ())
        if actions is not None and not callable(actions):
            if isinstance(actions, str) or not isinstance(actions, Sequence):
                raise InvalidInputError(f"actions is {actions!r}, expected a list of names")
            if space is not None and not is_discrete:
                raise InvalidInputError(
                    f"actions are names, but the action space {space} is not discrete; expected a"
                    " function that returns what the environment takes, or None for free text"
                )
        if is_discrete and not callable(actions) and len(actions or ()) != count:
            raise InvalidInputError(
                f"{len(actions or ())} names of actions, expected {count}, as many as the"
                " environment has"
            )
        self._env = env
        self._actions = actions
        self._describe = describe
        self._succeeded = succeeded

    def reset(self, task: Task) -> Observation:
        return self._observe(*self._env.reset(seed=task.seed))

    def step(self, action: str) -> Transition:
        actions = self._actions
        given: Any = action
        if actions is not None and not callable(actions):
            first = getattr(getattr(self._env, "action_space", None), "start", 0)
            given = int(first) + list(actions).index(action)
        raw, reward, terminated, truncated, info = self._env.step(given)
        success = bool(terminated) and self._is_success(float(reward), info)
        return Transition(
            self._observe(raw, info),
            done=bool(terminated) or bool(truncated),
            success=success,
            score=float(success),
        )

    def _observe(self, raw: Any, info: Mapping[str, Any]) -> Observation:
        actions = self._actions(raw, info) if callable(self._actions) else self._actions
        text = raw if self._describe is None else self._describe(raw)
        return Observation(text, cast(tuple[str, ...] | None, actions))  # checked as all are

    def _is_success(self, reward: float, info: Mapping[str, Any]) -> bool:
        if self._succeeded is not None:
            return self._succeeded(reward, info)
        return bool(info.get("is_success", reward > 0.0))
