"""A pool: the recorded answers of models to many tasks, with what each cost and which were right.

An arm is a model and a way of asking it; a sample is one answer of an arm to a task. Arms may have
different numbers of samples, and none for some tasks: `Pool.there` says which exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from amp.errors import InvalidInputError, did_you_mean
from amp.mlp import Floats, Ints, Mask
from amp.settings import checked, read_toml

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


_Amount = Annotated[float, Ge(0.0), Le(1e9)]


@dataclass(frozen=True, slots=True)
class PoolPrice:
    """Price of a model, in dollars per million tokens.

    Attributes:
        prompt: prompt tokens.
        completion: generated tokens, those of hidden reasoning, too.
        hidden_tokens: of a model that reasons out of sight: what it is assumed to write besides its
            visible text where no tokens are recorded; None if all of its text is visible.
        guess: what of it is no list price of this model, if anything.
    """

    prompt: _Amount
    completion: _Amount
    hidden_tokens: _Amount | None = None
    guess: str = ""


def read_pool_prices(own_table: Path | None = None) -> Mapping[str, PoolPrice]:
    """Prices by name of the model.

    Args:
        own_table: the user's table, which wins over the one that comes with AMP.

    Raises:
        InvalidInputError: if the user's table can't be read; names file, model and field.
    """
    prices = _read(Path(__file__).parents[1] / "data" / "pool_prices.toml")
    return prices if own_table is None else prices | _read(own_table.expanduser())


def line_to_add(model: str) -> str:
    """The line that a price table needs for a model."""
    name = model.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" = {{ prompt = 0.0, completion = 0.0 }}'


def _read(path: Path) -> dict[str, PoolPrice]:
    return checked(dict[str, PoolPrice], read_toml(path), str(path))


CHARACTERS_PER_TOKEN = 4.0
"""Of English text, by the rule of thumb of the providers."""


@dataclass(frozen=True, slots=True, eq=False)
class AnswerLengths:
    """What is recorded of the lengths of answers; arrays have the shape (tasks, arms, samples).

    Attributes:
        there: whether there is such a sample.
        tokens: completion tokens; NaN where they are not recorded.
        visible: tokens that the visible text makes; NaN where its characters are not recorded.
        kinds: shape (tasks,), number of each task's kind.
        unknown_tokens: of samples without any length; None for the mean of their arm.
    """

    there: Mask
    tokens: Floats
    visible: Floats
    kinds: Ints
    unknown_tokens: float | None = None

    def complete(
        self, arms: Sequence[PoolArm], prices: Sequence[PoolPrice]
    ) -> tuple[Floats, list[str]]:
        """Completion tokens of every sample, and notes on those that are estimates.

        Args:
            arms: the arms.
            prices: of each arm's model.
        """
        tokens = self.tokens.copy()
        sources: dict[str, list[str]] = {}
        for index, (arm, price) in enumerate(zip(arms, prices, strict=True)):
            family = np.array([other.model == arm.model for other in arms])
            there, its = self.there[:, index], tokens[:, index]
            for estimate, source in self._estimates(index, family, price, its):
                missing = there & np.isnan(its)
                filled = missing & ~np.isnan(estimate)
                its[filled] = np.broadcast_to(estimate, its.shape)[filled]
                count = missing if source == _UNKNOWN else filled
                if count.any():
                    part = f" ({count.sum():,} of {there.sum():,} samples)"
                    named = arm.name + ("" if count.sum() == there.sum() else part)
                    sources.setdefault(source, []).append(named)
        return tokens, [
            f"completion tokens are {source}: {', '.join(named[:6])}"
            + (f" and {len(named) - 6} more arms" if len(named) > 6 else "")
            for source, named in sources.items()
        ]

    def _estimates(
        self, arm: int, family: Mask, price: PoolPrice, its: Floats
    ) -> Iterator[tuple[Floats, str]]:
        """What stands in for tokens that are not recorded, the best first, and what it is.

        The text is no measure of a model that reasons out of sight.

        Args:
            arm: the arm.
            family: shape (arms,), which arms are of its model.
            price: of its model.
            its: shape (tasks, samples), its tokens, filled in by what came before.
        """
        if price.hidden_tokens is None:
            yield self.visible[:, arm], "those of the visible text"
        else:
            own, of_model = self.tokens[:, [arm]], self.tokens[:, family]
            yield self._mean(own, by_kind=True), f"the arm's recorded mean, {_OF_KIND}"
            yield self._mean(of_model, by_kind=True), f"the model's recorded mean, {_OF_KIND}"
            yield self._mean(own), f"the arm's recorded mean, {_OF_OTHERS}"
            yield self._mean(of_model), f"the model's recorded mean, {_OF_OTHERS}"
            text, hidden = np.nan_to_num(self.visible[:, arm]), price.hidden_tokens
            yield hidden + text, f"ASSUMED: {hidden:g} hidden ones and those of the visible text"
        if self.unknown_tokens is not None:
            yield np.full_like(its, self.unknown_tokens), "set by the reader"
        yield self._mean(its[:, None], by_kind=True), f"the mean of the arm, {_OF_KIND}"
        yield self._mean(its[:, None]), f"the mean of the arm, {_OF_OTHERS}"
        yield np.full_like(its, np.nan), _UNKNOWN

    def _mean(self, tokens: Floats, *, by_kind: bool = False) -> Floats:
        """Mean of what is known, shape (tasks, 1); NaN where nothing is.

        Args:
            tokens: shape (tasks, arms, samples).
            by_kind: means of each kind of task instead of one of all.
        """
        kinds = self.kinds if by_kind else np.zeros_like(self.kinds)
        count = np.bincount(kinds, (~np.isnan(tokens)).sum(axis=(1, 2)))
        total = np.bincount(kinds, np.nansum(tokens, axis=(1, 2)))
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return mean[kinds][:, None]


_OF_KIND = "of tasks of the same kind"
_OF_OTHERS = "of tasks of other kinds"
_UNKNOWN = "unknown, and so are their dollars, as nothing tells their length"
