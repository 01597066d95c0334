"""Annotations: how complex a plan step is, as a person or a rule says (spec 3.4.1), and their file.

A file of annotations is JSON lines, one annotation a line with the fields of `Annotation` as keys;
other keys are ignored, so that a file may carry more than amp reads. Where one author annotates one
step twice, the later line counts.

What is changed is replaced in one go, and all other lines stay, also those that are no annotations,
to be put right by whoever wrote them. Programs that change one file at the same moment take turns.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from amp.errors import InvalidInputError
from amp.files import lock_file, read_file, replace_file, writing

SCALE = {
    1: "trivial: the next step is plain to see",
    2: "easy: a moment's thought",
    3: "moderate: several things have to be put together",
    4: "hard: has to be thought through some steps ahead",
    5: "needs the whole problem thought through",
}
"""What a person may answer, and what each rating means."""

_AUTHOR = re.compile(r"(person|rule):[^:\s]([^:]*[^:\s])?")


class AnnotatedState(NamedTuple):
    """What an annotation is about: a step of a task in a state, since runs differ in the states."""

    task: str
    step: int
    state: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """ "This step of this task has complexity x, said by WHO."

    It holds what its author saw, so that it is of use without the run that the step is from.

    Attributes:
        task: id of the task.
        step: index of the step in its plan, from 0.
        complexity: in [0, 1]; a rating from 1 to 5 is (rating - 1) / 4.
        by: who says so: ``person:NAME`` or ``rule:NAME``.
        goal: the goal in words.
        state: the state in words.
        candidates: indices of the step's candidates that were known; empty before its first round.
        why: the reason in its author's words; empty where none was given.

    Raises:
        ValueError: if a value is not of its type or out of its range; the message names the field.
    """

    task: str
    step: int
    complexity: float
    by: str
    goal: str
    state: str = ""
    candidates: tuple[int, ...] = ()
    why: str = ""

    def __post_init__(self) -> None:
        for name in ("task", "by", "goal", "state", "why"):
            _check_text(name, getattr(self, name))
        if not self.task.strip():
            raise ValueError("task is empty, expected the id of a task")
        if not _is_index(self.step):
            raise ValueError(f"step is {_shown(self.step)}, expected an integer, 0 or more")
        if not _is_share(self.complexity):
            raise ValueError(f"complexity is {_shown(self.complexity)}, expected 0 to 1")
        if not (_AUTHOR.fullmatch(self.by) and self.by.isprintable()):
            raise ValueError(f"by is {_shown(self.by)}, expected person:NAME or rule:NAME")
        if not all(_is_index(index) for index in self.candidates):
            raise ValueError(
                f"candidates is {_shown(self.candidates)}, expected integers, 0 or more"
            )

    @property
    def place(self) -> AnnotatedState:
        return AnnotatedState(self.task, self.step, self.state)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_shown(value)}, expected text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not UTF-8 at character {error.start}") from None


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _shown(value: object) -> str:
    """A value in a message: as Python writes it, cut to a few words."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def complexity_of_rating(rating: float) -> float:
    """The complexity that a rating from 1 to 5 stands for: (rating - 1) / 4.

    Raises:
        ValueError: if the rating is not in 1 to 5.
    """
    lowest, highest = min(SCALE), max(SCALE)
    if not (math.isfinite(rating) and lowest <= rating <= highest):
        raise ValueError(f"rating is {rating:g}, expected {lowest} to {highest}")
    return (rating - lowest) / (highest - lowest)


def rating_of(complexity: float) -> int | None:
    """The rating from 1 to 5 that stands for a complexity; None if none does."""
    return next((r for r in SCALE if complexity_of_rating(r) == complexity), None)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be read.

    Attributes:
        number: of the line in its file, from 1.
        reason: what is wrong with it, in one line.
        what: is numbered, where a file has no lines.
    """

    number: int
    reason: str
    what: str = "line"


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a file holds: the annotations that could be read, and the lines that could not."""

    good: tuple[Annotation, ...]
    bad: tuple[BadLine, ...]


def annotation_to_json(annotation: Annotation) -> str:
    """One line of JSON, without its end; a reason that was not given is left out."""
    row = asdict(annotation)
    if not annotation.why:
        del row["why"]
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def json_object(line: str) -> dict[str, object]:
    """Reads a line that holds one JSON object.

    Raises:
        ValueError: if it holds none; the message is one line.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(row, dict):
        raise ValueError(f"a JSON {type(row).__name__}, expected an object")
    return row


def annotation_from_json(line: str) -> Annotation:
    """Reads what `annotation_to_json` wrote.

    Raises:
        ValueError: if the line is no annotation; the message is one line and names the field.
    """
    row = json_object(line)
    known = {name: row[name] for name in Annotation.__dataclass_fields__ if name in row}
    missing = [name for name in ("task", "step", "complexity", "by", "goal") if name not in known]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    candidates = known.pop("candidates", [])
    if not isinstance(candidates, list):
        raise ValueError(f"candidates is {_shown(candidates)}, expected a list of integers")
    # The fields are of any type until the annotation checks them.
    return Annotation(**known, candidates=tuple(candidates))  # type: ignore[arg-type]


def parse_annotations(text: str) -> Annotations:
    """Reads the text of a file of annotations; blank lines are no lines."""
    good: list[Annotation] = []
    bad: list[BadLine] = []
    # Not splitlines: JSON may hold other ends of lines, such as U+2028, inside its strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            good.append(annotation_from_json(line))
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
    return Annotations(tuple(good), tuple(bad))


def read_annotations(path: Path) -> Annotations:
    """Reads a file of annotations; a wrong line is kept apart and harms no other.

    Raises:
        InvalidInputError: if there is no such file, it is not UTF-8, or no line is an annotation.
    """
    return some_good(path, parse_annotations(read_text(path)), "annotation")


def some_good(path: Path, annotations: Annotations, what: str) -> Annotations:
    """Returns what was read from a file, or says why nothing was.

    Raises:
        InvalidInputError: if no line is good; names the first bad one.
    """
    bad = annotations.bad
    if annotations.good:
        return annotations
    first = f"; {bad[0].what} {bad[0].number}: {bad[0].reason}" if bad else ""
    raise InvalidInputError(f"{path} has no {what}{first}")


def read_text(path: Path) -> str:
    """Reads a whole file.

    Raises:
        InvalidInputError: if there is none, or it is not UTF-8.
    """
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8 at byte {error.start}") from None


def write_annotations(path: Path, annotations: Iterable[Annotation], append: bool = False) -> None:
    """Writes a file of annotations: replaces it in one go, or adds to it line by line.

    With `append`, every annotation is on disk before the next one is written; a line that a kill
    cut short stays a line of its own.

    Raises:
        InvalidInputError: if the file cannot be written.
    """
    lines = (annotation_to_json(annotation) + "\n" for annotation in annotations)
    if append:
        _append(path, lines)
    else:
        replace_file(path, "".join(lines).encode())


def _append(path: Path, lines: Iterable[str]) -> None:
    with lock_file(path, wait=True), writing(path), path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        for line in lines:
            file.write(line.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())


def add_annotations(path: Path, annotations: Iterable[Annotation]) -> int:
    """Adds the annotations that the file does not hold yet, in their order; makes it if need be.

    Returns:
        How many were added.

    Raises:
        InvalidInputError: if the file cannot be read or written.
    """
    with lock_file(path, wait=True):
        text = read_text(path) if path.exists() else ""
        if text and not text.endswith("\n"):
            text += "\n"
        known = set(parse_annotations(text).good)
        new = [annotation for annotation in dict.fromkeys(annotations) if annotation not in known]
        text += "".join(annotation_to_json(annotation) + "\n" for annotation in new)
        replace_file(path, text.encode())
    return len(new)


def remove_annotations(path: Path, by: str, place: AnnotatedState) -> None:
    """Removes all that one author said about one step.

    Raises:
        InvalidInputError: if the file cannot be read or written.
    """

    def stays(line: str) -> bool:
        try:
            annotation = annotation_from_json(line)
        except ValueError:
            return True
        return (annotation.by, annotation.place) != (by, place)

    with lock_file(path, wait=True):
        lines = read_text(path).split("\n")
        replace_file(path, "\n".join(line for line in lines if stays(line)).encode())
