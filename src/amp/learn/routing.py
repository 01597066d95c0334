"""Learns `amp.allocate.router.Router` from a pool of recorded answers.

Four things are learned, each of few numbers, since pools have hundreds of tasks and not millions:
how often each arm is right on tasks described like this one (a logistic regression an arm), how
votes add up (a conditional logit over the answers), what a sample costs, and Q, by fitted value
iteration backwards over the lattice of how many samples of each arm are known (Ernst, Geurts and
Wehenkel 2005), in which the regressed returns are true returns of the policy learned so far.

What a task teaches must not be used to decide on that task, or the policy believes itself better
than it is: P(right) of an arm on a training task comes of the other folds, and so do the decisions
that the returns are of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from amp.allocate.router import (
    CHARACTERS_PER_TOKEN,
    Descriptors,
    Known,
    Router,
    basis,
    chances,
    numbers_of,
    posterior,
    voices,
)
from amp.errors import InvalidInputError
from amp.execute.checks import Check
from amp.learn.regressions import chosen_penalty, conditional_logit, cross_fitted, logistic
from amp.mlp import Floats
from amp.pools.pool import NO_ANSWER, Ints, Mask, Pool
from amp.simulate.draws import Draws, Lattice, costs_of, draw, known_at, leader_right
from amp.types import Allocation

Count = Annotated[int, Field(ge=1)]
TradeOff = Annotated[float, Field(gt=0.0, lt=1.0)]

_NODES_A_ROW = 24
"""Nodes of each row that the posterior is fitted on."""
_MOST_ANSWERS = 12
_CHUNK = 4_000_000
"""Numbers of a batch of votes, so that they fit into memory."""


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """How a router is learned.

    Attributes:
        cost: ``dollars`` or ``tokens``.
        reference_cost: what counts as 1; None for the mean of a sample of the dearest arm.
        trade_offs: lambdas to learn at.
        depth: most samples of a step.
        samples: most samples of an arm.
        orders: of the samples of each task.
        kinds: whether the kind of a task is read.
        words: columns for hashed words of its text; 0 reads none.
        ridge: penalty on the squares of Q's weights.
        folds: of the cross-fitting, by the groups of the tasks.
        seed: of the orders.
    """

    cost: Literal["dollars", "tokens"] = "dollars"
    reference_cost: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    trade_offs: Annotated[tuple[TradeOff, ...], Field(min_length=1)] = (
        *(0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95),
        *(0.97, 0.98, 0.985, 0.99, 0.993, 0.996),
    )
    depth: Count = 5
    samples: Count = 5
    orders: Count = 4
    kinds: bool = True
    words: Annotated[int, Field(ge=0)] = 0
    ridge: Annotated[float, Field(gt=0.0)] = 30.0
    folds: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0)] = 0


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


def descriptors_of(pool: Pool, settings: RoutingSettings) -> Descriptors:
    """How tasks like those of a pool are read: its kinds, and the scale of its numbers."""
    numbers = np.array(
        [numbers_of(task.question, _tokens(pool, at)) for at, task in enumerate(pool.tasks)]
    )
    scale = numbers.std(0)
    names = sorted({task.kind for task in pool.tasks} - {""}) if settings.kinds else []
    return Descriptors(
        tuple(names) if len(names) > 1 else (),
        settings.words,
        tuple(numbers.mean(0).tolist()),
        tuple(np.where(scale > 1e-6, scale, 1.0).tolist()),
    )


def learn_router(
    pool: Pool,
    settings: RoutingSettings = RoutingSettings(),
    check: Check | None = None,
    allocations: Sequence[Allocation] | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Router:
    """Learns a router on all tasks of a pool.

    Args:
        pool: the training tasks.
        settings: how.
        check: an exact check of answers, which the router may then rely on; None for none.
        allocations: what a sample of each arm is allocated; None names the arm as the model.
        on_stage: called with what is done now.

    Raises:
        InvalidInputError: if the pool has fewer groups of tasks than folds, no samples of an arm,
            or the lattice is too large.
    """
    fold = folds(pool, settings.folds)
    on_stage("descriptors and priors")
    descriptors = descriptors_of(pool, settings)
    described, lengths = describe(pool, descriptors)
    rates, weights = _rates(pool)
    priors, held_out = _priors(described, rates, weights, fold)
    costs = costs_of(pool, settings.cost)
    token_prices, sample_prices = _prices(pool, costs, lengths)
    means = (lengths.mean() * token_prices + sample_prices).max()
    reference = settings.reference_cost or float(means)
    samples = tuple(np.minimum(pool.there.sum(2).max(0), settings.samples).tolist())
    depth = min(settings.depth, sum(samples))
    on_stage("draws")
    draws = draw(pool, settings.orders, settings.seed, settings.cost, check)
    start = Known(
        np.zeros((*draws.there.shape[:2], 0)),
        np.zeros(draws.there.shape[:2]),
        np.asarray(draws.there.any(2)),
        held_out[draws.task],
        ((lengths[:, None] * token_prices + sample_prices) / reference)[draws.task],
        np.zeros((len(draws.task), 0)),
    )
    lattice = Lattice.of(samples, depth)
    on_stage("posterior")
    speaks = _posterior(draws, lattice, start, settings.seed)
    on_stage("lattice")
    features, right = _features(draws, lattice, start, speaks)
    moves = _Moves(
        features,
        right,
        lattice.can(draws),
        (lattice.costs(draws) / reference).astype(np.float32),
        start.prices,
        lattice,
        fold[draws.task],
    )
    on_stage("values")
    values = _values(moves, settings.trade_offs, settings.ridge)
    arms = allocations or [Allocation(model=arm.name) for arm in pool.arms]
    return Router(
        {arm.name: one for arm, one in zip(pool.arms, arms, strict=True)},
        samples,
        depth,
        descriptors,
        priors,
        speaks,
        token_prices,
        sample_prices,
        reference,
        np.array(settings.trade_offs),
        values,
    )


def begun(router: Router, pool: Pool, draws: Draws) -> Known:
    """What a router knows of every row before anything is asked."""
    start = router.begin(*describe(pool, router.descriptors)).rows(draws.task)
    return replace(start, there=np.asarray(draws.there.any(2)))


def folds(pool: Pool, count: int) -> Ints:
    """The fold of each task, by its group.

    Raises:
        InvalidInputError: if there are fewer groups than folds.
    """
    groups = sorted({task.group for task in pool.tasks}, key=_digest)
    if len(groups) < count:
        raise InvalidInputError(
            f"pool {pool.name} has {len(groups)} groups of tasks to learn from, expected at least"
            f" {count}"
        )
    number = {group: index % count for index, group in enumerate(groups)}
    return np.array([number[task.group] for task in pool.tasks], np.intp)


def _digest(group: str) -> str:
    return hashlib.sha256(b"fold " + group.encode("utf-8", "surrogatepass")).hexdigest()


def _rates(pool: Pool) -> tuple[Floats, Floats]:
    """Share of right samples by task and arm, and 1 where there are any."""
    count = pool.there.sum(2)
    if not (count > 0).any(0).all():
        arm = pool.arms[int((~(count > 0).any(0)).argmax())].name
        raise InvalidInputError(f"arm {arm} has no samples in the training tasks; leave it out")
    return (pool.right & pool.there).sum(2) / np.maximum(count, 1), (count > 0) * 1.0


def _prices(pool: Pool, costs: Floats, lengths: Floats) -> tuple[Floats, Floats]:
    """Cost of a token of the question, and mean cost of the rest of a sample, by arm.

    Least squares over the samples, the cost of a token kept at 0 or more.
    """
    per_token, rest = np.zeros(len(pool.arms)), np.zeros(len(pool.arms))
    for arm in range(len(pool.arms)):
        tasks, _ = np.nonzero(pool.there[:, arm])
        cost, length = costs[:, arm][pool.there[:, arm]], lengths[tasks]
        spread = length.var()
        slope = 0.0
        if spread > 0.0:
            slope = float(((length - length.mean()) * (cost - cost.mean())).mean() / spread)
        per_token[arm] = max(0.0, slope)
        rest[arm] = cost.mean() - per_token[arm] * length.mean()
    return per_token, rest


def _priors(described: Floats, rates: Floats, weights: Floats, fold: Ints) -> tuple[Floats, Floats]:
    """Logistic weights of every arm, and P(right) of every task by the other folds alone."""
    priors = np.zeros((rates.shape[1], described.shape[1]))
    held_out = np.zeros(rates.shape)
    for arm in range(rates.shape[1]):
        rate, weight = rates[:, arm], weights[:, arm]
        penalty = chosen_penalty(described, rate, weight, fold)
        priors[arm] = logistic(described, rate, weight, penalty)
        for each in range(int(fold.max()) + 1):
            out = fold == each
            kept = np.where(out, 0.0, weight)
            part = priors[arm] if not kept.any() else logistic(described, rate, kept, penalty)
            held_out[out, arm] = chances(described[out], part[None])[:, 0]
    return priors, held_out


def _posterior(draws: Draws, lattice: Lattice, start: Known, seed: int) -> Floats:
    """Weights of the conditional logit, fitted on nodes drawn by chance from every row."""
    rng = np.random.default_rng(seed)
    nodes = np.flatnonzero(lattice.level > 0)
    inputs, targets = [], []
    for rows in _chunks(draws, min(_NODES_A_ROW, len(nodes))):
        chosen = rng.choice(nodes, min(_NODES_A_ROW, len(nodes)), replace=False)
        part = draws.part(rows)
        known = known_at(part, lattice.taken[chosen], start.rows(rows))
        says = voices(known)[..., :_MOST_ANSWERS, :]
        backed = ((known.votes.sum(2) > 0.0) & (known.verdicts == 0.0))[..., :_MOST_ANSWERS]
        right = np.zeros(known.votes.shape[:1] + known.votes.shape[3:], np.bool_)
        row, arm, sample = np.nonzero(part.right & (part.answer != NO_ANSWER))
        right[row, part.answer[row, arm, sample]] = True
        hit = backed & right[:, None, :_MOST_ANSWERS]
        says = np.where(backed[..., None], says, np.nan)
        padded = np.full((*says.shape[:2], _MOST_ANSWERS, says.shape[3]), np.nan)
        padded[:, :, : says.shape[2]] = says
        inputs.append(padded.reshape(-1, _MOST_ANSWERS, says.shape[3]))
        targets.append(np.where(hit.any(-1), hit.argmax(-1), -1).reshape(-1))
    return conditional_logit(np.concatenate(inputs), np.concatenate(targets))


def _chunks(draws: Draws, nodes: int) -> list[Ints]:
    rows, arms, _ = draws.answer.shape
    answers = max(1, int(draws.answer.max(initial=0)) + 1)
    size = max(1, _CHUNK // (nodes * arms * answers))
    # Rows of few answers first, so that one task of many answers does not widen all others.
    order = np.argsort(draws.answer.max((1, 2)), kind="stable")
    return [order[at : at + size] for at in range(0, rows, size)]


def _features(
    draws: Draws, lattice: Lattice, start: Known, speaks: Floats
) -> tuple[Floats, Floats]:
    """Features of all nodes, shape (rows, nodes, features), and whether their leaders are right."""
    features: Floats | None = None
    right = np.zeros((len(draws.task), len(lattice.taken)), np.float32)
    for rows in _chunks(draws, len(lattice.taken)):
        part = draws.part(rows)
        known = known_at(part, lattice.taken, start.rows(rows))
        shares = posterior(known, speaks)
        made = basis(known, shares)
        if features is None:
            features = np.zeros((*right.shape, made.shape[-1]), np.float32)
        features[rows] = made
        right[rows] = leader_right(part, shares)
    assert features is not None  # there are rows
    return features, right


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """What Q is learned from.

    Attributes:
        features: shape (rows, nodes, features).
        right: shape (rows, nodes).
        can: shape (rows, nodes, arms).
        costs: shape (rows, nodes, arms), over the reference.
        prices: shape (rows, arms), what costs are expected to be.
        lattice: where samples lead.
        fold: shape (rows,).
    """

    features: Floats
    right: Floats
    can: Mask
    costs: Floats
    prices: Floats
    lattice: Lattice
    fold: Ints


def _values(moves: _Moves, trade_offs: Sequence[float], ridge: float) -> Floats:
    """Weights of Q, shape (trade_offs, depth + 1, arms + 1, features).

    All trade-offs at once, since the features of a node are the same for all of them.
    """
    rows, nodes, width = moves.features.shape
    arms, level = moves.can.shape[2], moves.lattice.level
    gains = np.array(trade_offs, np.float32)
    depth, lambdas = int(level.max()), len(gains)
    weights = np.zeros((lambdas, depth + 1, arms + 1, width))
    value = np.zeros((lambdas, rows, nodes), np.float32)
    for taken in range(depth, -1, -1):
        here = np.flatnonzero(level == taken)
        x = np.ascontiguousarray(moves.features[:, here])
        returns = np.full((arms + 1, lambdas, rows, len(here)), -np.inf, np.float32)
        expected = np.full_like(returns, -np.inf)
        for action in range(arms + 1):
            if action == 0:
                can = np.full((rows, len(here)), taken > 0)
                got = gains[:, None, None] * moves.right[None, :, here]
                price = np.zeros((lambdas, rows, 1), np.float32)
            else:
                can = moves.can[:, here, action - 1]
                to = np.maximum(moves.lattice.next[here, action - 1], 0)
                paid = (1.0 - gains)[:, None, None]
                got = value[:, :, to] - paid * moves.costs[None, :, here, action - 1]
                price = paid * moves.prices[None, :, action - 1 : action].astype(np.float32)
            if not can.any():
                continue
            w, said = cross_fitted(x, got + price, can, moves.fold, ridge)
            weights[:, taken, action] = w
            returns[action] = np.where(can, got, -np.inf)
            expected[action] = np.where(can, said - price, -np.inf)
        chosen = expected.argmax(0)[None]
        value[:, :, here] = np.take_along_axis(returns, chosen, 0)[0]
    return weights
