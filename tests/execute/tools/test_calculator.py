from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.execute.tools.calculator import agrees, evaluate, format_number, parse_number

numbers = st.one_of(
    st.integers(0, 10**9).map(lambda n: (str(n), Fraction(n))),
    st.decimals(0, 10**6, places=3).map(lambda d: (f"{d:f}", Fraction(d))),
)


def combined(children: st.SearchStrategy[tuple[str, Fraction]]) -> st.SearchStrategy[object]:
    def combine(parts: tuple[tuple[str, Fraction], str, tuple[str, Fraction]]) -> object:
        (left, a), operator, (right, b) = parts
        if operator in ("/", "//", "%") and b == 0:
            operator = "+"
        value = {
            "+": lambda: a + b,
            "-": lambda: a - b,
            "*": lambda: a * b,
            "/": lambda: a / b,
            "//": lambda: Fraction(a // b),
            "%": lambda: a % b,
        }[operator]()
        return f"({left}) {operator} ({right})", value

    return st.tuples(children, st.sampled_from(["+", "-", "*", "/", "//", "%"]), children).map(
        combine
    )


expressions = st.recursive(numbers, combined, max_leaves=8)


@settings(deadline=None)
@given(expressions)
def test_evaluate_agrees_with_exact_arithmetic(case: tuple[str, Fraction]) -> None:
    expression, value = case
    assert evaluate(expression) == value


@settings(deadline=None)
@given(st.integers(0, 10**12))
def test_thousands_separators_change_nothing(number: int) -> None:
    assert evaluate(f"{number:,}") == evaluate(f"${number:,}") == number


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_all_signs_of_multiplication_mean_the_same(a: int, b: int) -> None:
    for sign in ("*", " * ", "x", " x ", " X ", "\u00d7", "·"):
        assert evaluate(f"{a}{sign}{b}") == a * b


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0.1 + 0.2", Fraction(3, 10)),
        ("-3 + +4", Fraction(1)),
        ("\u22123 * 2", Fraction(-6)),
        ("20% * 50", Fraction(10)),
        ("100 / 20%", Fraction(500)),
        ("(50 - 10)%3", Fraction(1)),
        ("7 % 4", Fraction(3)),
        ("2 ** 10", Fraction(1024)),
        ("2^-2", Fraction(1, 4)),
        ("9 ** 0.5", Fraction(3)),
        ("$1,200.50 x 2", Fraction(2401)),
        ("12 ÷ 8", Fraction(3, 2)),
    ],
)
def test_expressions_as_people_write_them(expression: str, value: Fraction) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        " ",
        "answer",
        "__import__('os').system('true')",
        "print(1)",
        "(1).real",
        "[1][0]",
        "1 if 1 else 2",
        "1 < 2",
        "True + 1",
        "1j * 1j",
        "'a' * 3",
        "(lambda: 3)()",
        "3x - 4",
        "2 +",
        "1 / 0",
        "1 // (2 - 2)",
        "1 % 0",
        "0 ** -1",
        "(-8) ** 0.5",
        "9 ** 9 ** 9",
        "2 ** 10001",
        "10 ** 9999",
        "1e999",
        "(" * 400 + "1" + ")" * 400,
        "1+" * 300 + "1",
        "1\x002",
        "\ud800",
        "7 & 3",
        "x := 3",
    ],
)
def test_nothing_but_arithmetic_of_sane_size_is_evaluated(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        evaluate(expression)


def test_deep_nesting_is_no_danger() -> None:
    assert evaluate("-" * 499 + "1") == -1
    assert evaluate("(" * 90 + "1" + ")" * 90) == 1


def test_evaluating_executes_no_name_and_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *_: called.append("print"))
    with pytest.raises(ValueError, match="Call is not arithmetic"):
        evaluate("print(1) + 1")
    assert not called


@settings(deadline=None)
@given(st.fractions(max_denominator=10**4).filter(lambda f: abs(f) < 10**9))
def test_a_formatted_number_reads_back_to_six_decimals(value: Fraction) -> None:
    text = format_number(value)
    read = parse_number(text)
    assert read is not None
    assert abs(read - value) <= Fraction(1, 2 * 10**6)
    assert format_number(read) == text


def test_format_number_writes_the_shortest_form() -> None:
    assert format_number(Fraction(72)) == "72"
    assert format_number(Fraction(-7, 2)) == "-3.5"
    assert format_number(Fraction(1, 3)) == "0.333333"
    assert format_number(Fraction(1, 10**9)) == "1e-09"


@settings(deadline=None)
@given(st.fractions(max_denominator=1000).filter(lambda f: abs(f) < 10**6), st.integers(0, 5))
def test_a_value_agrees_with_itself_rounded(value: Fraction, places: int) -> None:
    stated = f"{float(round(value, places)):.{places}f}"
    assert agrees(value, stated)
    other = f"{float(round(value, places) + Fraction(2, 10**places)):.{places}f}"
    assert not agrees(value, other)
    assert not agrees(value, other, divided=True)


def test_after_a_division_cutting_off_and_rounding_up_agree() -> None:
    assert not agrees(Fraction(10, 3), "4")
    assert agrees(Fraction(10, 3), "4", divided=True)
    assert agrees(Fraction(2, 3), "0.66", divided=True)
    assert not agrees(Fraction(10, 3), "5", divided=True)


def test_a_percentage_agrees_in_both_readings() -> None:
    assert agrees(Fraction(1, 4), "25%")
    assert agrees(Fraction(25), "25%")
    assert not agrees(Fraction(1, 4), "26%")
    assert not agrees(Fraction(1), "about one")
