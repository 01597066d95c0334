"""Verdicts on answers that nobody has given yet, and the distance that falls on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.assess.text import quantities
from amp.benchmarks.base import Benchmark
from amp.benchmarks.gsm8k import GSM8K
from amp.types import Task

GOAL = "Natalia sold 48 clips in April, and half as many in May. She had 2 boxes and two bags."
TASK = Task("t", GOAL, {"answer": "72"})


@pytest.mark.parametrize("answer", ["72", "$72.00", "#### 72", "71", "#### 72.0", "no idea"])
def test_an_answer_is_mistaken_exactly_when_the_official_verdict_is_no(answer: str) -> None:
    benchmark: Benchmark = GSM8K()
    judge, environment = benchmark.judge(TASK), benchmark.environment(TASK)
    environment.reset(TASK)
    asked = [judge.mistaken(answer) for _ in range(2)]  # asking changes nothing
    assert asked == [not environment.step(answer).success] * 2


def test_to_give_no_answer_is_a_mistake_even_where_the_right_one_is_unknown() -> None:
    for task in (TASK, Task("question", GOAL)):
        assert GSM8K().judge(task).mistaken(None) is True


def test_nobody_can_tell_without_a_known_answer_or_of_mere_reasoning() -> None:
    assert GSM8K().judge(Task("question", GOAL)).mistaken("72") is None
    judge = GSM8K(step="reasoning").judge(TASK)
    assert judge.mistaken("1. In May, 48 / 2 = 24 clips.") is None
    judge.advance("1. In May, 48 / 2 = 24 clips.")
    assert judge.mistaken("2. Together 48 + 24 = 72.\n#### 72") is False
    assert judge.mistaken("2. Together 48 + 24 = 71.\n#### 71") is True


@given(st.text(max_size=80), st.sampled_from(["solution", "reasoning"]))
def test_at_the_start_the_distance_is_how_many_quantities_the_question_names(
    goal: str, step: str
) -> None:
    task = Task("t", goal)
    assert GSM8K(step=step).environment(task).reset(task).distance == quantities(goal)


def test_the_distance_falls_as_the_lines_use_the_numbers_of_the_question() -> None:
    environment = GSM8K(step="reasoning").environment(TASK)
    lines = ("1. In May, 48 / 2 = 24.", "2. She had a lot.", "3. 2 + 2 = 4.", "#### 72")
    assert environment.reset(TASK).distance == 3 / 7
    assert [environment.step(line).observation.distance for line in lines] == [0.2, 0.2, 0.0, 0.0]
