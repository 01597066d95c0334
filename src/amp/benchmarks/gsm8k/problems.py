"""Problems: their files, and annotations from human solutions.

Files have lines ``{"question": ..., "answer": ...}``.

A human solution says how much is still to do (spec 3.4.1): every beginning of it, from none of its
lines to all but one, is a step. Its complexity is that of finishing from there, counted in the
lines and the operations that are still to come:

    complexity = effort / (effort + HALF_EFFORT),    effort = lines + operations

Operations are the arithmetic operators in the calculator annotations (``<<48/2=24>>``) of those
lines; what a solution works out without them is counted as lines alone. The map rises with effort,
is 0 where nothing is left, and saturates towards 1, so that no length has to be named as the
longest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from amp.annotations.store import Annotation
from amp.benchmarks.download import RemoteFile, fetch, find_data
from amp.benchmarks.gsm8k.environment import official_answer
from amp.errors import InvalidInputError, MissingDependencyError
from amp.models.download import Progress

_REPOSITORY = (
    "https://raw.githubusercontent.com/openai/grade-school-math/"
    "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data/"
)

PUBLISHED = (
    RemoteFile(
        "test.jsonl",
        f"{_REPOSITORY}test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    ),
    RemoteFile(
        "train.jsonl",
        f"{_REPOSITORY}train.jsonl",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    ),
)
"""Both files of GSM8K's repository, first the one that replays of test runs need."""


def fetch_problems(folder: Path, progress: Progress) -> None:
    """Brings both files into a folder."""
    for file in PUBLISHED:
        fetch(file, folder, progress, PUBLISHED)


DEV_PROBLEMS = 500
_OWN_PROBLEMS = Path(__file__).with_name("problems.jsonl")


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem.

    Attributes:
        number: line of the file that it is from, counted from 0.
        question: its text.
        answer: the final answer as the official scorer reads it.
        solution: the lines of the human solution before its final ``####``, none of them blank,
            with its ``<<48/2=24>>`` annotations.
    """

    number: int
    question: str
    answer: str
    solution: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Lines of reasoning in the human solution, a measure of difficulty."""
        return len(self.solution)


def read_problems(path: Path) -> list[Problem]:
    """Reads a file of problems in its order.

    Raises:
        InvalidInputError: if a line is not a problem or not UTF-8; names the file and the line.
        MissingDependencyError: if the file cannot be read.
    """
    return list(_read(path))


def _read(path: Path) -> Iterator[Problem]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise MissingDependencyError(f"cannot read {path}: {error.strerror}") from None
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
            question, solution = row["question"], row["answer"]
            answer = official_answer(solution)
            f"{question}{solution}".encode()  # JSON can spell what is no text
        except UnicodeError:
            raise InvalidInputError(f"{path}:{number + 1}: not UTF-8") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _no_problem(path, number) from None
        if not isinstance(question, str) or not question.strip() or answer is None:
            raise _no_problem(path, number)
        reasoning = [text.strip() for text in solution.split("####")[0].splitlines()]
        yield Problem(number, question.strip(), answer, tuple(filter(None, reasoning)))


def _no_problem(path: Path, number: int) -> InvalidInputError:
    return InvalidInputError(
        f'{path}:{number + 1}: expected {{"question": "...", "answer": "... #### N"}}'
    )


def own_problems() -> list[Problem]:
    """The six problems that ship with amp, for a first try without any data."""
    return read_problems(_OWN_PROBLEMS)


@dataclass(frozen=True, slots=True)
class TrainingSplit:
    """The training file in two parts that share no problem, both in the order of the file."""

    train: list[Problem]
    dev: list[Problem]


def split_training(problems: list[Problem]) -> TrainingSplit:
    """Parts training problems by a fixed rule.

    Dev are the `DEV_PROBLEMS` problems (a tenth of a file with fewer than ten times as many) whose
    SHA-256 of ``gsm8k/dev/NUMBER`` is smallest. No generator of random numbers is involved, so the
    split is the same on every machine.
    """

    def rank(problem: Problem) -> bytes:
        return hashlib.sha256(f"gsm8k/dev/{problem.number}".encode()).digest()

    size = min(DEV_PROBLEMS, len(problems) // 10)
    dev = {problem.number for problem in sorted(problems, key=rank)[:size]}
    return TrainingSplit(
        [problem for problem in problems if problem.number not in dev],
        [problem for problem in problems if problem.number in dev],
    )


AUTHOR = "rule:human_solution"
SPLITS = ("train", "dev")
"""The test split has no annotations, so that nothing is learned from its solutions."""

HALF_EFFORT = 7.0
"""Effort of complexity one half: the median of whole solutions of the train split."""

_ANNOTATION = re.compile(r"<<([^<>=]*)(?:=[^<>]*)?>>")
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
