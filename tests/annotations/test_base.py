"""Annotations survive the file, a wrong line harms no other, and nothing that was rated is lost."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.annotations.store import (
    Annotation,
    BadLine,
    annotation_to_json,
    complexity_of_rating,
    parse_annotations,
    read_annotations,
    write_annotations,
)
from amp.errors import InvalidInputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANNOTATIONS = st.builds(
    Annotation,
    task=TEXT.filter(str.strip),
    step=st.integers(0, 99),
    complexity=st.floats(0, 1),
    by=st.sampled_from(["person:ann", "person:Bob B", "rule:human_solution"]),
    goal=TEXT,
    state=TEXT,
    candidates=st.lists(st.integers(0, 9), max_size=3).map(tuple),
)
ONE = Annotation("gsm8k/test/3", 1, 0.5, "person:ann", "How many?", "2 + 2 = 4", (0, 2))


@given(st.lists(ANNOTATIONS, min_size=1, max_size=5))
def test_what_is_written_is_read_again(annotations: list[Annotation]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, grown = Path(folder, "whole"), Path(folder, "grown")
        write_annotations(whole, annotations)
        for annotation in annotations:
            write_annotations(grown, [annotation], append=True)
        assert read_annotations(whole).good == tuple(annotations)
        assert grown.read_bytes() == whole.read_bytes()


@given(st.lists(st.one_of(ANNOTATIONS, st.sampled_from(["{", "[]", "{}", "no", '{"a": NaN}']))))
def test_a_wrong_line_harms_no_other(lines: list[Annotation | str]) -> None:
    text = "\n".join(line if isinstance(line, str) else annotation_to_json(line) for line in lines)
    found = parse_annotations(text)
    assert found.good == tuple(line for line in lines if isinstance(line, Annotation))
    assert [bad.number for bad in found.bad] == [
        number for number, line in enumerate(lines, start=1) if isinstance(line, str)
    ]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("task", " ", "task is empty"),
        ("task", 3, "task is 3, expected text"),
        ("step", -1, "step is -1, expected an integer, 0 or more"),
        ("step", True, "step is True"),
        ("step", 1.0, "step is 1.0"),
        ("complexity", 1.01, "complexity is 1.01, expected 0 to 1"),
        ("complexity", math.nan, "complexity is nan"),
        ("complexity", math.inf, "complexity is inf"),
        ("complexity", 10**400, "complexity is 1000"),
        ("complexity", "0.5", "complexity is '0.5'"),
        ("by", "ann", "by is 'ann', expected person:NAME or rule:NAME"),
        ("by", "person:", "by is 'person:'"),
        ("by", "person:a\u001bb", "by is 'person:a\\x1bb'"),
        ("goal", None, "goal is None, expected text"),
        ("goal", "\ud800", "goal is not UTF-8 at character 0"),
        ("candidates", [-1], "candidates is (-1,)"),
        ("candidates", "01", "candidates is '01', expected a list"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, reason: str) -> None:
    row = json.dumps(dataclasses.asdict(ONE) | {field: value})
    found = parse_annotations(row)
    assert found.good == ()
    assert found.bad[0].reason.startswith(reason)
    assert len(found.bad[0].reason) < 140


def test_a_field_that_is_missing_is_named_and_one_too_many_is_ignored() -> None:
    row = dataclasses.asdict(ONE)
    assert parse_annotations(json.dumps(row | {"mood": "good"})).good == (ONE,)
    del row["by"]
    assert parse_annotations(json.dumps(row)).bad == (BadLine(1, "by is missing"),)


def test_a_line_that_a_kill_cut_short_stays_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "annotations.jsonl"
    path.parent.mkdir()
    path.write_text(annotation_to_json(ONE)[:40])
    write_annotations(path, [ONE], append=True)
    found = read_annotations(path)
    assert (found.good, found.bad) == ((ONE,), (BadLine(1, "no JSON"),))


def test_a_file_without_a_single_annotation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(InvalidInputError, match="a.jsonl cannot be read: No such file"):
        read_annotations(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="not UTF-8 at byte 0"):
        read_annotations(path)
    path.write_text("\n")
    with pytest.raises(InvalidInputError, match="has no annotation$"):
        read_annotations(path)
    path.write_text("\n[]\n")
    with pytest.raises(InvalidInputError, match="no annotation; line 2: a JSON list, expected"):
        read_annotations(path)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    for append in (True, False):
        with pytest.raises(InvalidInputError, match="cannot be written: Is a directory"):
            write_annotations(tmp_path, [ONE], append)


@given(st.floats(1, 5), st.floats(1, 5))
def test_a_higher_rating_is_a_higher_complexity(low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert 0 <= complexity_of_rating(low) <= complexity_of_rating(high) <= 1


@pytest.mark.parametrize("rating", [0, 6, math.nan, math.inf])
def test_a_rating_off_the_scale_is_refused(rating: float) -> None:
    with pytest.raises(ValueError, match="expected 1 to 5"):
        complexity_of_rating(rating)
