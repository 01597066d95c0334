"""What a router that was learned on other pools is worth on one pool.

Arms have other names elsewhere, so each pool is brought to three: of the cheapest third of its arms
the one that is right most often in training, of the middle third, and of the dearest. A router of
these knows nothing of the models, only how cheap, middle and dear arms relate, how far to trust
agreement, and how tasks are described by numbers. Prices are those of the pool that it runs on,
since a user knows them before asking; what a sample of the dear arm costs counts as 1 everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from amp.allocate.router import Descriptors, Router
from amp.errors import InvalidInputError
from amp.learn.pool_config import PoolStudyConfig, asked
from amp.learn.pool_study import PoolStudy, study_pool
from amp.learn.priors import describe, learn_prices
from amp.learn.routing import RoutingSettings, learn_from
from amp.mlp import Floats, Ints
from amp.pools.pool import NO_ANSWER, Pool, PoolArm
from amp.simulate.pool_draws import Draws, costs_of, draw
from amp.types import Allocation

RANKS = ("cheapest", "middle", "dear")
"""Names of the three arms."""
_MOST_TASKS = 800
"""Of each pool that is learned from, so that none outweighs all others."""
_COLUMNS = (
    *("answer", "there", "right", "prompt_tokens", "completion_tokens", "dollars", "log_prob"),
)
_EMPTY = {"answer": NO_ANSWER, "there": False, "right": False}
"""What stands where there is no sample; NaN in all others."""


@dataclass(frozen=True, slots=True)
class Source:
    """A pool and how it is studied."""

    config: PoolStudyConfig
    pool: Pool


def study_transfer(
    target: Source,
    sources: Sequence[Source],
    on_stage: Callable[[str], None] = lambda stage: None,
) -> PoolStudy:
    """Studies a pool with a router that has learned from others; rules are tuned on the pool.

    Nothing checks answers, since a check is of one pool.

    Raises:
        InvalidInputError: if there is no other pool.
    """
    if not sources:
        raise InvalidInputError("there is no other pool to learn from; add configurations of some")
    config = target.config
    settings = replace(config.routing, kinds=False, words=0, reference_cost=None)
    ranked = by_rank(target.pool, settings, target.pool.halves()[0])
    on_stage(f"learning from {len(sources)} other pools")
    taught = [by_rank(source.pool.part(source.pool.halves()[0]), settings) for source in sources]
    few = [pool.part(np.arange(min(_MOST_TASKS, len(pool.tasks)))) for pool in taught]
    prices = np.concatenate([expected_prices(pool, settings) for pool in few])
    paid = replace(settings, cost="dollars", reference_cost=1.0)
    draws = draw(together(few, settings), paid.orders, paid.seed)
    arms = {rank: Allocation(model=rank) for rank in RANKS}
    router = learn_from(draws, arms, paid, prices=prices)
    config = config.replace(
        arms=(),
        join={},
        dear=RANKS[-1],
        rules=("votes", "cascade"),
        check=None,
        whole_below=None,
        routing=settings,
    )
    return study_pool(config, ranked, on_stage, partial(priced, router))


def priced(router: Router, pool: Pool, settings: RoutingSettings) -> Router:
    """The router at the prices of a pool."""
    draws = draw(pool, 1, 0, settings.cost)
    token, sample = learn_prices(draws, describe(pool, router.descriptors)[1])
    reference = settings.reference_cost or _mean(draws)
    return replace(router, token_prices=token, sample_prices=sample, reference=reference)


def expected_prices(pool: Pool, settings: RoutingSettings) -> Floats:
    """What a sample of each arm is expected to cost, by task; one of the dear arm costs 1."""
    draws = draw(pool, 1, 0, settings.cost)
    lengths = describe(pool, Descriptors())[1]
    token, sample = learn_prices(draws, lengths)
    return (lengths[:, None] * token + sample) / _mean(draws)


def _mean(draws: Draws) -> float:
    """Of a sample of the dear arm.

    Raises:
        InvalidInputError: if it costs nothing.
    """
    mean = float(draws.cost[:, -1][draws.there[:, -1]].mean())
    if not mean > 0.0:
        raise InvalidInputError(
            f"no sample of pool {draws.pool.name} costs any {draws.cost_unit}, and costs are"
            " measured by the dearest arm; take another cost"
        )
    return mean


def by_rank(pool: Pool, settings: RoutingSettings, training: Ints | None = None) -> Pool:
    """The pool with three arms, the cheapest first, and the tasks that one of them was asked on.

    A pool of two arms has no middle one.

    Args:
        pool: with arms of its own.
        settings: say what is paid.
        training: the tasks that choose the arms; None for all.
    """
    seen = pool if training is None else pool.part(training)
    costs, there = costs_of(seen, settings.cost), seen.there
    count = np.maximum(1, there.sum((0, 2)))
    price = np.where(there, costs, 0.0).sum((0, 2)) / count
    rate = (seen.right & there).sum((0, 2)) / count
    thirds = np.array_split(np.argsort(price, kind="stable"), 3)
    if len(price) == 2:
        thirds = [thirds[0], thirds[2], thirds[1]]
    best = [int(third[rate[third].argmax()]) if len(third) else -1 for third in thirds]
    columns = {}
    for name in _COLUMNS:
        column = getattr(pool, name)[:, best].copy()
        column[:, [at < 0 for at in best]] = _EMPTY.get(name, np.nan)
        columns[name] = column
    arms = tuple(PoolArm.of(rank) for rank in RANKS)
    return asked(replace(pool, arms=arms, estimated=pool.estimated[best], **columns))


def together(pools: Sequence[Pool], settings: RoutingSettings) -> Pool:
    """One pool of the tasks of all; dollars are what is paid, over a sample of the dear arm."""
    most = max(pool.there.shape[2] for pool in pools)
    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        parts = []
        for pool in pools:
            column = getattr(pool, name)
            if name == "dollars":
                column = costs_of(pool, settings.cost) / _mean(draw(pool, 1, 0, settings.cost))
            short = ((0, 0), (0, 0), (0, most - column.shape[2]))
            parts.append(np.pad(column, short, constant_values=_EMPTY.get(name, np.nan)))
        columns[name] = np.concatenate(parts)
    tasks = tuple(
        replace(task, id=f"{pool.name}/{task.id}", kind="", group=f"{pool.name}/{task.group}")
        for pool in pools
        for task in pool.tasks
    )
    answers = tuple(answers for pool in pools for answers in pool.answers)
    return replace(pools[0], name="several pools", tasks=tasks, answers=answers, **columns)
