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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from amp.allocate.policy_file import CurvePoint
from amp.allocate.router import (
    Known,
    Router,
    basis,
    posterior,
    voices,
)
from amp.cost import Cost
from amp.errors import InvalidInputError
from amp.execute.checks import Check
from amp.learn.priors import (
    conditional_logit,
    cross_fitted,
    describe,
    descriptors_of,
    learn_prices,
    learn_priors,
)
from amp.mlp import Floats, Ints, Mask
from amp.pools.pool import NO_ANSWER, Pool
from amp.simulate.pool_draws import CountLattice, Draws, draw, follow, known_at, leader_right
from amp.types import Allocation

Count = Annotated[int, Field(ge=1)]
TradeOff = Annotated[float, Field(gt=0.0, lt=1.0)]

CURVE_UNITS: tuple[Cost, ...] = ("tokens", "dollars")
CURVE_ORDERS = 4
"""In which units, and in how many orders of the samples, a new router is measured."""
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


def learn_router(
    pool: Pool,
    settings: RoutingSettings = RoutingSettings(),
    check: Check | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
    allocation: Callable[[str], Allocation] = lambda arm: Allocation(model=arm),
) -> Router:
    """Learns a router on all tasks of a pool; its arms are the models that answer.

    Args:
        pool: the training tasks.
        settings: how.
        check: an exact check of answers, which the router may then rely on; None for none.
        on_stage: called with what is done now.
        allocation: what a sample of an arm is allocated on live models; learning does not need it.

    Raises:
        InvalidInputError: as `learn_from`.
    """
    draws = draw(pool, settings.orders, settings.seed, settings.cost, check)
    arms = {arm.name: allocation(arm.name) for arm in pool.arms}
    return learn_from(draws, arms, settings, on_stage)


def learn_from(
    draws: Draws,
    arms: Mapping[str, Allocation],
    settings: RoutingSettings,
    on_stage: Callable[[str], None] = lambda stage: None,
    prices: Floats | None = None,
) -> Router:
    """Learns a router on samples.

    Args:
        draws: of the training tasks, each row an order of a task's samples.
        arms: what a sample of each arm is allocated, by its name.
        settings: how; the cost and the orders are those of the samples.
        on_stage: called with what is done now.
        prices: shape (tasks, arms), what a sample of each arm is expected to cost; None for what
            the length of the question says.

    Raises:
        InvalidInputError: if there are fewer groups of tasks than folds, no samples of an arm,
            nothing costs anything, or the lattice is too large.
    """
    pool = draws.pool
    fold = folds(pool, settings.folds)
    on_stage("chances")
    descriptors = descriptors_of(pool, kinds=settings.kinds, words=settings.words)
    described, lengths = describe(pool, descriptors)
    priors, held_out = learn_priors(described, pool, fold)
    token_prices, sample_prices = learn_prices(draws, lengths)
    if prices is None:
        prices = lengths[:, None] * token_prices + sample_prices
    reference = settings.reference_cost or float(prices.mean(0).max())
    if not reference > 0.0:
        raise InvalidInputError(
            f"no sample of pool {pool.name} costs any {draws.cost_unit}, so there is nothing to"
            " weigh against success; take another cost"
        )
    samples = tuple(min(most, settings.samples) for most in draws.samples)
    depth = min(settings.depth, sum(samples))
    shape = draws.there.shape[:2]
    start = Known(
        np.zeros((*shape, 0)),
        np.zeros((*shape, 0)),
        np.zeros(shape),
        np.asarray(draws.there.any(2)),
        held_out[draws.task],
        (prices / reference)[draws.task],
        np.zeros((len(draws.task), 0)),
    )
    lattice = CountLattice.of(samples, depth)
    on_stage("votes")
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
    return Router(
        arms,
        samples,
        depth,
        descriptors,
        priors,
        speaks,
        token_prices,
        sample_prices,
        reference,
        np.array(settings.trade_offs),
        _values(moves, settings.trade_offs, settings.ridge),
        cost=draws.cost_unit,
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


def _posterior(draws: Draws, lattice: CountLattice, start: Known, seed: int) -> Floats:
    """Weights of the conditional logit, fitted on nodes drawn by chance from every row."""
    rng = np.random.default_rng(seed)
    nodes = np.flatnonzero(lattice.level > 0)
    inputs, targets = [], []
    for rows in _chunks(draws, min(_NODES_A_ROW, len(nodes))):
        chosen = rng.choice(nodes, min(_NODES_A_ROW, len(nodes)), replace=False)
        part = draws.part(rows)
        known = known_at(part, lattice.taken[chosen], start.rows(rows))
        backed = (known.votes.sum(2) > 0.0) & (known.verdicts == 0.0)
        right = np.zeros(known.votes.shape[:1] + known.votes.shape[3:], np.bool_)
        row, arm, sample = np.nonzero(part.right & (part.answer != NO_ANSWER))
        right[row, part.answer[row, arm, sample]] = True
        # Those that were given come first: a node knows few of all the answers to its task.
        first = (~backed).argsort(-1, kind="stable")[..., :_MOST_ANSWERS]
        says = np.take_along_axis(voices(known), first[..., None], 2)
        hit = np.take_along_axis(backed & right[:, None], first, 2)
        backed = np.take_along_axis(backed, first, 2)
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
    draws: Draws, lattice: CountLattice, start: Known, speaks: Floats
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
    lattice: CountLattice
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


def curve(router: Router, by_unit: Mapping[Cost, Draws]) -> tuple[CurvePoint, ...]:
    """What a router takes and reaches on samples, by trade-off.

    Args:
        router: the policy.
        by_unit: the same samples in the same orders, their costs in tokens and, where they are
            known, in dollars.
    """
    points = []
    for trade_off in router.trade_offs.tolist():
        at = router.with_trade_off(trade_off)
        came = {u: follow(at, d, begun(router, d.pool, d)) for u, d in by_unit.items()}
        dollars = float(came["dollars"].cost.mean()) if "dollars" in came else None
        tokens = came["tokens"]
        points.append(
            CurvePoint(trade_off, float(tokens.cost.mean()), float(tokens.right.mean()), dollars)
        )
    return tuple(points)
