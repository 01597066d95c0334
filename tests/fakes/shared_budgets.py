"""A shared budget in each of its homes, with what only its keeper can tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from redis.asyncio import Redis

from amp.serve.accounts.redis_budget import RedisBudget, RedisBudgets
from amp.serve.accounts.redis_store import RedisStore
from amp.shared_budget import Budget, SharedBudget, Unit
from amp.shared_budget.on_ray import Keeper, RayBudget


@dataclass
class Home:
    """A budget, and what its keeper knows."""

    budget: Budget
    spent: Callable[[], Awaitable[Mapping[str, float]]]
    waive: Callable[[str], Awaitable[None]]


class Handle:
    """A handle of an actor of Ray, in this process."""

    def __init__(self, actor: Keeper) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._actor, name)
        return SimpleNamespace(remote=lambda *args: asyncio.ensure_future(method(*args)))


def here(total: float, floors: Mapping[str, float], unit: Unit, at_once: int) -> Home:
    budget = SharedBudget(total, floors, unit=unit, at_once=at_once)

    async def spent() -> Mapping[str, float]:
        return budget.spent

    async def waive(agent: str) -> None:
        budget.waive(agent)

    return Home(budget, spent, waive)


@asynccontextmanager
async def in_an_actor(
    total: float, floors: Mapping[str, float], unit: Unit, at_once: int, lease: float = 60.0
) -> AsyncIterator[Home]:
    keeper = Keeper(total, floors, unit, at_once, lease)
    first = SharedBudget(total, floors, unit=unit, at_once=at_once)
    budget = RayBudget(Handle(keeper), unit, {name: first.free(name) for name in floors}, lease)
    yield Home(budget, budget.spent, budget.waive)
    if keeper._sweeps is not None:
        keeper._sweeps.cancel()


@asynccontextmanager
async def in_redis(
    client: Redis,
    total: float,
    floors: Mapping[str, float],
    unit: Unit,
    at_once: int,
    lease: float = 60.0,
) -> AsyncIterator[Home]:
    await client.flushall()
    store = RedisStore("redis://h:1/0", None, client)
    budgets = RedisBudgets(store)
    await budgets.make("team", total, floors, unit=unit, at_once=at_once)
    budget = await RedisBudget.named(store, "team", lease)

    async def spent() -> Mapping[str, float]:
        return {name: share.spent for name, share in (await budgets.tell("team")).shares.items()}

    yield Home(budget, spent, lambda agent: budgets.waive("team", agent))
    await store.close()
