"""Laws of what an answer to a word problem looks like."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.gsm8k.plausibility import plausibility
from amp.benchmarks.gsm8k.plausibility import working as of_candidate
from amp.types import Candidate, Observation, StepContext, Task, ToolUse

GOALS = st.text(max_size=200) | st.lists(
    st.sampled_from(
        ["how many", "$", "%", "two", "1,200", "2.50", "9" * 400, "1.2.3", "dozen", "-"]
    )
).map(" ".join)
ACTIONS = st.none() | st.text(max_size=20) | st.floats().map(str) | st.integers().map(str)
ABOUT_THE_ANSWER = {"negative", "zero", "below_one", "fraction", "below_cents", "size"}


def looks(goal: str, action: str | None) -> dict[str, float]:
    return plausibility(StepContext(Task("t", goal), Observation("")), Candidate("", action))


@given(GOALS, ACTIONS)
def test_any_text_is_told_in_finite_numbers(goal: str, action: str | None) -> None:
    found = looks(goal, action)
    assert all(math.isfinite(value) for value in found.values())
    assert {"asks_count", "asks_money", "asks_percent"} <= found.keys()


@pytest.mark.parametrize("action", [None, "", "twelve", "nan", "-inf", "1e400", "9" * 30])
def test_an_answer_that_is_no_number_has_no_look_of_its_own(action: str | None) -> None:
    assert not ABOUT_THE_ANSWER & looks("How many are 3 and 4?", action).keys()


def test_a_question_without_numbers_is_compared_with_nothing() -> None:
    missing = {"over_largest", "repeats"}
    assert looks("How many are left?", "7").keys() >= ABOUT_THE_ANSWER
    assert not missing & looks("How many are left?", "7").keys()
    assert missing <= looks("How many of 9 are left?", "7").keys()


def test_looks_are_those_of_the_question_and_its_numbers() -> None:
    goal = "Ann pays $3.50 for each of 4 pens. How many dollars is that?"
    repeated, odd = looks(goal, "4"), looks(goal, "-0.125")
    assert (repeated["repeats"], repeated["over_largest"], repeated["negative"]) == (1.0, 0.0, 0.0)
    assert odd["negative"] == odd["fraction_of_count"] == odd["below_cents"] == 1.0
    assert odd["over_largest"] < 0.0


PIECES = st.sampled_from(
    [
        *(
            "```python\n",
            "```",
            "answer = ",
            "x",
            " = ",
            "1",
            "2.5",
            " / 0",
            " - ",
            " * ",
            "(",
            ")",
        ),
        *("\n", "#### ", "3 + 4 = 7", "3 + 4 = 8", "$1,000", "for i in x:", "int(", "'", '"', "\\"),
        *("9" * 400, "1e400", "9 ** 9 ** 9", "def f():\n ", "x += 2\n", "\x00", "\ud800", "True"),
    ]
)


def working(text: str, goal: str) -> dict[str, float]:
    """Of a text, or of a program that has run if it has a fence."""
    ran = (ToolUse("python", "", "", None, 0.0),) if "```" in text else ()
    return of_candidate(Candidate(text, None, tool_uses=ran), goal)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=200), GOALS)
def test_any_working_is_told_in_finite_numbers(text: str, goal: str) -> None:
    found = working(text, goal)
    assert all(math.isfinite(value) and value >= 0.0 for value in found.values())
    shares = ("foreign_share", "fractions", "left_out")
    assert all(found.get(name, 0.0) <= 1.0 for name in shares)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nanswer = " + "(" * 3_000 + "1" + ")" * 3_000 + "\n```",
        "```python\nanswer = " + "1 + " * 3_000 + "1\n```",
        "```python\nanswer = 9 ** 9 ** 9 ** 9\n```",
        "1 + " * 3_000 + "1 = 2",
        "\n" * 100_000 + "1. 2",
        " \n" * 100_000,
        "```python\nx = 1e308\nx *= 1e308\nanswer = x - x\n```",
    ],
)
def test_a_working_made_to_harm_is_only_read(text: str) -> None:
    assert all(math.isfinite(value) for value in working(text, "How many are 3 and 4?").values())


GOAL = "Ann had 12 pens, bought 5 and gave away half. How many are left?"


def of_program(*lines: str) -> dict[str, float]:
    return working("\n".join(["```python", *lines, "```"]), GOAL)


def test_a_program_that_uses_what_is_given_has_nothing_odd() -> None:
    found = of_program("pens = 12 + 5", "answer = pens / 2")
    assert found["left_out"] == found["foreign"] == found["idle"] == found["set_again"] == 0.0
    assert found["one_operation"] == found["below_zero"] == 0.0
    assert found["fractions"] == 0.5  # 17 / 2


def test_a_program_shows_what_it_forgets_and_what_it_makes_up() -> None:
    found = of_program("bought = 5", "kept = 12 - 19", "kept = kept * 3", "answer = kept")
    assert found["idle"] == 1.0  # bought
    assert found["set_again"] == 1.0
    assert found["below_zero"] == 1.0
    assert found["left_out"] == 0.0
    assert found["foreign_share"] == 0.5
    assert of_program("answer = 12 // 2")["left_out"] == 0.5
    assert of_program("answer = 12 // 2")["one_operation"] == 1.0


def test_a_chain_shows_equations_that_fail_and_answers_from_nowhere() -> None:
    right = working("She had 12 + 5 = 17 pens. Half is 17 / 2 = 8.5.\n#### 8.5", GOAL)
    assert (right["wrong_equation"], right["derived"], right["last"]) == (0.0, 1.0, 1.0)
    wrong = working("1. She had 12 + 5 = 18 pens.\n2. Half of 40 is left.\n#### 9", GOAL)
    assert (wrong["wrong_equation"], wrong["derived"], wrong["last"]) == (1.0, 0.0, 0.0)
    assert wrong["foreign"] > right["foreign"] == 0.0


def test_a_text_without_working_tells_nothing_of_it() -> None:
    assert working("", GOAL) == {}
