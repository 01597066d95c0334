"""What is learned of the arms of a pool before anything is asked: chances and prices.

How often an arm is right on tasks described like this one is a logistic regression for each arm;
what a sample of it costs is a line over the length of the question.

The regressions have ridge penalties, in closed form or by Newton's method, for few hundred tasks.
What they have in common is folds: what is said of a fold was learned on the others.
"""

from __future__ import annotations

import numpy as np

from amp.allocate.router import Descriptors, chances, numbers_of
from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints, Mask
from amp.pools.pool import CHARACTERS_PER_TOKEN, Pool
from amp.simulate.pool_draws import Draws

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


_PENALTY = 5.0
"""On the squares of a conditional logit's weights."""


def conditional_logit(says: Floats, target: Ints) -> Floats:
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
        slope = np.einsum("nk,nkd->d", p - truth, says) + _PENALTY * weights
        mean = np.einsum("nk,nkd->nd", p, says)
        flat = (says * p[..., None]).reshape(-1, width)
        curve = flat.T @ says.reshape(-1, width) - mean.T @ mean + _PENALTY * np.eye(width)
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


def describe(pool: Pool, descriptors: Descriptors) -> tuple[Floats, Floats]:
    """The descriptors of all tasks, and the lengths of their questions in tokens."""
    lengths = np.array([_tokens(pool, index) for index in range(len(pool.tasks))])
    rows = [
        descriptors.of(task.kind, task.question, tokens)
        for task, tokens in zip(pool.tasks, lengths.tolist(), strict=True)
    ]
    return np.array(rows), lengths


def _tokens(pool: Pool, task: int) -> float:
    known = pool.tasks[task].prompt_tokens
    return len(pool.tasks[task].question) / CHARACTERS_PER_TOKEN if known is None else known


def descriptors_of(pool: Pool, *, kinds: bool, words: int) -> Descriptors:
    """How tasks like those of a pool are read.

    Args:
        pool: the training tasks, which give the scale of the numbers.
        kinds: whether the kinds of the tasks are read, too.
        words: columns for hashed words of their text.
    """
    numbers = np.array(
        [numbers_of(task.question, _tokens(pool, at)) for at, task in enumerate(pool.tasks)]
    )
    scale = numbers.std(0)
    names = sorted({task.kind for task in pool.tasks} - {""}) if kinds else []
    return Descriptors(
        tuple(names) if len(names) > 1 else (),
        words,
        tuple(numbers.mean(0).tolist()),
        tuple(np.where(scale > 1e-6, scale, 1.0).tolist()),
    )


def _rates(pool: Pool) -> tuple[Floats, Floats]:
    """Share of right samples by task and arm, and 1 where there are any."""
    count = pool.there.sum(2)
    if not (count > 0).any(0).all():
        arm = pool.arms[int((~(count > 0).any(0)).argmax())].name
        raise InvalidInputError(f"arm {arm} has no samples in the training tasks; leave it out")
    return (pool.right & pool.there).sum(2) / np.maximum(count, 1), (count > 0) * 1.0


def learn_prices(draws: Draws, lengths: Floats) -> tuple[Floats, Floats]:
    """Cost of a token of the question, and mean cost of the rest of a sample, by arm.

    Least squares over the samples, the cost of a token kept at 0 or more; 0 for an arm without any.
    """
    count = draws.there.shape[1]
    per_token, rest = np.zeros(count), np.zeros(count)
    for arm in range(count):
        there = draws.there[:, arm]
        rows, _ = np.nonzero(there)
        if not len(rows):
            continue
        cost, length = draws.cost[:, arm][there], lengths[draws.task[rows]]
        spread = length.var()
        if spread > 0.0:
            slope = float(((length - length.mean()) * (cost - cost.mean())).mean() / spread)
            per_token[arm] = max(0.0, slope)
        rest[arm] = cost.mean() - per_token[arm] * length.mean()
    return per_token, rest


def learn_priors(described: Floats, pool: Pool, fold: Ints) -> tuple[Floats, Floats]:
    """Logistic weights of every arm, and P(right) of every task by the other folds alone."""
    shares, weights = _rates(pool)
    priors = np.zeros((shares.shape[1], described.shape[1]))
    held_out = np.zeros(shares.shape)
    for arm in range(shares.shape[1]):
        rate, weight = shares[:, arm], weights[:, arm]
        penalty = chosen_penalty(described, rate, weight, fold)
        priors[arm] = logistic(described, rate, weight, penalty)
        for each in range(int(fold.max()) + 1):
            out = fold == each
            kept = np.where(out, 0.0, weight)
            part = priors[arm] if not kept.any() else logistic(described, rate, kept, penalty)
            held_out[out, arm] = chances(described[out], part[None])[:, 0]
    return priors, held_out
