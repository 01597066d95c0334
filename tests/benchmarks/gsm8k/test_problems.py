"""Answers as the official rule reads them; complexity falls along a solution to 0 at its end."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.annotations.store import Annotation
from amp.benchmarks.gsm8k.problems import (
    HALF_EFFORT,
    Problem,
    complexity_of_rest,
    final_answer,
    normalise,
    official_answer,
    operations,
    read_answer,
    read_solutions,
    solution_annotations,
)
from amp.errors import InvalidInputError, MissingDependencyError


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She sold 48+24 = <<48+24=72>>72 clips.\n#### 72", "72"),
        ("#### 1,250", "1250"),
        ("#### -3", "-3"),
        ("#### 2.50", "2.50"),
        ("#### 72.0", "72.0"),
        ("#### 5\n#### 6", "5"),
        ("####72", None),
        ("#### $72", None),
        ("The answer is 72", None),
    ],
)
def test_the_official_rule_to_the_letter(text: str, answer: str | None) -> None:
    assert official_answer(text) == answer


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_one_integer_has_one_spelling(number: int) -> None:
    spellings = [
        f"{number}",
        f"{number:,}",
        f"{number}.0",
        f"{number}.00",
        f" {number} ",
        f"{number} eggs",
        f"[{number}]",
        f"{number}%",
        f"{number}.",
        f"**{number}**",
        f"{'-' if number < 0 else ''}${abs(number):,}",
        f"${number}",
        f"{2 * number}/2",
    ]
    assert {normalise(text) for text in spellings} == {str(number)}


@settings(deadline=None)
@given(st.one_of(st.text(), st.floats().map(repr), st.fractions().map(str)))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert once is None or normalise(once) == once


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(-1e-9, 1e-9))
def test_floating_point_noise_makes_no_other_answer(value: float, noise: float) -> None:
    whole = round(value)
    assert normalise(repr(whole + noise)) == normalise(str(whole))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("17.999999999999996", "18"),
        ("1e-17", "0"),
        ("-0.0", "0"),
        ("1e+16", "10000000000000000"),
        ("\u22125", "-5"),
        ("-$5", "-5"),
        ("7/2", "3.5"),
        ("1/0", None),
        ("", None),
        ("nan", None),
        ("True", None),
        ("(3, 4)", None),
        ("12:30", None),
        ("9" * 5000, None),
    ],
)
def test_numbers_in_odd_clothes(text: str, number: str | None) -> None:
    assert normalise(text) == number


@settings(deadline=None)
@given(st.integers(0, 10**7), st.booleans())
def test_reading_does_not_depend_on_the_form(number: int, comma: bool) -> None:
    written = f"{number:,}" if comma else str(number)
    forms = [
        f"#### {written}",
        f"1. We add 3 + 4 = 7.\n#### {written}",
        f"####{written}\n",
        f"#### ${written}.00",
        f"#### **{written}**",
        f"#### N = {written}",
        f"#### {written} eggs",
        f"#### {written}\n\nNext problem: 3 + 4\n#### 7",
        f"We add 3 and 4.\nThe answer is {written}.",
        f"We add 3 and 4. **Answer:** ${written}",
        f"So \\[ x = \\boxed{{{written}}} \\]",
        f"{written}",
        f"We have 3 and 4.\nTherefore, {written} eggs are left.",
    ]
    assert {read_answer(form) for form in forms} == {str(number)}


@pytest.mark.parametrize(
    "text",
    ["", "I don't know.", "We first add 3 + 4 = 7", "1. There are 3 eggs.\n2. Then 4 of", "####"],
)
def test_a_text_without_an_answer_has_none(text: str) -> None:
    assert read_answer(text) is None
    assert final_answer(text) is None


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
