"""Final answers are read as the value that is meant, in whatever clothes, in linear time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.benchmarks.gsm8k.answer_texts import (
    BOXES,
    EQUATIONS,
    FRACTIONS,
    MARKED,
    MORE,
    NO_ANSWERS,
    PLACES,
)

from amp.benchmarks.gsm8k.environment import final_answer, official_answer, read_answer
from amp.benchmarks.gsm8k.numbers import normalise


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


@pytest.mark.parametrize("kind", [EQUATIONS, FRACTIONS, BOXES, MARKED, PLACES, MORE])
def test_the_value_that_is_meant(kind: dict[str, str]) -> None:
    assert {text: read_answer(text) for text in kind} == kind


def test_no_part_of_something_else_is_the_answer() -> None:
    assert [text for text in NO_ANSWERS if read_answer(text) is not None] == []


SIGNS = (
    *("+", "-", "*", "/", "\u00d7", "\u00f7", "\u2212", "x", "times", "plus", "minus"),
    *("divided by", r"\times", r"\cdot", r"\div"),
)
operators = st.sampled_from(SIGNS)
places = st.sampled_from(
    [
        *("#### {}", "#### **{}**", "The answer is {}.", "The final answer is: ${}$.", "{}"),
        *("Answer: {}", "**Answer:** {}", "**Final Answer**\n{}", "Final answer: {} eggs"),
        r"So \boxed{{{}}}",
    ]
)
values = st.integers(0, 10**7) | st.decimals(0, 10**6, places=2)


@given(
    st.lists(st.tuples(values, operators), min_size=1, max_size=4), values, values, places,
    st.sampled_from([" = ", "=", " equals ", r" \approx ", "\u00a0= "]),
    st.sampled_from(["", "$", "\u20ac"]),
)  # fmt: skip
def test_an_equation_states_its_right_side_wherever_it_stands(
    terms: list[tuple[object, str]], last: object, value: object, place: str, is_: str, sign: str
) -> None:
    left = " ".join(f"{sign}{term} {operator}" for term, operator in terms)
    text = place.format(f"{left} {sign}{last}{is_}{sign}{value}")
    assert read_answer(text) == normalise(str(value))


@given(values, operators, values, st.sampled_from(["#### {}", "The answer is {}.", "Answer: {}"]))
def test_arithmetic_without_a_result_states_nothing(
    one: object, operator: str, other: object, place: str
) -> None:
    if operator not in ("/", "\u00f7", r"\div"):  # a fraction is a value
        assert read_answer(place.format(f"{one} {operator} {other}")) is None


@given(st.integers(1000, 10**12), st.sampled_from(",'_ \u00a0\u202f\u2009"), places)
def test_thousands_are_grouped_by_any_sign(number: int, separator: str, place: str) -> None:
    grouped = f"{number:,}".replace(",", separator)
    assert read_answer(place.format(grouped)) == str(number)


@given(st.integers(0, 99), st.integers(1, 99), st.integers(1, 99), places)
def test_a_fraction_is_its_quotient(whole: int, top: int, bottom: int, place: str) -> None:
    value = normalise(f"{top}/{bottom}")
    for fraction in (f"{top}/{bottom}", rf"\frac{{{top}}}{{{bottom}}}", f"{top} / {bottom}"):
        assert read_answer(place.format(fraction)) == value
    if whole:
        mixed = normalise(f"{whole * bottom + top}/{bottom}")
        assert read_answer(place.format(f"{whole} {top}/{bottom}")) == mixed


@given(st.integers(0, 2**64), st.sampled_from(["map", "generator", "<lambda>", "filter"]))
def test_an_address_is_no_number(address: int, kind: str) -> None:
    for text in (f"<{kind} object at {address:#x}>", f"{address:#x}", f"{address:#018X}"):
        assert normalise(text) is None
        assert read_answer(f"The answer is {text}.") is None


@pytest.mark.parametrize(
    ("output", "number"),
    [
        ("1 234", None),  # two numbers that were printed side by side
        ("1,5", None),
        ("12 * 7 = 84", "84"),
        ("a = 3, b = 4", None),
        ("84 eggs in 7 boxes", None),
        ("5 million", "5000000"),
        ("84.0 84", "84"),
        ("3/4/5", None),
        ("- 5", "-5"),
    ],
)
def test_a_program_states_one_number(output: str, number: str | None) -> None:
    assert normalise(output) == number


@given(st.text() | st.text(alphabet="#\\boxed{}frac answer is=12.,:/*-+$%() \n\u00a0e_x"))
def test_no_text_makes_it_fail(text: str) -> None:
    for read in (read_answer, final_answer, normalise):
        answer = read(text)
        assert answer is None or normalise(answer) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{-\\frac{1}{2}}", "-0.5"),
        ("#### -\\frac{7}{2}", "-3.5"),
        ("\\boxed{7\\frac{1}{2}}", "7.5"),
        ("#### 2 and a half", "2.5"),
        ("The answer is 84 dollars and 50 cents.", "84.5"),
        ("The answer is 5 hours and 30 minutes.", None),
        ("#### 0b11", None),
        ("#### 0o17", None),
    ],
)
def test_no_part_of_a_number_is_lost(text: str, answer: str | None) -> None:
    assert read_answer(text) == answer
