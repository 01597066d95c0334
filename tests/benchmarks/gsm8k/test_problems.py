"""Complexity falls along a solution to 0 at its end."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.annotations.store import Annotation
from amp.benchmarks.gsm8k.problems import (
    HALF_EFFORT,
    Problem,
    complexity_of_rest,
    operations,
    read_solutions,
    solution_annotations,
)
from amp.errors import InvalidInputError, MissingDependencyError

LINES = st.lists(
    st.sampled_from(["So be it.", "48/2 = <<48/2=24>>24 clips", "<<1+2*3=7>>7 or <<9-1=8>>8"]),
    max_size=9,
).map(tuple)


def problem(*lines: str) -> Problem:
    return Problem(7, "How many?", "1", lines)


@given(LINES)
def test_complexity_falls_along_a_solution_and_is_never_0_before_its_end(
    lines: tuple[str, ...],
) -> None:
    notes = list(solution_annotations("train", problem(*lines)))
    falling = [note.complexity for note in notes] + [0.0]
    assert all(earlier > later for earlier, later in pairwise(falling))
    assert all(complexity < 1 for complexity in falling)
    assert [note.step for note in notes] == list(range(len(lines)))


@given(LINES, LINES)
def test_complexity_is_0_only_where_nothing_remains_and_more_is_harder(
    lines: tuple[str, ...], more: tuple[str, ...]
) -> None:
    assert (complexity_of_rest(lines) == 0) == (not lines)
    assert complexity_of_rest(lines) <= complexity_of_rest(lines + more)


def test_the_half_effort_has_complexity_one_half() -> None:
    assert complexity_of_rest(["<<1+1+1+1+1=5>>5", "<<5=5>>", "so"][: int(HALF_EFFORT) - 4]) == 0.5


@pytest.mark.parametrize(
    ("worked_out", "count"),
    [
        ("48/2=24", 1),
        ("100-50-30-15=5", 3),
        ("71+-3=68", 1),
        ("(-17)+43=26", 1),
        ("-18/-2=9", 1),
        ("560//10=56", 1),
        ("(2 + 3) * .5=2.5", 2),
        ("10%*20=2", 1),
        ("5=5", 0),
        ("2*3", 1),
    ],
)
def test_operators_are_counted_and_signs_are_not(worked_out: str, count: int) -> None:
    assert operations(f"1+1 <<{worked_out}>> = 2+2") == count


def test_an_annotation_holds_what_is_there_and_nothing_of_what_is_to_come() -> None:
    lines = ("He has 4+3 = <<4+3=7>>7 cats.", "So 7*2 = $<<7*2=14>>14.")
    assert list(solution_annotations("dev", problem(*lines))) == [
        Annotation("gsm8k/dev/7", 0, 4 / 11, "rule:human_solution", "How many?", ""),
        Annotation(
            "gsm8k/dev/7", 1, 2 / 9, "rule:human_solution", "How many?", "He has 4+3 = 7 cats."
        ),
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"question": f"{n}?", "answer": f"  {n}+1 = <<{n}+1={n + 1}>>{n + 1}\n\n#### {n + 1}"}
        for n in range(20)
    ]
    (tmp_path / "gsm8k").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "gsm8k" / "train.jsonl").write_text(text)
    return tmp_path


def test_train_and_dev_are_read_with_their_solutions(data: Path) -> None:
    train, dev = read_solutions("train", data), read_solutions("dev", data)
    assert (len(train), len(dev)) == (18, 2)
    for each in (*train, *dev):
        assert each.solution == (
            f"{each.number}+1 = <<{each.number}+1={each.answer}>>{each.answer}",
        )
        assert each.steps == 1


def test_nothing_is_learned_from_the_solutions_of_the_test_split(data: Path) -> None:
    with pytest.raises(InvalidInputError, match=re.escape("split is 'test', expected train or")):
        read_solutions("test", data)
    with pytest.raises(MissingDependencyError, match="no data of gsm8k"):
        read_solutions("train", data / "nowhere")
