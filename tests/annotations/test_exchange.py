"""What goes out to other programs and comes back is what it was."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.annotations.collect import AnnotationItem
from amp.annotations.exchange import (
    LABEL_STUDIO_CONFIG,
    annotations_to_csv,
    for_label_studio,
    import_annotations,
    items_of,
    items_to_csv,
    label_studio_tasks,
)
from amp.annotations.store import SCALE, Annotation, BadLine
from amp.errors import InvalidInputError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
ITEM = AnnotationItem("t", 2, "the goal", "the state", ("go", "wait"))


@st.composite
def said(draw: st.DrawFn, whole: bool = False) -> Annotation:
    ratings = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    return Annotation(
        task=draw(TEXTS.filter(str.strip)),
        step=draw(st.integers(0, 10**6)),
        complexity=draw(ratings if whole else ratings | st.floats(0, 1)),
        by="person:" * whole + draw(NAMES if whole else NAMES.map("rule:{}".format)),
        goal=draw(TEXTS),
        state=draw(TEXTS | st.sampled_from(["=1+1", "'=1", "-a", "'+", "'x"])),
        candidates=() if whole else tuple(draw(st.lists(st.integers(0, 99), max_size=3))),
        why=draw(TEXTS),
    )


@settings(deadline=None)
@given(notes=st.lists(said() | said(whole=True), min_size=1, max_size=5))
def test_csv_brings_back_what_was_exported(
    notes: list[Annotation], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("e") / "a.csv"
    text = annotations_to_csv(notes)
    path.write_text(text, encoding="utf-8", newline="")
    found = import_annotations(path)
    assert (list(found.good), found.bad) == (notes, ())
    for row in csv.DictReader(io.StringIO(text, newline="")):  # no cell is a formula
        assert not any(
            cell[:1] in ("=", "+", "-", "@", "\t", "\r") for cell in row.values() if cell
        )


@settings(deadline=None)
@given(notes=st.lists(said(whole=True), min_size=1, max_size=5))
def test_label_studio_brings_back_what_was_exported(
    notes: list[Annotation], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("e") / "a.json"
    first: dict[object, str] = {}
    # One task has one goal.
    notes = [
        dataclasses.replace(note, goal=first.setdefault(note.place, note.goal)) for note in notes
    ]
    path.write_text(label_studio_tasks(items_of(notes), notes), encoding="utf-8")
    found = import_annotations(path)
    assert found.bad == ()
    assert sorted(map(repr, found.good)) == sorted(map(repr, notes))


def test_a_rating_made_in_label_studio_is_read(tmp_path: Path) -> None:
    """Results in the form that Label Studio documents, which its SDK 2.1.2 takes for valid."""
    (task,) = json.loads(label_studio_tasks([ITEM]))
    assert "annotations" not in task
    assert task["data"]["text"] == (
        "Goal:\nthe goal\n\nPlan so far:\n1. go\n2. wait\n\nState:\nthe state"
    )

    def result(rating: int, **texts: str) -> list[dict[str, object]]:
        both: dict[str, object] = {"to_name": "shown", "origin": "manual", "id": "x"}
        return [
            {"from_name": "rating", "type": "rating", "value": {"rating": rating}, **both},
            *(
                {"from_name": name, "type": "textarea", "value": {"text": [text]}, **both}
                for name, text in texts.items()
            ),
        ]

    task["annotations"] = [
        {"id": 1, "completed_by": 7, "was_cancelled": False, "result": result(4, why="far")},
        {"id": 2, "completed_by": {"id": 8, "email": "b@x.org"}, "result": result(2)},
        {"id": 3, "completed_by": 7, "result": result(5, name="cleo")},
        {"id": 4, "completed_by": 9, "was_cancelled": True, "result": []},
        {"id": 5, "completed_by": 9, "result": []},
        {"id": 6, "completed_by": 9, "result": result(9)},
        {"id": 7, "completed_by": 9, "result": result(1, name="rule:x")},
        {"id": 8, "result": result(1)},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task, {"id": 2}, 3]))
    found = import_annotations(path)
    base = Annotation("t", 2, 0.75, "person:user 7", "the goal", "the state", why="far")
    assert found.good == (
        base,
        dataclasses.replace(base, complexity=0.25, by="person:b@x.org", why=""),
        dataclasses.replace(base, complexity=1.0, by="person:cleo", why=""),
    )
    assert found.bad == (
        BadLine(1, "rating or complexity is missing", "task"),
        BadLine(1, "rating is 9, expected 1 to 5", "task"),
        BadLine(1, "by is 'person:rule:x', expected person:NAME or rule:NAME", "task"),
        BadLine(1, "by or annotator is missing", "task"),
        BadLine(2, "expected an object with data and annotations", "task"),
        BadLine(3, "expected an object with data and annotations", "task"),
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "has no annotation$"),
        ('[{"data": {}, "annotations": [{}]}]', "task 1: expected annotations with a result"),
    ],
)
def test_a_file_of_tasks_without_a_rating_is_refused(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=named):
        import_annotations(path)


def test_only_peoples_whole_ratings_go_to_label_studio() -> None:
    note = Annotation("t", 0, 0.5, "person:ann", "g")
    assert for_label_studio(note)
    for other in ({"by": "rule:x"}, {"complexity": 0.3}, {"candidates": (0,)}):
        assert not for_label_studio(dataclasses.replace(note, **other))


def test_the_configuration_names_what_tasks_have() -> None:
    root = ElementTree.fromstring(LABEL_STUDIO_CONFIG)
    (shown,) = root.findall("Text")
    controls = [*root.findall("Rating"), *root.findall("TextArea")]
    assert {each.get("toName") for each in controls} == {shown.get("name")}
    assert [each.get("name") for each in controls] == ["rating", "why", "name"]
    assert root.find("Rating[@maxRating='5']") is not None
    header = root.findall("Header")[1].get("value") or ""
    assert all(meaning in header for meaning in SCALE.values())
    data = json.loads(label_studio_tasks([ITEM]))[0]["data"]
    assert (shown.get("value") or "").removeprefix("$") in data


def test_a_table_of_steps_comes_back_when_it_is_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    item = AnnotationItem("t", 2, "=goal", 'a,\n"b"', ("-1",), ("=go", "wait"))
    rows = list(csv.DictReader(io.StringIO(items_to_csv([item, item]), newline="")))
    assert rows[0] == {
        "task": "t", "step": "2", "goal": "'=goal", "plan": "'-1", "state": "a,\n\"b\"",
        "options": "'=go\nwait", "rating": "", "why": "", "by": "",
    }  # fmt: skip
    rows[0] |= {"rating": "4", "by": "ann", "why": "long"}
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=";")  # as spreadsheets do
        writer.writeheader()
        writer.writerows(rows)
    found = import_annotations(path)
    assert found.good == (Annotation("t", 2, 0.75, "person:ann", "=goal", 'a,\n"b"', why="long"),)
    assert found.bad == (BadLine(5, "by or annotator is missing"),)


def test_what_label_studio_itself_has_exported_is_imported() -> None:
    """Two ratings that were made by its API on tasks of ours, in the version of the file's name."""
    found = import_annotations(Path(__file__).parents[1] / "data" / "label-studio-1.23.json")
    assert [(a.task, a.step, a.complexity, a.by, a.why) for a in found.good] == [
        ("BabyAI-GoToSeqS5R2-v0/0", 0, 0.25, "person:user 1", "because 0"),
        ("BabyAI-PickupLoc-v0/3", 2, 0.75, "person:user 1", "because 1"),
    ]
    assert all(a.state.startswith("You see a wall") for a in found.good)
    assert found.bad == ()
