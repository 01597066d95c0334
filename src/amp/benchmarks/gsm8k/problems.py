"""Reading problems from files of lines ``{"question": ..., "answer": ...}``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amp.benchmarks.gsm8k.answers import official_answer
from amp.errors import InvalidInputError, MissingDependencyError

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
        except UnicodeDecodeError:
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
