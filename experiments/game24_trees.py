"""Reads recorded trees of thoughts from a pool, and says what each of their calls cost.

A task's field ``tot`` has ``usage`` and, for each of four ``steps``, the proposed lines ``new``,
the summed votes ``values`` and the indices ``kept``. It leaves out two things.

Whose next steps are which: the lines of a step stand one thought's after the other's, so the cuts
between them are those at which the numbers that lines use are most often left of their thought.

What a call cost: usage is of the whole tree. It is divided in proportion to `CallTokens`, prompt
and completion each, so that all calls of a recorded search together cost what was recorded.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from amp.errors import InvalidInputError
from amp.mlp import Floats
from amp.pools.pool import Pool
from experiments.game24_search import GOAL, RECORDED, Thought, Tree


@dataclass(frozen=True, slots=True)
class CallTokens:
    """Tokens of calls, of which only the ratios count.

    The defaults are about the least squares over the usage of 69 recorded trees, and explain 0.95
    of the variance of its prompt tokens and 0.92 of that of its completion tokens.

    Attributes:
        propose: prompt that asks for next steps.
        answer: prompt that asks for the answer once 24 is left.
        value: prompt that asks three times for the value of the numbers left.
        value_answer: prompt that asks three times for that of a line without numbers left.
        character: completion, for each character of what is proposed.
        votes: completion of the votes on numbers left.
        votes_answer: completion of the votes on a line without numbers left.
    """

    propose: float = 131.0
    answer: float = 430.0
    value: float = 345.0
    value_answer: float = 397.0
    character: float = 0.5
    votes: float = 135.0
    votes_answer: float = 28.0

    def asking(self, left: str, lines: Sequence[str]) -> Floats:
        """Prompt and completion of asking for the next steps.

        Args:
            left: the numbers left.
            lines: what came.
        """
        written = sum(len(line) + 1 for line in lines)
        return np.array([self.answer if left == GOAL else self.propose, self.character * written])

    def valuing(self, line: str) -> Floats:
        """Prompt and completion of asking for the value of a line."""
        if _LEFT in line:
            return np.array([self.value, self.votes])
        return np.array([self.value_answer, self.votes_answer])


CALLS = CallTokens()
_LEFT = "left: "
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def read_trees(pool: Pool, shared: bool = True, calls: CallTokens = CALLS) -> tuple[Tree, ...]:
    """The trees of a pool.

    Args:
        pool: tasks in the order in which they were recorded.
        shared: whether a value that an earlier puzzle asked for is free, as it was when the trees
            were recorded. False lets each puzzle pay for all of its own, at the same rates.
        calls: how usage is divided.

    Raises:
        InvalidInputError: if a task has no field ``tot``, or one that is not well-formed.
    """
    return tuple(
        record.tree(
            name, known if shared else frozenset(), record.usage / record.told(known, calls), calls
        )
        for name, record, known in _records(pool)
    )


def usage_told(pool: Pool, calls: CallTokens = CALLS) -> tuple[Floats, Floats]:
    """What `CallTokens` says that trees used, and what was recorded, each of shape (tasks, 2).

    The columns are prompt and completion. How near the two are says how far the division of usage
    can be trusted.

    Raises:
        InvalidInputError: like `read_trees`.
    """
    pairs = [(record.told(known, calls), record.usage) for _, record, known in _records(pool)]
    told, usage = zip(*pairs, strict=True)
    return np.array(told), np.array(usage)


def _records(pool: Pool) -> Iterator[tuple[str, _Record, frozenset[str]]]:
    """By task its name, what was recorded, and the questions that earlier ones asked."""
    known: frozenset[str] = frozenset()
    for task in pool.tasks:
        try:
            record = _Record.of(task.question, task.extra.get("tot"))
        except ValueError as error:
            raise InvalidInputError(
                f"pool {pool.name}, task {task.id}: {error}; correct the row or leave it out"
            ) from None
        yield task.id, record, known
        known |= {record.question(line) for step in record.steps for line in step.lines}


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of the recorded search.

    Attributes:
        lefts: of the thoughts that it went on from, the numbers left.
        lines: that were proposed.
        parents: by line, which of those thoughts it goes on from.
        values: by line.
        kept: indices of the lines that were gone on with.
    """

    lefts: tuple[str, ...]
    lines: tuple[str, ...]
    parents: tuple[int, ...]
    values: tuple[float, ...]
    kept: tuple[int, ...]

    def below(self, parent: int) -> list[str]:
        """The lines that go on from a thought."""
        return [line for line, of in zip(self.lines, self.parents, strict=True) if of == parent]


@dataclass(frozen=True, slots=True)
class _Record:
    """The field ``tot`` of a task."""

    puzzle: str
    usage: Floats
    steps: tuple[_Step, ...]

    @classmethod
    def of(cls, puzzle: str, tot: Any) -> _Record:
        """Reads it.

        Raises:
            ValueError: if it is not well-formed; names the field.
        """
        usage = _object(_object(tot, "tot").get("usage"), "tot.usage")
        tokens = [
            _number(usage.get(name), f"tot.usage.{name}")
            for name in ("prompt_tokens", "completion_tokens")
        ]
        steps: list[_Step] = []
        lefts: tuple[str, ...] = (puzzle,)
        for number, row in enumerate(_list(tot, "steps", "tot", len(RECORDED))):
            steps.append(_step(_object(row, f"tot.steps[{number}]"), f"tot.steps[{number}]", lefts))
            lefts = tuple(_left(steps[-1].lines[index]) for index in steps[-1].kept)
        return cls(puzzle, np.array(tokens), tuple(steps))

    def question(self, line: str) -> str:
        """What the value of a line is asked by: the numbers left, or the puzzle and the line."""
        return _left(line) if _LEFT in line else f"{self.puzzle}: {line.lower()}"

    def told(self, known: frozenset[str], calls: CallTokens) -> Floats:
        """What all calls together used, if each used what `calls` says.

        Args:
            known: values that are not asked for.
            calls: prompt and completion of calls.
        """
        lines = {self.question(line): line for step in self.steps for line in step.lines}
        valued = [calls.valuing(line) for asked, line in lines.items() if asked not in known]
        asked = [
            calls.asking(left, step.below(parent))
            for step in self.steps
            for parent, left in enumerate(step.lefts)
        ]
        return np.asarray(sum([*valued, *asked], np.zeros(2)))

    def tree(self, name: str, known: frozenset[str], rate: Floats, calls: CallTokens) -> Tree:
        """The tree.

        Args:
            name: of the puzzle.
            known: values that are free.
            rate: recorded tokens for each of `calls`, prompt and completion.
            calls: prompt and completion of calls.
        """
        went_on: dict[int, tuple[tuple[Thought, ...], float]] = {}  # by index of the line
        means: list[float] = []
        onward = [(0,), *(step.kept for step in self.steps[:-1])]
        for step, indices in zip(self.steps[::-1], onward[::-1], strict=True):
            children: list[list[Thought]] = [[] for _ in step.lefts]
            for index, line in enumerate(step.lines):
                question = self.question(line)
                cost = 0.0 if question in known else float(calls.valuing(line) @ rate)
                thoughts, asking = went_on.get(index, ((), None))
                children[step.parents[index]].append(
                    Thought(line, _left(line), step.values[index], question, cost, asking, thoughts)
                )
            asked = [
                float(calls.asking(left, step.below(parent)) @ rate)
                for parent, left in enumerate(step.lefts)
            ]
            groups = zip(map(tuple, children), asked, strict=True)
            went_on = dict(zip(indices, groups, strict=True))
            means.insert(0, fmean(asked))
        first, asking = went_on[0]
        root = Thought(self.puzzle, self.puzzle, 0.0, "", 0.0, asking, first)
        return Tree(name, self.puzzle, root, float(self.usage.sum()), tuple(means))


def _step(row: Mapping[str, Any], where: str, lefts: tuple[str, ...]) -> _Step:
    lines = tuple(map(str, _list(row, "new", where)))
    values = [
        _number(value, f"{where}.values[{index}]")
        for index, value in enumerate(_list(row, "values", where, len(lines)))
    ]
    kept = _list(row, "kept", where)
    for index in kept:
        if not isinstance(index, int) or not 0 <= index < len(lines) or kept.count(index) > 1:
            raise ValueError(
                f"{where}.kept has {_shown(index)}, expected different indices below {len(lines)}"
            )
    if len(lines) < len(lefts):
        raise ValueError(
            f"{where}.new is {len(lines)} long, expected a line or more for each of the"
            f" {len(lefts)} that were kept before"
        )
    return _Step(lefts, lines, _parents(lefts, lines), tuple(values), tuple(kept))


def _left(line: str) -> str:
    """The numbers left, as the recorded search read them."""
    return line.strip().rpartition("\n")[2].rpartition(_LEFT)[2].partition(")")[0]


def _parents(lefts: Sequence[str], lines: Sequence[str]) -> tuple[int, ...]:
    """By line, which thought it goes on from; each has one or more, and they stand in order."""
    fits = [[_fits(left, line) for line in lines] for left in lefts]
    best = np.full((len(lefts) + 1, len(lines) + 1), -np.inf)
    cut = np.zeros(best.shape, int)
    best[0, 0] = 0.0
    for thought, fit in enumerate(fits, 1):
        for end in range(thought, len(lines) + 1):
            worth, distinct = 0.0, set()
            for start in range(end - 1, thought - 2, -1):
                worth += fit[start] - (_AGAIN if lines[start] in distinct else 0.0)
                distinct.add(lines[start])
                if best[thought - 1, start] + worth > best[thought, end]:
                    best[thought, end], cut[thought, end] = best[thought - 1, start] + worth, start
    parents, end = [0] * len(lines), len(lines)
    for thought in range(len(lefts), 0, -1):
        start = int(cut[thought, end])
        parents[start:end] = [thought - 1] * (end - start)
        end = start
    return tuple(parents)


_AGAIN = 2.0
"""A line that stands twice is likely to go on from two thoughts that leave the same."""


def _fits(left: str, line: str) -> float:
    """How well a line goes on from the numbers left.

    From 24 goes an answer and nothing else. From others goes an operation on two of them, which
    leaves the rest as it is.
    """
    answers = "answer" in line.lower()
    if left == GOAL or answers:
        return 3.0 if left == GOAL and answers else -3.0
    have = Counter(_NUMBER.findall(left))
    used = Counter(_NUMBER.findall(line.partition("=")[0]))
    if not used:
        return 0.0
    if used <= have:
        return 1.5 if have - used <= Counter(_NUMBER.findall(_left(line))) else 1.0
    return 0.3 if used & have else -1.0


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {_shown(value)}, expected an object")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < math.inf:
        return float(value)
    raise ValueError(f"{where} is {_shown(value)}, expected a number from 0")


def _list(row: Mapping[str, Any], name: str, where: str, length: int | None = None) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list) or not value or length not in (None, len(value)):
        size = f"{len(value)} long" if isinstance(value, list) else _shown(value)
        wanted = "a list" if length is None else f"a list of {length}"
        raise ValueError(f"{where}.{name} is {size}, expected {wanted}")
    return value


def _shown(value: Any) -> str:
    return "missing" if value is None else json.dumps(value)[:40]
