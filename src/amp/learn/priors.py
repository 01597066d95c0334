"""What is learned of the arms of a pool before anything is asked: chances and prices.

How often an arm is right on tasks described like this one is a logistic regression for each arm;
what a sample of it costs is a line over the length of the question.
"""

from __future__ import annotations

import numpy as np

from amp.allocate.router import Descriptors, chances, numbers_of
from amp.errors import InvalidInputError
from amp.learn.regressions import chosen_penalty, logistic
from amp.mlp import Floats, Ints
from amp.pools.costs import CHARACTERS_PER_TOKEN
from amp.pools.pool import Pool
from amp.simulate.draws import Draws


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
