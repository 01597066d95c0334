"""Intervals and sums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.evaluate.metrics import summarise, wilson
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Episode,
    Observation,
    Round,
    StepRecord,
    Task,
    Usage,
)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_rate_and_mirrors(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    interval, mirrored = wilson(k, n), wilson(n - k, n)
    assert 0.0 <= interval.low <= k / n + 1e-12
    assert k / n - 1e-12 <= interval.high <= 1.0
    assert interval.low == pytest.approx(1 - mirrored.high)


def test_wilson_of_a_published_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263.
    interval = wilson(81, 263)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(k: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{k} of {n}"):
        wilson(k, n)


def test_a_summary_adds_up() -> None:
    def episode(success: bool, *candidates: Candidate) -> Episode:
        usage = Usage(completion_tokens=10)
        executed = Round(Complexity(0.0), Allocation(), 0.0, candidates, usage)
        chosen = candidates[0].action
        step = StepRecord(Observation(), (executed,), Complexity(0.0), chosen, usage)
        ended = "done" if success else "limit of tokens"
        return Episode(Task("t", "g"), (step,), success, float(success), usage, ended)

    summary = summarise(
        [
            episode(True, Candidate("x", "a", completion_tokens=5), Candidate("", "a")),
            episode(False, Candidate("x", None, completion_tokens=5, cut_off=True)),
        ]
    )
    assert (summary.episodes, summary.successes, summary.success_rate) == (2, 1, 0.5)
    assert (summary.usage.completion_tokens, summary.candidates) == (20, 3)
    assert summary.cut_off_rate == 0.5
    assert summary.unread_rate == pytest.approx(1 / 3)
    assert (summary.failed_steps, summary.limited) == (1, 1)


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no episodes"):
        summarise([])
