"""Paired comparisons: laws, a textbook value, and refusal of what cannot be paired."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.evaluate.compare import compare, exact_mcnemar, paired_saving
from amp.types import Episode, Task, Usage

costs = st.lists(st.floats(0.1, 100), min_size=1, max_size=20)


def episode(task: str, success: bool, tokens: int) -> Episode:
    usage = Usage(prompt_tokens=tokens)
    return Episode(Task(task, "g"), (), success, float(success), usage, "done")


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_symmetric_and_a_probability(won: int, lost: int) -> None:
    assert exact_mcnemar(won, lost) == exact_mcnemar(lost, won)
    assert 0.0 < exact_mcnemar(won, lost) <= 1.0


def test_mcnemar_of_known_values() -> None:
    assert exact_mcnemar(0, 0) == exact_mcnemar(3, 3) == 1.0
    assert exact_mcnemar(0, 5) == pytest.approx(2 / 32)
    assert exact_mcnemar(1, 8) == pytest.approx(2 * (1 + 9) / 512)


@given(costs, st.floats(0.1, 3))
def test_a_proportional_cost_saves_exactly_that_share(first: list[float], factor: float) -> None:
    saving = paired_saving(first, [factor * cost for cost in first])
    assert saving.share == pytest.approx(1 - factor)
    assert saving.interval.low == pytest.approx(1 - factor)
    assert saving.interval.high == pytest.approx(1 - factor)


def test_the_interval_holds_the_share_and_shrinks_with_more_tasks() -> None:
    few, many = ([1.0, 2.0, 4.0] * n for n in (2, 40))
    half = [1.0, 0.5, 2.5]
    small, large = paired_saving(few, half * 2), paired_saving(many, half * 40)
    assert small.interval.low <= small.share <= small.interval.high
    assert large.interval.high - large.interval.low < small.interval.high - small.interval.low


def test_a_comparison_counts_wins_losses_and_savings() -> None:
    first = [episode("a", True, 10), episode("b", False, 10), episode("c", True, 10)]
    second = [episode("c", True, 5), episode("b", True, 10), episode("a", False, 6)]
    result = compare(first, second)
    assert (result.tasks, result.won, result.lost, result.p_value) == (3, 1, 1, 1.0)
    assert result.savings["tokens"].share == pytest.approx(0.3)
    assert "seconds" not in result.savings


@pytest.mark.parametrize("other", [[], [episode("b", True, 1)]])
def test_runs_on_other_tasks_are_not_paired(other: list[Episode]) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot be paired.*only one of them did a"):
        compare([episode("a", True, 1)], other)


def test_a_cost_of_nothing_has_no_share() -> None:
    with pytest.raises(ValueError, match="add up to nothing"):
        paired_saving([0.0], [1.0])
