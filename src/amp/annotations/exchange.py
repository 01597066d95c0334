"""Annotations from and for other programs: CSV for spreadsheets, and Label Studio's JSON.

A file to import is CSV with a header, JSON lines, or a list of Label Studio's tasks. Columns:
``task``, ``step``; ``rating`` from 1 to 5, or ``complexity`` from 0 to 1; ``by``, or ``annotator``,
where a bare name is a person's; ``goal``, ``state``, ``why`` and ``candidates`` may be missing.
Other columns are ignored. Cells of CSV are separated by commas, semicolons or tabs, whichever is
most frequent in the header.

What is exported as CSV is imported as it was. A text that a spreadsheet would take for a formula,
as models may write one, has an apostrophe before it, which the import takes off.

A task of Label Studio is a step; its data have the columns ``task``, ``step``, ``goal`` and
``state``, and a ``text`` of all that is shown. `LABEL_STUDIO_CONFIG` is the configuration of its
project. Who rated is the user of Label Studio, unless the field "name" says another.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amp.annotations.collect import AnnotationItem
from amp.annotations.store import (
    SCALE,
    AnnotatedState,
    Annotation,
    Annotations,
    BadLine,
    complexity_of_rating,
    json_object,
    rating_of,
    read_text,
    some_good,
)
from amp.errors import InvalidInputError

_NEEDED = (("task",), ("step",), ("rating", "complexity"), ("by", "annotator"))
_TEXTS = ("task", "goal", "state", "why")
_COLUMNS = ("task", "step", "rating", "complexity", "by", "why", "goal", "state", "candidates")
_SHEET = ("task", "step", "goal", "plan", "state", "options", "rating", "why", "by")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")

_PERSON = "person:"
_SHOWN = "shown"
"""Name of what is rated in `LABEL_STUDIO_CONFIG`."""

ImportedRow = Mapping[str, object]

LABEL_STUDIO_CONFIG = f"""<View>
  <Text name="{_SHOWN}" value="$text"/>
  <Header value="How complex is this step?"/>
  <Header size="6" value="{"; ".join(f"{rating} {means}" for rating, means in SCALE.items())}"/>
  <Rating name="rating" toName="{_SHOWN}" maxRating="{max(SCALE)}" required="true"/>
  <TextArea name="why" toName="{_SHOWN}" rows="3" maxSubmissions="1" placeholder="Why?"/>
  <TextArea name="name" toName="{_SHOWN}" maxSubmissions="1" placeholder="Name"/>
</View>
"""
"""The labeling configuration of a project in Label Studio."""


def annotations_to_csv(annotations: Iterable[Annotation]) -> str:
    """A table of annotations. What is a rating from 1 to 5 is in its column, else complexity."""
    rows = []
    for annotation in annotations:
        rating = rating_of(annotation.complexity)
        rows.append(
            {
                **{name: _guarded(getattr(annotation, name)) for name in _TEXTS},
                "step": annotation.step,
                "rating": rating,
                "complexity": annotation.complexity if rating is None else None,
                "by": annotation.by,
                "candidates": " ".join(map(str, annotation.candidates)),
            }
        )
    return _table(_COLUMNS, rows)


def items_to_csv(items: Iterable[AnnotationItem], name: str = "") -> str:
    """A table of steps to be rated; rating, why and, without a name, by are to be filled in."""
    rows = [
        {
            "task": _guarded(item.task),
            "step": item.step,
            "goal": _guarded(item.goal),
            "plan": _guarded("\n".join(item.plan)),
            "options": _guarded("\n".join(item.options)),
            "state": _guarded(item.state),
            "by": name,
        }
        for item in items
    ]
    return _table(_SHEET, rows)


def instructions(sheet: str, filled: str) -> str:
    """What who rates with a table has to know (`items_to_csv`), as Markdown.

    Args:
        sheet: name of the table.
        filled: name under which it is to be handed in.
    """
    scale = "\n".join(f"- **{rating}**: {meaning}" for rating, meaning in SCALE.items())
    return f"""# How complex is each step?

`{sheet}` has a plan step in each row: the goal (`goal`), what was done before (`plan`), what the
planner knows now (`state`), and the actions that it may choose from (`options`; empty where an
action is free text). What was done in the step, and what came of it, is not there.

How complex is the step: how much thought does it take to choose a next action that leads to the
goal? Write a number into the column `rating`:

{scale}

- Rate every row, from the top to the bottom, and each one by itself.
- `why` is for the reason in a few words, and may stay empty.
- Leave all other columns as they are: they say which step it is.
- Do it on your own: look at no other sheet, run or label of these steps, and talk to nobody about
  them until all have handed in.
- Save the filled table beside it as `{filled}`, CSV in UTF-8.
"""


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _guarded(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def label_studio_tasks(
    items: Iterable[AnnotationItem], annotations: Iterable[Annotation] = ()
) -> str:
    """Steps as tasks of Label Studio, with the ratings that can be there (`for_label_studio`)."""
    given: dict[AnnotatedState, list[dict[str, object]]] = {}
    for annotation in annotations:
        if for_label_studio(annotation):
            given.setdefault(annotation.place, []).append({"result": _result(annotation)})
    tasks = []
    for item in items:
        plan = "\n".join(f"{number}. {action}" for number, action in enumerate(item.plan, start=1))
        options = "; ".join(item.options)  # many, and a line each would hide what is asked
        parts = (
            ("Goal", item.goal),
            ("Plan so far", plan),
            ("State", item.state),
            ("Options", options),
        )
        text = "\n\n".join(f"{name}:\n{part}" for name, part in parts if part)
        data = {"task": item.task, "step": item.step, "goal": item.goal, "state": item.state}
        task: dict[str, object] = {"data": data | {"text": text}}
        if found := given.get(item.place):
            task["annotations"] = found
        tasks.append(task)
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def for_label_studio(annotation: Annotation) -> bool:
    """Whether it is a person's rating from 1 to 5, which is all that the project knows."""
    is_rating = rating_of(annotation.complexity) is not None and not annotation.candidates
    return is_rating and annotation.by.startswith(_PERSON)


def items_of(annotations: Iterable[Annotation]) -> list[AnnotationItem]:
    """The steps that annotations are about, each once, without the plan before them."""
    found = {a.place: AnnotationItem(a.task, a.step, a.goal, a.state) for a in annotations}
    return list(found.values())


def _result(annotation: Annotation) -> list[dict[str, object]]:
    texts = {"why": annotation.why, "name": annotation.by.removeprefix(_PERSON)}
    values: list[tuple[str, str, object]] = [
        ("rating", "rating", rating_of(annotation.complexity)),
        *((name, "text", [text]) for name, text in texts.items() if text),
    ]
    return [
        {
            "from_name": name,
            "to_name": _SHOWN,
            "type": "textarea" if key == "text" else key,
            "value": {key: value},
        }
        for name, key, value in values
    ]


def import_annotations(path: Path) -> Annotations:
    """Reads a file of annotations; a line with an error does not affect the others.

    A file whose first character is ``{`` is read as JSON lines, one that begins with ``[`` as Label
    Studio's, any other as CSV.

    Raises:
        InvalidInputError: if there is no such file, it is not UTF-8, its header lacks a column, or
            no line is an annotation.
    """
    text = read_text(path)
    kind = text.lstrip()[:1]
    what = "task" if kind == "[" else "line"
    if kind == "[":
        rows = _label_studio_rows(path, text)
    else:
        rows = _json_rows(text) if kind == "{" else _csv_rows(path, text)
    good: list[Annotation] = []
    bad: list[BadLine] = []
    for number, row in rows:
        try:
            if isinstance(row, ValueError):
                raise row
            good.append(_annotation(row))
        except ValueError as error:
            bad.append(BadLine(number, str(error), what))
    return some_good(path, Annotations(tuple(good), tuple(bad)), "annotation")


def _json_rows(text: str) -> Iterator[tuple[int, ImportedRow | ValueError]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json_object(line)
            except ValueError as error:
                yield number, error


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, ImportedRow | ValueError]]:
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
                    yield number, _unguarded(dict(zip(columns, cells, strict=False)))
                number = start + rows.line_num + 1
            return
        except csv.Error as error:
            yield number, ValueError(str(error))
            start = number  # an unclosed quote must not swallow the lines after it


def _unguarded(row: dict[str, str]) -> ImportedRow:
    for name in _TEXTS:
        if _FORMULA.match(text := row.get(name, "")):
            row[name] = text.removeprefix("'")
    return row


def _label_studio_rows(path: Path, text: str) -> Iterator[tuple[int, ImportedRow | ValueError]]:
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInputError(
            f"{path} is no JSON; expected what Label Studio exports as JSON"
        ) from None
    for number, task in enumerate(tasks, start=1):
        data = task.get("data") if isinstance(task, dict) else None
        given = task.get("annotations", []) if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(given, list):
            yield number, ValueError("expected an object with data and annotations")
            continue
        for one in given:
            try:
                if row := _label_studio_row(data, one):
                    yield number, row
            except ValueError as error:
                yield number, error


def _label_studio_row(data: Mapping[str, object], given: Any) -> ImportedRow | None:
    """What an annotation of Label Studio says; None if the step was skipped."""
    result = given.get("result") if isinstance(given, dict) else None
    if not isinstance(result, list) or not all(isinstance(part, dict) for part in result):
        raise ValueError("expected annotations with a result")
    if given.get("was_cancelled"):
        return None
    found: dict[str, object] = {}
    for part in result:
        value = part.get("value")
        if part.get("from_name") in ("rating", "why", "name") and isinstance(value, dict):
            found[part["from_name"]] = _text(value["text"]) if "text" in value else value
    rating = found.get("rating")
    user = given.get("completed_by")
    if isinstance(user, dict):
        user = user.get("email") or user.get("id")
    name = found.get("name") or (f"user {user}" if isinstance(user, int) else user)
    return {
        **{column: data.get(column) for column in ("task", "step", "goal", "state")},
        "rating": rating.get("rating") if isinstance(rating, dict) else rating,
        "why": found.get("why"),
        "by": f"{_PERSON}{name}" if name else None,
    }


def _text(value: object) -> object:
    is_list = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "\n".join(value) if is_list else value  # type: ignore[arg-type]  # checked


def _annotation(row: ImportedRow) -> Annotation:
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
    goal, state, why = (row.get(name) or "" for name in ("goal", "state", "why"))
    return Annotation(
        task=task,  # type: ignore[arg-type]  # the annotation checks that it is text
        step=int(step),
        complexity=complexity_of_rating(number) if scale == "rating" else number,
        by=author.strip() if ":" in author else f"person:{author.strip()}",
        goal=goal,  # type: ignore[arg-type]
        state=state,  # type: ignore[arg-type]
        candidates=_candidates(row.get("candidates")),
        why=why,  # type: ignore[arg-type]
    )


def _candidates(value: object) -> tuple[int, ...]:
    if isinstance(value, str):
        numbers = value.split()
        if not all(number.isdecimal() for number in numbers):
            raise ValueError(f"candidates is {value!a:.60}, expected integers with spaces between")
        return tuple(map(int, numbers))
    return tuple(value) if isinstance(value, list) else ()


def _one_of(row: ImportedRow, *names: str) -> tuple[str, object]:
    """Name and value of the one of these columns that is not empty."""
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
