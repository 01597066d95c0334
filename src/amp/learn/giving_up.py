"""Learns from episodes when one is hopeless, for `amp.allocate.giving_up`.

A logistic regression tells at every moment how probable failure is; each episode has the same
weight, however many moments it has. Groups (games, problems) are split into folds. What the
threshold is set by is told, for every success, by the regression of the other folds; the one that
is kept is of all episodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from amp.allocate.giving_up import (
    PLAN_FEATURES,
    ROUND_FEATURES,
    FailureHead,
    When,
    of_plan,
    of_rounds,
)
from amp.errors import InvalidInputError
from amp.mlp import Floats
from amp.types import Episode, Evidence, StepContext

PENALTY = 4.0
"""Of the squared weights, in units of an episode's log-likelihood; chosen on training halves."""


_FOLDS = 5
"""Of groups, to see heads on episodes that they were not trained on."""


@dataclass(frozen=True, slots=True)
class LabelledEpisode:
    """An episode as the learner sees it.

    Attributes:
        group: what is not to be in training and test at once, such as the game.
        failed: whether it missed its goal.
        moments: features of every moment at which it could have been given up, in order.
    """

    group: str
    failed: bool
    moments: tuple[Mapping[str, float], ...]


def trials_of(
    episodes: Sequence[Episode],
    when: When = "steps",
    group: Callable[[Episode], str] = lambda episode: episode.task.id,
) -> list[LabelledEpisode]:
    """Episodes as trials; those without a verdict are left out.

    Args:
        episodes: from any environment.
        when: whether they could be given up before each step but the first, or, as tasks of one
            step, after each round.
        group: names what an episode is an instance of.
    """
    moments = _before_steps if when == "steps" else _after_rounds
    return [
        LabelledEpisode(group(episode), not episode.success, moments(episode))
        for episode in episodes
        if episode.success is not None
    ]


def fit_head(
    trials: Sequence[LabelledEpisode],
    when: When = "steps",
    *,
    features: Sequence[str] | None = None,
    penalty: float = PENALTY,
    benchmark: str = "",
) -> FailureHead:
    """Learns a head.

    Args:
        trials: to learn from and to set thresholds by.
        when: what their moments are.
        features: to read; all if None.
        penalty: of the squared weights.
        benchmark: of the episodes; a run of another one refuses the head.

    Raises:
        InvalidInputError: if there is no success or no failure to learn from.
    """
    names = tuple(features or (PLAN_FEATURES if when == "steps" else ROUND_FEATURES))
    fold_of = in_folds([trial.group for trial in trials], _FOLDS)
    survived: list[float] = []
    for fold in range(_FOLDS):
        others = [trial for trial in trials if fold_of[trial.group] != fold]
        won = [t for t in trials if fold_of[t.group] == fold and not t.failed]
        if won:
            head = _fitted(others, when, names, penalty)
            survived += [max(p_fails(head, trial), default=0.0) for trial in won]
    whole = _fitted(trials, when, names, penalty)
    return replace(whole, survived=tuple(sorted(survived)), benchmark=benchmark)


def p_fails(head: FailureHead, trial: LabelledEpisode) -> list[float]:
    """p_fail at every moment of a trial."""
    return [head.p_fail_of(moment) for moment in trial.moments]


def in_folds(groups: Sequence[str], folds: int) -> dict[str, int]:
    """A fold for every group, by chance but always the same; folds differ by one group at most."""
    shuffled = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).digest())
    return {group: index % folds for index, group in enumerate(shuffled)}


def _fitted(
    trials: Sequence[LabelledEpisode], when: When, names: tuple[str, ...], penalty: float
) -> FailureHead:
    told = [trial for trial in trials if trial.moments]
    failures = sum(trial.failed for trial in told)
    if not 0 < failures < len(told):
        raise InvalidInputError(
            f"{failures} of {len(told)} episodes failed, expected failures and successes in every"
            " part of the training; record more episodes"
        )
    rows = np.array([[m.get(n, np.nan) for n in names] for t in told for m in t.moments])
    counts = [len(trial.moments) for trial in told]
    missed = np.repeat([float(trial.failed) for trial in told], counts)
    weight = np.repeat([1.0 / count for count in counts], counts)
    known = ~np.isnan(rows)
    there = np.maximum(1, known.sum(0))
    mean = np.where(known, rows, 0.0).sum(0) / there
    std = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(0) / there)
    std[std < 1e-9] = 1.0
    solved = _logistic(np.where(known, (rows - mean) / std, 0.0), missed, weight, penalty)
    return FailureHead(
        *(when, names, tuple(mean.tolist()), tuple(std.tolist())),
        *(tuple(solved[:-1].tolist()), float(solved[-1]), ()),
    )


def _logistic(x: Floats, y: Floats, weight: Floats, penalty: float) -> Floats:
    """Weights and bias by Newton's method; the bias is not penalised."""
    x = np.column_stack([x, np.ones(len(x))])
    ridge = np.diag([penalty] * (x.shape[1] - 1) + [1e-9])
    solved = np.zeros(x.shape[1])
    for _ in range(50):  # ten are enough
        p = 1.0 / (1.0 + np.exp(-(x @ solved)))
        slope = x.T @ (weight * (p - y)) + ridge @ solved
        # Without BLAS, whose threads wait for each other on a busy machine for a sum this small.
        curvature = np.einsum("ri,r,rj->ij", x, weight * p * (1.0 - p), x) + ridge
        step = np.linalg.solve(curvature, slope)
        solved = solved - step
        if np.abs(step).max() < 1e-7:
            break
    return solved


def _before_steps(episode: Episode) -> tuple[Mapping[str, float], ...]:
    steps = episode.steps
    return tuple(
        of_plan(StepContext(episode.task, steps[done].observation, steps[:done]))
        for done in range(1, len(steps))
    )


def _after_rounds(episode: Episode) -> tuple[Mapping[str, float], ...]:
    found: list[Mapping[str, float]] = []
    evidence = Evidence()
    for executed in episode.steps[0].rounds[:-1]:
        evidence = evidence.after(executed.candidates)
        found.append(of_rounds(evidence))
    return tuple(found)
