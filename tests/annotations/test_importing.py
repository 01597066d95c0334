"""Files that people have are read in their usual forms, and a wrong line harms no other."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

from amp.annotations.exchange import import_annotations
from amp.annotations.store import Annotation, BadLine, write_annotations
from amp.errors import InvalidInputError

ROWS: list[dict[str, str]] = [
    {"task": "a", "step": "0", "rating": "1", "by": "ann", "goal": "one, or\n two?"},
    {"task": "a", "step": "1", "rating": "4", "by": "rule:count", "goal": ""},
]
NOTES = (
    Annotation("a", 0, 0.0, "person:ann", "one, or\n two?"),
    Annotation("a", 1, 0.75, "rule:count", ""),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ratings"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_and_json_lines_say_the_same(path: Path, delimiter: str) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    path.write_text("\ufeff" + table.getvalue(), newline="")
    assert import_annotations(path).good == NOTES
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert import_annotations(path).good == NOTES


def test_our_own_file_is_imported_as_it_is(path: Path) -> None:
    notes = (*NOTES, dataclasses.replace(NOTES[0], state="s", candidates=(0, 3)))
    write_annotations(path, notes)
    assert import_annotations(path).good == notes


def test_the_columns_may_have_their_other_names(path: Path) -> None:
    path.write_text("Annotator, Complexity ,STEP,task,mood\nann,0.25,2,a,good\n")
    (note,) = import_annotations(path).good
    assert (note.by, note.complexity, note.step) == ("person:ann", 0.25, 2)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,0,6,,ann", "rating is 6, expected 1 to 5"),
        ("a,0,hard,,ann", "rating is 'hard', expected a number"),
        ("a,0,,1.5,ann", "complexity is 1.5, expected 0 to 1"),
        ("a,0,3,0.5,ann", "rating and complexity are both given, expected one of them"),
        ("a,0,,,ann", "rating or complexity is missing"),
        ("a,0,3", "by or annotator is missing"),
        (",0,3,,ann", "task is missing"),
        ("a,0.5,3,,ann", "step is 0.5, expected an integer, 0 or more"),
        ("a,-1,3,,ann", "step is -1, expected an integer, 0 or more"),
        ("a,inf,3,,ann", "step is inf, expected an integer, 0 or more"),
        ("a,0,3,,ann,and,more", "7 cells, expected 5"),
        ('"a,0,3,,ann', "unexpected end of data"),
        ('"a"b,0,3,,ann', "',' expected after '\"'"),
    ],
)
def test_a_wrong_line_is_reported_and_the_others_are_kept(
    path: Path, line: str, reason: str
) -> None:
    path.write_text(f'task,step,rating,complexity,by\n"a\n",0,3,,ann\n{line}\nb,1,,0.5,bob\n')
    found = import_annotations(path)
    assert [(note.task, note.step, note.by) for note in found.good] == [
        ("a\n", 0, "person:ann"),
        ("b", 1, "person:bob"),
    ]
    assert found.bad == (BadLine(4, reason),)


def test_a_wrong_line_of_json_is_reported(path: Path) -> None:
    path.write_text(json.dumps(ROWS[0]) + '\n\n{"task": "a", "step": []}\n{\n')
    found = import_annotations(path)
    assert found.good == NOTES[:1]
    assert found.bad == (BadLine(3, "by or annotator is missing"), BadLine(4, "no JSON"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "has no column task"),
        ("task,step,by\n", "has no column rating or complexity"),
        ("task,step,rating,name\na,0,3,ann\n", "has no column by or annotator"),
        ("task,step,rating,by\n", "has no annotation"),
        ("task,step,rating,by\na,0,9,ann\n", "line 2: rating is 9"),
    ],
)
def test_a_file_without_a_single_annotation_is_refused(path: Path, text: str, named: str) -> None:
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=named):
        import_annotations(path)
