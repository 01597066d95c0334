from __future__ import annotations

import pytest

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
