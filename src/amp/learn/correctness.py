"""Trains `amp.assess.correctness`: from judged candidates to P(right), calibrated over tasks.

The logistic regression is the default: candidates of a few hundred tasks are not enough for more.
The network learns from the same features. Both choose their penalty by cross-validation over tasks,
and both are calibrated on what the cross-validation said of tasks left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from amp.assess.correctness import (
    Correctness,
    Group,
    Head,
    Kind,
    candidate_features,
    group_of,
    way_of,
)
from amp.errors import InvalidInputError, did_you_mean
from amp.mlp import Floats, Ints, Layer
from amp.simulate.samples import SampleTable
from amp.types import Candidate, StepContext


@dataclass(frozen=True, slots=True)
class JudgedCandidate:
    """One candidate that a judge has looked at.

    Attributes:
        task: id of its task; candidates of one task are not independent.
        way: how it came about (`way_of`).
        features: see `candidate_features`.
        right: the verdict.
    """

    task: str
    way: str
    features: Mapping[str, float]
    right: bool


@dataclass(frozen=True, slots=True)
class HeadFit:
    """How well the head of one way fits tasks that it was not trained on.

    Attributes:
        candidates: trained on.
        tasks: of these.
        right: share of them.
        penalty: that was chosen.
        brier: mean squared error of P(right) in cross-validation.
        constant_brier: that of the share alone.
    """

    candidates: int
    tasks: int
    right: float
    penalty: float
    brier: float
    constant_brier: float


@dataclass(frozen=True, slots=True)
class TrainedCorrectness:
    """Heads, how they fit, and what they said of each candidate when it was left out.

    Attributes:
        correctness: the heads.
        fits: by way.
        held_out: P(right) of each candidate by heads that were trained without its task; NaN where
            its way has no head.
    """

    correctness: Correctness
    fits: Mapping[str, HeadFit]
    held_out: Floats


@dataclass(frozen=True, slots=True)
class CorrectnessSettings:
    """How heads are trained.

    Attributes:
        kind: ``logistic`` or ``network``.
        exclude: groups of features to do without, for ablations.
        penalties: on the squares of the weights, a candidate, to choose among.
        folds: of the cross-validation.
        min_candidates: of a way, right ones and wrong ones each; a way with fewer has no head.
        units: of the network's hidden layer.
        epochs: of the network, steps of Adam over all candidates at once.
        learning_rate: of the network.
        seed: of everything random.
    """

    kind: Kind = "logistic"
    exclude: frozenset[Group] = frozenset()
    penalties: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    folds: int = 10
    min_candidates: int = 20
    units: int = 8
    epochs: int = 300
    learning_rate: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            kinds = get_args(Kind)
            raise InvalidInputError(f"unknown kind {self.kind!r}{did_you_mean(self.kind, kinds)}")


def judged_samples(
    table: SampleTable, contexts: Mapping[str, StepContext]
) -> list[JudgedCandidate]:
    """The samples of a table of one plan step a task, task by task and arm by arm.

    Args:
        table: the samples.
        contexts: the first step of each task, by its id.
    """
    return [
        judged(contexts[row.task], sample.candidate, right=sample.right)
        for row in table.tasks
        for arm in table.arms
        for sample in row.by_arm[arm.name].samples
    ]


def judged(context: StepContext, candidate: Candidate, *, right: bool) -> JudgedCandidate:
    """One candidate with its features."""
    features = candidate_features(context, candidate)
    return JudgedCandidate(context.task.id, way_of(context, candidate), features, right)


def train_correctness(
    candidates: Sequence[JudgedCandidate], settings: CorrectnessSettings = CorrectnessSettings()
) -> TrainedCorrectness:
    """Trains a head for each way to ask; the same candidates and settings give the same heads.

    A candidate without an action is among them: that it has none is not a feature, as it is rated
    0 in any case, but it tells what else is unusual about such answers.

    Raises:
        InvalidInputError: if there are fewer tasks than folds, or no way with enough candidates.
    """
    tasks = sorted({one.task for one in candidates})
    if len(tasks) < settings.folds:
        raise InvalidInputError(
            f"{len(tasks)} tasks with judged candidates, expected at least {settings.folds}; "
            "record more tasks"
        )
    order = np.random.default_rng(settings.seed).permutation(len(tasks))
    fold_of = {tasks[index]: number % settings.folds for number, index in enumerate(order)}
    heads: dict[str, Head] = {}
    fits: dict[str, HeadFit] = {}
    held_out = np.full(len(candidates), np.nan)
    for way in sorted({one.way for one in candidates}):
        rows = [index for index, one in enumerate(candidates) if one.way == way]
        mine = [candidates[index] for index in rows]
        right = sum(one.right for one in mine)
        if min(right, len(mine) - right) < settings.min_candidates:
            continue
        folds = np.array([fold_of[one.task] for one in mine])
        heads[way], fits[way], held_out[rows] = _train_way(mine, folds, settings)
    if not heads:
        raise InvalidInputError(
            f"no way to ask has {settings.min_candidates} right and as many wrong candidates; "
            "record more tasks"
        )
    return TrainedCorrectness(Correctness(heads, settings.kind), fits, held_out)


def _train_way(
    candidates: Sequence[JudgedCandidate], folds: Ints, settings: CorrectnessSettings
) -> tuple[Head, HeadFit, Floats]:
    target = np.array([one.right for one in candidates], float)
    left_out = {penalty: np.empty(len(target)) for penalty in settings.penalties}
    for fold in np.unique(folds):
        inside = folds != fold
        frame = _frame([candidates[index] for index in np.flatnonzero(inside).tolist()], settings)
        inputs = _inputs(frame, candidates)
        for penalty, logits in left_out.items():
            layers = _fit(inputs[inside], target[inside], penalty, settings)
            logits[~inside] = replace(frame, layers=layers).logits(inputs[~inside])
    losses = {penalty: _log_loss(logits, target) for penalty, logits in left_out.items()}
    best = min(losses, key=lambda penalty: losses[penalty])
    slope, shift = _calibration(left_out[best], target)
    frame = _frame(candidates, settings)
    *hidden, last = _fit(_inputs(frame, candidates), target, best, settings)
    last = Layer(
        (last.weight * slope).astype(np.float32), (last.bias * slope + shift).astype(np.float32)
    )
    p_right = _sigmoid(left_out[best] * slope + shift)
    fit = HeadFit(
        candidates=len(candidates),
        tasks=len({one.task for one in candidates}),
        right=float(target.mean()),
        penalty=best,
        brier=float(((p_right - target) ** 2).mean()),
        constant_brier=float(target.mean() * (1.0 - target.mean())),
    )
    return replace(frame, layers=(*hidden, last)), fit, p_right


def _frame(candidates: Sequence[JudgedCandidate], settings: CorrectnessSettings) -> Head:
    """A head of nothing yet: what it reads, and how that is normalised, from these candidates."""
    seen = {name for one in candidates for name in one.features}
    names = tuple(sorted(name for name in seen if group_of(name) not in settings.exclude))
    table = np.array([[one.features.get(n, math.nan) for n in names] for one in candidates])
    known = ~np.isnan(table)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, table, 0.0).sum(0) / count
    spread = np.sqrt((np.where(known, table - mean, 0.0) ** 2).sum(0) / count)
    std = np.where(spread > _CONSTANT, spread, 1.0)
    nothing = Layer(np.zeros((2 * len(names), 1), np.float32), np.zeros(1, np.float32))
    return Head(names, mean.astype(np.float32), std.astype(np.float32), (nothing,))


def _inputs(frame: Head, candidates: Sequence[JudgedCandidate]) -> Floats:
    return np.array([frame.encode(one.features) for one in candidates], float)


def _fit(
    inputs: Floats, target: Floats, penalty: float, settings: CorrectnessSettings
) -> tuple[Layer, ...]:
    if settings.kind == "network":
        return _network(inputs, target, penalty, settings)
    return (_logistic(inputs, target, penalty),)


_CONSTANT = 1e-6
_STEPS_OF_NEWTON = 50


def _logistic(inputs: Floats, target: Floats, penalty: float) -> Layer:
    """Minimises the mean log loss plus penalty / 2 times the squares, by Newton's method.

    Raises:
        InvalidInputError: if it does not converge.
    """
    x = np.column_stack((inputs, np.ones(len(inputs))))
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = _CONSTANT  # the bias is free
    weights = np.zeros(x.shape[1])
    for _ in range(_STEPS_OF_NEWTON):
        p = _sigmoid(x @ weights)
        gradient = x.T @ (p - target) / len(x) + ridge * weights
        curvature = (x * (p * (1.0 - p))[:, None]).T @ x / len(x) + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    else:
        raise InvalidInputError("the logistic regression of correctness does not converge")
    return Layer(weights[:-1, None].astype(np.float32), weights[-1:].astype(np.float32))


def _network(
    inputs: Floats, target: Floats, penalty: float, settings: CorrectnessSettings
) -> tuple[Layer, Layer]:
    import torch
    from torch import nn

    from amp.learn.networks import layer_of, one_thread

    x, y = (torch.as_tensor(values, dtype=torch.float32) for values in (inputs, target))
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        first, second = nn.Linear(x.shape[1], settings.units), nn.Linear(settings.units, 1)
        network = nn.Sequential(first, nn.Tanh(), second)
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        loss_of = nn.BCEWithLogitsLoss()
        for _ in range(settings.epochs):
            optimiser.zero_grad()
            squares = first.weight.square().sum() + second.weight.square().sum()
            loss = loss_of(network(x)[:, 0], y) + penalty / 2.0 * squares
            loss.backward()
            optimiser.step()
    return layer_of(first), layer_of(second)


def _calibration(logits: Floats, target: Floats) -> tuple[float, float]:
    """Slope and shift of the logits that fit best what was right (Platt 1999)."""
    layer = _logistic(logits[:, None], target, _CONSTANT)
    return float(layer.weight[0, 0]), float(layer.bias[0])


def _log_loss(logits: Floats, target: Floats) -> float:
    return float(np.mean(np.logaddexp(0.0, logits) - target * logits))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -_FAR, _FAR))))


_FAR = 30.0
