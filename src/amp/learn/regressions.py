"""Regressions with ridge penalties, in closed form or by Newton's method, for few hundred tasks.

What they have in common is folds: what is said of a fold was learned on the others.
"""

from __future__ import annotations

import numpy as np

from amp.mlp import Floats, Ints, Mask

PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""To choose among, on the squares of a linear regression's weights."""


def chosen_penalty(x: Floats, y: Floats, weight: Floats, fold: Ints) -> float:
    """The penalty whose linear regression fits left-out folds best, as one of the logistic."""
    free = np.ones(x.shape[1])
    free[0] = 1e-6
    count = int(fold.max()) + 1
    grams = [_gram(x[fold == k], y[fold == k], weight[fold == k]) for k in range(count)]
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for k in range(count):
            gram = sum((g for j, (g, _) in enumerate(grams) if j != k), np.zeros_like(grams[0][0]))
            right = sum((r for j, (_, r) in enumerate(grams) if j != k), np.zeros_like(grams[0][1]))
            w = np.linalg.solve(gram + penalty * np.diag(free), right)
            out = fold == k
            error += float((weight[out] * (y[out] - x[out] @ w) ** 2).sum())
        errors.append(error)
    return 0.2 * PENALTIES[int(np.argmin(errors))]  # a logistic weighs a task by p (1 - p)


def logistic(x: Floats, y: Floats, weight: Floats, penalty: float) -> Floats:
    """Newton's method for a ridge-penalised logistic regression on shares y in [0, 1]."""
    ridge = np.full(x.shape[1], penalty)
    ridge[0] = 1e-3
    w = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -30.0, 30.0)))
        slope = x.T @ (weight * (p - y)) + ridge * w
        curve = (x * (weight * p * (1.0 - p) + 1e-9)[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        w -= step
        if np.abs(step).max() < 1e-5:
            break
    return w


def conditional_logit(says: Floats, target: Ints, penalty: float = 5.0) -> Floats:
    """Newton's method; answers that are not there are NaN, and -1 as a target is none of them."""
    there = np.isfinite(says[:, :, 0])
    says = np.where(there[..., None], says, 0.0)
    width = says.shape[2]
    truth = np.zeros(there.shape)
    named = np.flatnonzero(target >= 0)
    truth[named, target[named]] = 1.0
    weights = np.zeros(width)
    for _ in range(30):
        scores = np.where(there, says @ weights, -np.inf)
        top = np.maximum(0.0, scores.max(1))
        mass = np.exp(scores - top[:, None])
        p = mass / (mass.sum(1) + np.exp(-top))[:, None]
        slope = np.einsum("nk,nkd->d", p - truth, says) + penalty * weights
        mean = np.einsum("nk,nkd->nd", p, says)
        flat = (says * p[..., None]).reshape(-1, width)
        curve = flat.T @ says.reshape(-1, width) - mean.T @ mean + penalty * np.eye(width)
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < 1e-5:
            break
    return weights


def cross_fitted(
    x: Floats, y: Floats, can: Mask, fold: Ints, ridge: float
) -> tuple[Floats, Floats]:
    """Ridge regressions of many targets; what is said of a fold is learned on the others.

    Args:
        x: shape (rows, nodes, features).
        y: shape (targets, rows, nodes).
        can: shape (rows, nodes), where there is a target.
        fold: shape (rows,).
        ridge: the penalty.

    Returns:
        The weights, shape (targets, features), and what is said, shaped like `y`.
    """
    width, count = x.shape[-1], int(fold.max()) + 1
    grams, sums = np.zeros((count, width, width)), np.zeros((count, width, len(y)))
    for each in range(count):
        rows = fold == each
        kept = can[rows]
        inputs = x[rows][kept]
        grams[each] = inputs.T @ inputs
        sums[each] = inputs.T @ y[:, rows][:, kept].T
    penalty = ridge * np.eye(width)
    said = np.zeros_like(y)
    for each in range(count):
        w = np.linalg.solve(grams.sum(0) - grams[each] + penalty, sums.sum(0) - sums[each])
        rows = fold == each
        said[:, rows] = np.moveaxis(x[rows] @ w.astype(np.float32), -1, 0)
    return np.linalg.solve(grams.sum(0) + penalty, sums.sum(0)).T, said


def _gram(x: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    weighted = x * weight[:, None]
    return weighted.T @ x, weighted.T @ y
