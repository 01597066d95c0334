"""What is changed is changed, and every other line stays byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from amp.annotations.store import (
    Annotation,
    add_annotations,
    annotation_to_json,
    read_annotations,
    remove_annotations,
)


def note(step: int, by: str = "person:ann", complexity: float = 0.5) -> Annotation:
    return Annotation("task", step, complexity, by, "goal")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "annotations.jsonl"


def test_adding_twice_adds_once(path: Path) -> None:
    notes = [note(0), note(1), note(0)]
    assert add_annotations(path, notes) == 2
    before = path.read_bytes()
    assert add_annotations(path, notes) == 0
    assert path.read_bytes() == before
    assert read_annotations(path).good == (note(0), note(1))


def test_adding_keeps_what_cannot_be_read(path: Path) -> None:
    path.write_text('{"mine": 1}\n\nhalf a li')
    assert add_annotations(path, [note(0)]) == 1
    assert path.read_text() == f'{{"mine": 1}}\n\nhalf a li\n{annotation_to_json(note(0))}\n'


def test_removing_takes_all_that_one_author_said_about_one_step(path: Path) -> None:
    others = [note(0, "person:bob"), note(1)]
    rows = [note(0), others[0], note(0, complexity=1.0), others[1]]
    path.write_text("?\n" + "".join(annotation_to_json(row) + "\n" for row in rows))
    remove_annotations(path, "person:ann", note(0).place)
    assert path.read_text() == "?\n" + "".join(annotation_to_json(row) + "\n" for row in others)
