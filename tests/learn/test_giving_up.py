"""Heads that give up: learned by episodes, calibrated on what they have not seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.allocate.giving_up import threshold
from amp.errors import InvalidInputError
from amp.learn.giving_up import LabelledEpisode, fit_head, in_folds, p_fails, trials_of
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


def made(n: int, seed: int = 0) -> list[LabelledEpisode]:
    """Failures repeat themselves more and more; what is refused says nothing."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(n):
        failed = bool(rng.random() < 0.6)
        moments: list[Mapping[str, float]] = [
            {
                "log_steps": float(np.log(t)),
                "repeated_here": float(rng.normal(0.08 * t if failed else 0.0, 0.3)),
                "refused": float(rng.normal()),
            }
            for t in range(1, int(rng.integers(2, 15)))
        ]
        trials.append(LabelledEpisode(f"game {number}", failed, tuple(moments)))
    return trials


@settings(max_examples=20)
@given(groups=st.lists(st.text("abc", max_size=3), max_size=30), folds=st.integers(1, 5))
def test_a_group_is_in_one_fold_and_folds_differ_by_one(groups: list[str], folds: int) -> None:
    fold = in_folds(groups, folds)
    assert set(fold) == set(groups)
    sizes = [sum(of == number for of in fold.values()) for number in range(folds)]
    assert max(sizes) - min(sizes) <= 1
    assert in_folds(groups[::-1], folds) == fold


def test_a_head_tells_failures_and_keeps_about_as_many_fresh_successes_as_asked() -> None:
    trials = made(150)
    head = fit_head(trials, features=("log_steps", "repeated_here", "refused", "goal_done"))
    assert len(head.survived) == sum(not trial.failed for trial in trials)
    worst = [(trial.failed, max(p_fails(head, trial))) for trial in made(300, seed=1)]
    for recall in (0.8, 0.95):
        limit = head.threshold(recall)
        kept = np.mean([p <= limit for failed, p in worst if not failed])
        given_up = np.mean([p > limit for failed, p in worst if failed])
        assert kept == pytest.approx(recall, abs=0.1)
        assert given_up > 2 * (1 - kept)
    weights = dict(zip(head.features, head.weights, strict=True))
    assert weights["repeated_here"] > 0.3 > abs(weights["refused"])
    assert weights["goal_done"] == 0.0  # never told


def test_every_survivor_is_told_by_a_head_that_had_not_seen_it() -> None:
    """Noise without a signal: heads that had seen the successes would rate them as safer."""
    rng = np.random.default_rng(0)
    trials = [
        LabelledEpisode(str(n), n % 2 == 0, ({name: float(rng.normal()) for name in NOISE},))
        for n in range(60)
    ]
    head = fit_head(trials, features=NOISE, penalty=0.1)
    seen = [p_fails(head, trial)[0] for trial in trials if not trial.failed]
    assert np.mean(head.survived) > np.mean(seen) + 0.1
    assert threshold(head.survived, 0.9) > threshold(seen, 0.9)


NOISE = ("refused", "refused_lately", "refused_again", "repeated_lately", "goal_done", "goal_seen")


def test_an_episode_of_n_steps_can_be_given_up_before_all_but_the_first() -> None:
    steps = tuple(
        StepRecord(Observation("a room"), (), Complexity(0.0), "wait", Usage(), feedback="No.")
        for _ in range(4)
    )
    episode = Episode(Task("t", "find a cup"), steps, False, 0.0, Usage(), "limit of steps")
    unjudged = Episode(Task("u", "find a cup"), steps, None, 0.0, Usage(), "done")
    (trial,) = trials_of([episode, unjudged])
    assert (trial.group, trial.failed) == ("t", True)
    assert [moment["since_new"] for moment in trial.moments] == [1, 2, 3]


def test_a_step_of_n_rounds_can_be_given_up_after_all_but_the_last() -> None:
    rounds = tuple(
        Round(Complexity(0.0), Allocation(), 0.0, (Candidate("", answer),), Usage())
        for answer in ("8", "9", "8")
    )
    step = StepRecord(Observation(), rounds, Complexity(0.0), "8", Usage())
    episode = Episode(Task("t", "legs"), (step,), True, 1.0, Usage(), "done")
    (trial,) = trials_of([episode], "rounds")
    assert [moment["leading"] for moment in trial.moments] == [1.0, 0.5]


def test_there_is_nothing_to_learn_from_failures_alone() -> None:
    with pytest.raises(InvalidInputError, match="expected failures and successes"):
        fit_head([trial for trial in made(40) if trial.failed])
