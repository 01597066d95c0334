"""A pool: the recorded answers of models to many tasks, with what each cost and which were right.

An arm is a model and a way of asking it; a sample is one answer of an arm to a task. Arms may have
different numbers of samples, and none for some tasks: `Pool.there` says which exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from amp.errors import InvalidInputError, did_you_mean
from amp.mlp import Floats, Ints, Mask

NO_ANSWER = -1
"""In `Pool.answer`: the sample names no answer, or there is no sample."""


@dataclass(frozen=True, slots=True)
class PoolArm:
    """A model and a way of asking it.

    Attributes:
        name: ``MODEL`` or ``MODEL|WAY``, as in the file.
        model: the model's name, by which its price is found.
        way: the prompt, effort or whatever else distinguishes the arms of a model; "" if nothing.
    """

    name: str
    model: str
    way: str

    @classmethod
    def of(cls, name: str) -> PoolArm:
        """The arm of a name."""
        model, _, way = name.partition("|")
        return cls(name, model, way)


@dataclass(frozen=True, slots=True)
class PoolTask:
    """A task of a pool: all that a user knows before asking, and the right answer.

    Attributes:
        id: unique in the pool.
        kind: exam, domain or family; "" if the pool has one kind only.
        group: tasks of one group are variants of each other and stay on one side of a split.
        question: its text; "" where the pool leaves it out.
        gold: the right answer as text; None if the pool only says which answers are right.
        prompt_tokens: length of the question, an estimate where the pool has characters only; None
            if nothing tells it.
        difficulty: what the pool knows of it (human solve rate, length of the right plan). A policy
            must not see it: it is known only afterwards.
        extra: other fields of the task's row.
    """

    id: str
    kind: str
    group: str
    question: str = ""
    gold: str | None = None
    prompt_tokens: float | None = None
    difficulty: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Recorded answers of arms to tasks. Arrays have the shape (tasks, arms, samples).

    Attributes:
        name: of the pool.
        tasks: the tasks, in the order of the file.
        arms: the arms, in the order in which the file first names them.
        answers: the distinct answers to each task, as text; see `amp.pools.rows.answer_text`.
        answer: index into ``answers`` of the task; `NO_ANSWER` if there is none.
        there: whether there is such a sample. Those of an arm come first.
        right: whether it is right.
        prompt_tokens: of its call; NaN if there is no sample.
        completion_tokens: of its call, hidden reasoning included; NaN if there is no sample, or
            nothing tells its length (`notes` then says so).
        dollars: each call pays for its prompt; NaN where a number of tokens is.
        log_prob: natural logarithm of the answer's probability; NaN where it is not recorded.
        estimated: shape (arms,), whether completion tokens of the arm are estimates.
        notes: what was estimated, assumed or left out, one line each.
    """

    name: str
    tasks: tuple[PoolTask, ...]
    arms: tuple[PoolArm, ...]
    answers: tuple[tuple[str, ...], ...]
    answer: Ints
    there: Mask
    right: Mask
    prompt_tokens: Floats
    completion_tokens: Floats
    dollars: Floats
    log_prob: Floats
    estimated: Mask
    notes: tuple[str, ...] = ()

    def part(self, tasks: Ints) -> Pool:
        """The pool of these tasks, in this order.

        Args:
            tasks: their indices.
        """
        return replace(
            self,
            tasks=tuple(self.tasks[task] for task in tasks),
            answers=tuple(self.answers[task] for task in tasks),
            **{name: getattr(self, name)[tasks] for name in _PER_SAMPLE},
        )

    def with_arms(self, names: Iterable[str]) -> Pool:
        """The pool of these arms, in this order.

        Raises:
            InvalidInputError: if the pool has no such arm.
        """
        known = {arm.name: index for index, arm in enumerate(self.arms)}
        names = list(names)
        for name in names:
            if name not in known:
                raise InvalidInputError(
                    f"pool {self.name} has no arm {name!r}{did_you_mean(name, list(known))}"
                    f" (arms: {', '.join(known)})"
                )
        chosen = np.array([known[name] for name in names], dtype=np.intp)
        return replace(
            self,
            arms=tuple(self.arms[arm] for arm in chosen),
            estimated=self.estimated[chosen],
            **{name: getattr(self, name)[:, chosen] for name in _PER_SAMPLE},
        )

    def halves(self) -> tuple[Ints, Ints]:
        """Indices of the tasks to train on and of those to test on, about half each.

        A task's side depends on its group alone, so it is the same in every part of a pool.
        """
        test = np.array([_coin(task.group) for task in self.tasks], dtype=bool)
        return np.flatnonzero(~test), np.flatnonzero(test)


_PER_SAMPLE = (
    *("answer", "there", "right", "prompt_tokens", "completion_tokens", "dollars", "log_prob"),
)
"""Attributes of `Pool` with the shape (tasks, arms, samples)."""


def _coin(group: str) -> bool:
    return bool(hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()[-1] & 1)
