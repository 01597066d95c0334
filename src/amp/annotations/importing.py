"""Annotations from files that people have: CSV with a header, or JSON lines.

Columns: ``task``, ``step``; ``rating`` from 1 to 5, or ``complexity`` from 0 to 1; ``by``, or
``annotator``, where a bare name is a person's; ``goal`` and ``state`` may be missing. Of JSON lines
``candidates`` are kept, too. Other columns are ignored. Cells of CSV are separated by commas,
semicolons or tabs, whichever the header has most of.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from amp.annotations.base import (
    Annotation,
    Annotations,
    BadLine,
    complexity_of_rating,
    json_object,
    read_text,
    some_good,
)
from amp.errors import InvalidInputError

_NEEDED = (("task",), ("step",), ("rating", "complexity"), ("by", "annotator"))

Row = Mapping[str, object]


def import_annotations(path: Path) -> Annotations:
    """Reads a file of annotations in one of the usual forms; a wrong line harms no other.

    A file whose first character is ``{`` is read as JSON lines, any other as CSV.

    Raises:
        InvalidInputError: if there is no such file, it is not UTF-8, its header lacks a column, or
            no line is an annotation.
    """
    text = read_text(path)
    rows = _json_rows(text) if text.lstrip().startswith("{") else _csv_rows(path, text)
    good: list[Annotation] = []
    bad: list[BadLine] = []
    for number, row in rows:
        try:
            if isinstance(row, ValueError):
                raise row
            good.append(_annotation(row))
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
    return some_good(path, Annotations(tuple(good), tuple(bad)), "annotation")


def _json_rows(text: str) -> Iterator[tuple[int, Row | ValueError]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json_object(line)
            except ValueError as error:
                yield number, error


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Row | ValueError]]:
    lines = list(io.StringIO(text, newline=""))
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    columns = [name.strip().strip('"').lower() for name in header.split(delimiter)]
    for names in _NEEDED:
        if not set(names) & set(columns):
            raise InvalidInputError(
                f"{path} has no column {' or '.join(names)}; its header is {header.strip()!r:.80}"
            )
    start = 1
    while start < len(lines):
        rows = csv.reader(lines[start:], delimiter=delimiter, strict=True)
        number = start + 1
        try:
            for cells in rows:
                if len(cells) > len(columns):
                    yield number, ValueError(f"{len(cells)} cells, expected {len(columns)}")
                elif any(cell.strip() for cell in cells):
                    yield number, dict(zip(columns, cells, strict=False))
                number = start + rows.line_num + 1
            return
        except csv.Error as error:
            yield number, ValueError(str(error))
            start = number  # a quote that is never closed must not swallow the lines after it


def _annotation(row: Row) -> Annotation:
    """Reads one row.

    Raises:
        ValueError: if it is no annotation; the message is one line and names the column.
    """
    author = _one_of(row, "by", "annotator")[1]
    if not isinstance(author, str):
        raise ValueError(f"by is {author!r:.60}, expected text")
    scale, value = _one_of(row, "rating", "complexity")
    number = _number(scale, value)
    step = _number("step", _one_of(row, "step")[1])
    if not step.is_integer():
        raise ValueError(f"step is {step:g}, expected an integer, 0 or more")
    task = _one_of(row, "task")[1]
    goal, state = ("" if row.get(name) is None else row[name] for name in ("goal", "state"))
    candidates = row.get("candidates")
    return Annotation(
        task=task,  # type: ignore[arg-type]  # the annotation checks that it is text
        step=int(step),
        complexity=complexity_of_rating(number) if scale == "rating" else number,
        by=author.strip() if ":" in author else f"person:{author.strip()}",
        goal=goal,  # type: ignore[arg-type]
        state=state,  # type: ignore[arg-type]
        candidates=tuple(candidates) if isinstance(candidates, list) else (),
    )


def _one_of(row: Row, *names: str) -> tuple[str, object]:
    """The one of these columns that has something in it, with what it has."""
    filled = [(name, row[name]) for name in names if row.get(name) not in (None, "")]
    if len(filled) > 1:
        raise ValueError(f"{' and '.join(names)} are both given, expected one of them")
    if not filled:
        raise ValueError(f"{' or '.join(names)} is missing")
    return filled[0]


def _number(name: str, value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{name} is {value!r:.60}, expected a number")
