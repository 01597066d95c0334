"""Intervals and sums."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amp.errors import InvalidInputError
from amp.report.metrics import summarise, wilson
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


@given(st.integers(1, 2000))
def test_wilson_of_none_and_of_all_starts_at_zero_and_ends_at_one(n: int) -> None:
    assert wilson(0, n).low == 0.0
    assert wilson(n, n).high == 1.0


@given(st.integers(1, 300), st.data())
def test_wilson_is_that_of_scipy(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    found = wilson(k, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_wilson_covers_a_rate_as_often_as_it_says(rate: float) -> None:
    # Over all outcomes with their probabilities; Wilson's covers 95 % on average, not everywhere.
    covered = []
    for n in range(40, 140):
        intervals = [wilson(k, n) for k in range(n + 1)]
        held = [interval.low <= rate <= interval.high for interval in intervals]
        covered.append(stats.binom.pmf(range(n + 1), n, rate) @ held)
    assert sum(covered) / len(covered) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 2), (math.nan, 2), (1, math.nan)])
def test_wilson_refuses_what_is_no_proportion(k: float, n: float) -> None:
    with pytest.raises(InvalidInputError, match=f"{k} of {n}"):
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
    with pytest.raises(InvalidInputError, match="no episodes"):
        summarise([])


def test_what_a_run_prints_needs_no_extras() -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('scipy', 'pandas', 'jinja2', 'plotly'))\n"
        "from amp.report import summarise, wilson\n"
        "assert 'numpy' not in sys.modules\n"
        "print(wilson(5, 10))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(wilson(5, 10))
