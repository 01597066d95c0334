"""Verdicts on answers, and the judge who knows them before they are given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.assess.text import numbers
from amp.assess.uncertainty import saturating
from amp.benchmarks.base import Benchmark
from amp.benchmarks.gsm8k import GSM8K, GSM8KEnvironment
from amp.errors import InvalidInputError
from amp.types import Task

TASK = Task("t", "How many?", {"answer": "72"})


@pytest.mark.parametrize(
    ("action", "success"),
    [
        ("72", True),
        ("72.0", True),
        ("$72", True),
        ("72 clips", True),
        ("#### 72", True),
        ("So 48 + 24.\n#### 72", True),
        ("71", False),
        ("#### 72.0", False),
        ("#### 71\n#### 72", False),
        ("no idea", False),
        ("48 or 72", False),
    ],
)
def test_one_solution_ends_the_episode_with_the_official_verdict(
    action: str, success: bool
) -> None:
    environment = GSM8KEnvironment()
    assert environment.reset(TASK).state == ""
    transition = environment.step(action)
    assert transition.done
    assert transition.success is success
    assert transition.score == float(success)
    assert transition.observation.actions is None


def test_thousands_and_decimals_compare_as_the_official_scorer_does() -> None:
    environment = GSM8KEnvironment()
    for action in ("1,250", "1250", "1250.00", "#### 1,250"):
        environment.reset(Task("t", "?", {"answer": "1250"}))
        assert environment.step(action).success


def test_reasoning_accumulates_until_the_final_answer() -> None:
    environment = GSM8KEnvironment("reasoning")
    environment.reset(TASK)
    first = environment.step("1. In May, 48 / 2 = 24 clips.")
    assert (first.done, first.success) == (False, None)
    second = environment.step("2. Together 48 + 24 = 72. ")
    assert second.observation.state == ("1. In May, 48 / 2 = 24 clips.\n2. Together 48 + 24 = 72.")
    last = environment.step("#### 72")
    assert (last.done, last.success, last.score) == (True, True, 1.0)


@pytest.mark.parametrize("step", ["solution", "reasoning"])
def test_nobody_can_tell_without_a_known_answer(step: str) -> None:
    environment = GSM8K(step=step).environment(TASK)
    environment.reset(Task("question", "How many?"))
    transition = environment.step("#### 5")
    assert transition.done
    assert transition.success is None
    assert transition.score == 0.0


def test_a_reset_forgets_everything() -> None:
    environment = GSM8KEnvironment("reasoning")
    environment.reset(TASK)
    environment.step("1. Something.")
    environment.step("#### 1")
    assert environment.reset(TASK).state == ""
    assert environment.step("2. Else.").observation.state == "2. Else."


def test_a_fork_goes_its_own_way_from_the_same_state() -> None:
    environment = GSM8KEnvironment("reasoning")
    environment.reset(TASK)
    environment.step("1. In May, 48 / 2 = 24 clips.")
    fork = environment.fork()
    assert fork.step("#### 71").success is False
    assert environment.step("2. Together 72.").observation.state.splitlines() == [
        "1. In May, 48 / 2 = 24 clips.",
        "2. Together 72.",
    ]
    assert environment.step("#### 72").success is True


def test_actions_out_of_place_are_refused() -> None:
    environment = GSM8KEnvironment()
    with pytest.raises(InvalidInputError, match="reset"):
        environment.step("72")
    environment.reset(TASK)
    with pytest.raises(InvalidInputError, match="empty"):
        environment.step("  ")
    environment.step("72")
    with pytest.raises(InvalidInputError, match="over"):
        environment.step("72")


GOAL = "Natalia sold 48 clips in April, and half as many in May. She had 2 boxes and two bags."
SUM = Task("t", GOAL, {"answer": "72"})


@pytest.mark.parametrize("answer", ["72", "$72.00", "#### 72", "71", "#### 72.0", "no idea"])
def test_an_answer_is_mistaken_exactly_when_the_official_verdict_is_no(answer: str) -> None:
    benchmark: Benchmark = GSM8K()
    judge, environment = benchmark.judge(SUM), benchmark.environment(SUM)
    environment.reset(SUM)
    asked = [judge.mistaken(answer) for _ in range(2)]  # asking changes nothing
    assert asked == [not environment.step(answer).success] * 2


def test_to_give_no_answer_is_a_mistake_even_where_the_right_one_is_unknown() -> None:
    for task in (SUM, Task("question", GOAL)):
        assert GSM8K().judge(task).mistaken(None) is True


def test_nobody_can_tell_without_a_known_answer_or_of_mere_reasoning() -> None:
    assert GSM8K().judge(Task("question", GOAL)).mistaken("72") is None
    judge = GSM8K(step="reasoning").judge(SUM)
    assert judge.mistaken("1. In May, 48 / 2 = 24 clips.") is None
    judge.advance("1. In May, 48 / 2 = 24 clips.")
    assert judge.mistaken("2. Together 48 + 24 = 72.\n#### 72") is False
    assert judge.mistaken("2. Together 48 + 24 = 71.\n#### 71") is True


@given(st.text(max_size=80), st.sampled_from(["solution", "reasoning"]))
def test_at_the_start_the_distance_is_how_many_quantities_the_question_names(
    goal: str, step: str
) -> None:
    task = Task("t", goal)
    assert GSM8K(step=step).environment(task).reset(task).distance == saturating(
        len(numbers(goal)), 4.0
    )


def test_the_distance_falls_as_the_lines_use_the_numbers_of_the_question() -> None:
    environment = GSM8K(step="reasoning").environment(SUM)
    lines = ("1. In May, 48 / 2 = 24.", "2. She had a lot.", "3. 2 + 2 = 4.", "#### 72")
    assert environment.reset(SUM).distance == 3 / 7
    assert [environment.step(line).observation.distance for line in lines] == [0.2, 0.2, 0.0, 0.0]
