from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.benchmarks.gsm8k.problems import final_answer, normalise, official_answer, read_answer


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
