from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.execute.tools.calculator import CalculatorTool, wrong_equation

small = st.integers(0, 999)


async def corrected(text: str) -> str:
    """What the tool makes of a text in which the model writes nothing more."""
    use = await CalculatorTool().use(text)
    assert use is not None
    assert use.error is None
    assert use.resume is not None
    return use.resume


async def test_a_wrong_value_is_put_right_and_what_follows_is_dropped() -> None:
    text = "She has 3*4 = <<3*4=13>>13 eggs. She eats 2: <<13-2=11>>11."
    use = await CalculatorTool().use(text)
    assert use is not None
    assert (use.tool, use.input, use.output) == ("calculator", "3*4", "12")
    assert use.resume == "She has 3*4 = <<3*4=12>>"


@pytest.mark.parametrize("open_end", ["<<48/2=>>", "<<48/2>>", "<<48/2=", "<< 48/2 = "])
async def test_a_missing_value_is_filled_in(open_end: str) -> None:
    assert await corrected(f"So {open_end}") == "So <<48/2=24>>"


@settings(deadline=None)
@given(a=small, b=small, off=st.integers(1, 50))
async def test_a_corrected_text_is_not_corrected_again(a: int, b: int, off: int) -> None:
    resume = await corrected(f"<<{a}+{b}={a + b + off}>>")
    assert await CalculatorTool().use(resume) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3 * 4 = 13",
        "<<3*4=12>>12",
        "<<3*4=12.0>>",
        "<<1000*2=2,000>>",
        "<<2*3=$6>>",
        "<<10/3=3.33>>",
        "<<x+2=7>>",
        "<<>>",
        "<<unfinished",
    ],
)
async def test_right_annotations_and_none_need_no_tool(text: str) -> None:
    assert await CalculatorTool().use(text) is None


async def test_a_value_left_to_the_tool_that_it_cannot_compute_is_an_error() -> None:
    use = await CalculatorTool().use("<<eggs/2=>>")
    assert use is not None
    assert use.error is not None
    assert "\n" not in use.error
    assert use.output == ""
    assert use.resume is None


@settings(deadline=None)
@given(small, small, st.sampled_from("+-*"), st.integers(1, 99), st.booleans())
def test_an_equation_is_wrong_exactly_if_it_does_not_hold(
    a: int, b: int, operator: str, off: int, annotated: bool
) -> None:
    value = {"+": a + b, "-": a - b, "*": a * b}[operator]
    frame = "We get <<{}>> apples" if annotated else "We get {} apples"
    left = f"{a}{operator}{b}" if annotated else f"{a} {operator} {b}"
    assert wrong_equation(frame.format(f"{left}={value}")) is None
    assert wrong_equation(frame.format(f"{left}={value + off}")) == (
        f"{left} is {value}, not {value + off}"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 * 4 = 13", "3 * 4 is 12, not 13"),
        ("She pays $1,200 x 3 = $3,500 now.", "$1,200 x 3 is 3600, not $3,500"),
        ("1. 3 * 4 = 13", "3 * 4 is 12, not 13"),
        ("Step 2: 3 * 4 = 13", "3 * 4 is 12, not 13"),
        ("- 3 * 4 = 13", "3 * 4 is 12, not 13"),
        ("total = 3 * 4 = 13", "3 * 4 is 12, not 13"),
        ("20% * 50 = 11", "20% * 50 is 10, not 11"),
        ("(3 + 4) * 2 = 15", "(3 + 4) * 2 is 14, not 15"),
        ("3*4=12, 12+1 = 14.", "12+1 is 13, not 14"),
        ("3*4=<<3*4=12>>13", "3*4 is 12, not 13"),
        ("$400 * (1 - 0.1) = $350", "$400 * (1 - 0.1) is 360, not $350"),
    ],
)
def test_stated_equations_that_do_not_hold(text: str, found: str) -> None:
    assert wrong_equation(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "5 apples + 3 * 4 = 17",
        "12 * 2 hours = 25",
        "60 students x 2/3 = 40",
        "2x + 3 = 7",
        "3x - 4 = 5",
        "3 * 4 = 12 + 5 = 17",
        "50 - 20% = 40",
        "100% - 20% = 80%",
        "20 / 100 = 20%",
        "1 1/2 * 4 = 6",
        "3 * 500000 = 1.5 million",
        "0.5 * 3 = 150 cents",
        "10 / 3 = 4 buses",
        "10 / 3 = 3.33",
        "0.8333 * 60 = 50",
        "100/5 = 5A",
        "2 / 1/3 = 6",
        "answer = 3 * 4",
        "at 3:45 + 1 = 446",
    ],
)
def test_what_is_no_certain_equation_is_left_alone(text: str) -> None:
    assert wrong_equation(text) is None


@pytest.mark.parametrize("unit", ["1", "1+", "(", "1 ", "-", "<<", "1,", "=1+1", "$", "a "])
def test_long_garbage_takes_no_time(unit: str) -> None:
    started = time.perf_counter()
    wrong_equation(unit * (6_000 // len(unit)))
    assert time.perf_counter() - started < 2.0


async def test_a_value_that_python_refuses_to_write_is_an_error() -> None:
    use = await CalculatorTool().use("<<2**9990*2**9990=>>")
    assert use is not None
    assert use.error == "a value has more than 14,000 bits"
    assert wrong_equation("2**9990 * 2**9990 = 5") is None
