"""Annotations by a rule: what the human solution of a problem still has to do (spec 3.4.1).

Every beginning of a solution, from none of its lines to all but one, is a step. Its complexity is
that of finishing from there, counted in the lines and the operations that are still to come:

    complexity = effort / (effort + HALF_EFFORT),    effort = lines + operations

Operations are the arithmetic operators in the calculator annotations (``<<48/2=24>>``) of those
lines; what a solution works out without them is counted as lines alone. The map rises with effort,
is 0 where nothing is left, and saturates towards 1, so that no length has to be named as the
longest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from amp.annotations.base import Annotation
from amp.benchmarks.data import find_data
from amp.benchmarks.gsm8k.problems import Problem, read_problems, split_training
from amp.errors import InvalidInputError

AUTHOR = "rule:human_solution"
SPLITS = ("train", "dev")
"""The test split has no annotations, so that nothing is learned from its solutions."""

HALF_EFFORT = 7.0
"""Effort of complexity one half: the median of whole solutions of the train split."""

_ANNOTATION = re.compile(r"<<([^<>]*?)(?:=[^<>]*)?>>")
_OPERATOR = re.compile(r"(?<=[\d.)%])\s*(?://|[-+*/])")  # after an operand: a sign is no operator


def solution_annotations(split: str, problem: Problem) -> Iterator[Annotation]:
    """Annotates every beginning of the human solution of a problem, the shortest first.

    The step is the number of lines that are there, and the state are those lines without their
    calculator annotations, as in plans whose steps are pieces of reasoning.

    Args:
        split: the split that the problem is from, a part of the task's id.
        problem: the problem.
    """
    for done in range(len(problem.solution)):
        yield Annotation(
            task=f"gsm8k/{split}/{problem.number}",
            step=done,
            complexity=complexity_of_rest(problem.solution[done:]),
            by=AUTHOR,
            goal=problem.question,
            state="\n".join(_ANNOTATION.sub("", line) for line in problem.solution[:done]),
        )


def complexity_of_rest(lines: Sequence[str]) -> float:
    """Complexity of writing these lines, in [0, 1); 0 for no lines (module docstring)."""
    effort = len(lines) + sum(operations(line) for line in lines)
    return effort / (effort + HALF_EFFORT)


def operations(line: str) -> int:
    """How many arithmetic operators a line's calculator annotations hold."""
    return sum(len(_OPERATOR.findall(worked_out)) for worked_out in _ANNOTATION.findall(line))


def read_solutions(split: str = "train", data: Path | None = None) -> list[Problem]:
    """Reads the problems of a split whose solutions may be learned from.

    Args:
        split: ``train`` or ``dev``.
        data: directory of the benchmarks' data; None for the usual places.

    Raises:
        InvalidInputError: if the split is neither, or a line is no problem.
        MissingDependencyError: if the data is not there.
    """
    if split not in SPLITS:
        raise InvalidInputError(f"split is {split!r}, expected {' or '.join(SPLITS)}")
    parts = split_training(read_problems(find_data("gsm8k", data) / "train.jsonl"))
    return parts.train if split == "train" else parts.dev
