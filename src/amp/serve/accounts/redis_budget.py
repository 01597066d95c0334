"""Budgets that several keys, or planners on several machines, draw from, kept in Redis.

The laws are those of `amp.shared_budget.base`. Amounts are whole there (nano-dollars, tokens,
nanoseconds), so that sums have no error. Who waits for its turn asks again, the first one
every few hundredths of a second, and has its place for as long as it asks.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from amp.errors import InvalidInputError, LimitReachedError, did_you_mean
from amp.serve.accounts.keys import NANO, checked_name, nano, whole
from amp.serve.accounts.redis_store import RedisStore, exact
from amp.shared_budget.base import Unit, check_bid, check_budget, no_agent, not_there
from amp.shared_budget.distant import LEASE_SECONDS, DistantBudget

Whose = Literal["agents", "keys"]
"""Who draws from a budget: whoever has the name, or calls of the key of that name."""

_MOST_BID = 1e300
_FIRST_PAUSE, _PAUSE, _LAST_PAUSE = 0.005, 0.04, 2.0
_PLACE_SECONDS = 10.0
"""How long a place in the queue is kept for who does not ask again."""


@dataclass(frozen=True, slots=True)
class Share:
    """What an agent of a budget has.

    Attributes:
        floor: what it is sure of.
        spent: by its rounds that have ended.
        held: set aside for its rounds under way.
        free: what it may spend now.
    """

    floor: float
    spent: float
    held: float
    free: float


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget as it is now.

    Attributes:
        name: of the budget.
        unit: of its amounts.
        total: what all agents together may spend.
        at_once: rounds under way at the same time.
        running: rounds under way.
        waiting: agents that wait for their turn.
        shares: by agent.
    """

    name: str
    unit: Unit
    total: float
    at_once: int
    running: int
    waiting: int
    shares: Mapping[str, Share]


class RedisBudgets:
    """The budgets of one Redis.

    Args:
        store: Redis.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def make(
        self,
        name: str,
        total: float,
        floors: Mapping[str, float],
        *,
        unit: Unit = "dollars",
        at_once: int = 1,
        whose: Whose = "agents",
    ) -> None:
        """Makes a budget.

        Args:
            name: of the budget.
            total: what all agents together may spend.
            floors: by agent, what it is sure of.
            unit: of both.
            at_once: rounds under way at the same time.
            whose: whether agents are keys, of which each has one budget at most.

        Raises:
            InvalidInputError: if it cannot be, the name is taken, an agent is no key, or the key
                draws from another budget.
            RedisUnreachableError: if Redis cannot be used.
        """
        check_budget(total, floors, unit, at_once)
        checked_name(name)
        pairs = [part for agent, floor in floors.items() for part in (agent, to_whole(floor, unit))]
        said = await self._store.run(
            "make", name, unit, to_whole(total, unit), at_once, whose, *pairs
        )
        if said[0] == "taken":
            raise InvalidInputError(
                f"budget {name!r} exists already; choose another name, since what was spent of it"
                " counts"
            )
        if said[0] == "no key":
            agent, *known = said[1:]
            raise InvalidInputError(
                f"unknown key {agent!r}{did_you_mean(agent, known)}; add it first (amp keys add"
                " NAME)"
            )
        if said[0] == "other":
            raise InvalidInputError(f"key {said[1]!r} draws from the budget {said[2]!r} already")

    async def names(self) -> list[str]:
        """Of all budgets."""
        return sorted(await self._store.run("budgets"))

    async def tell(self, name: str) -> BudgetState:
        """A budget as it is now.

        Raises:
            InvalidInputError: if there is none of that name.
            RedisUnreachableError: if Redis cannot be used.
        """
        said = await self._store.run("tell", name)
        if not said:
            known = await self.names()
            raise InvalidInputError(
                f"unknown budget {name!r}{did_you_mean(name, known)} (budgets:"
                f" {', '.join(known) or 'none'})"
            )
        unit, total, at_once, running, waiting, *rest = said
        shares = {}
        for at in range(0, len(rest), 5):
            agent, *amounts = rest[at : at + 5]
            shares[agent] = Share(*(from_whole(int(amount), unit) for amount in amounts))
        return BudgetState(
            name,
            unit,
            from_whole(int(total), unit),
            int(at_once),
            int(running),
            int(waiting),
            shares,
        )

    async def waive(self, name: str, agent: str) -> None:
        """Frees what an agent has not had of its floor.

        Raises:
            InvalidInputError: if there is no such budget or agent.
            RedisUnreachableError: if Redis cannot be used.
        """
        shares = (await self.tell(name)).shares
        if agent not in shares:
            raise no_agent(agent, list(shares))
        await self._store.run("waive", name, agent)

    async def of_key(self, key: str) -> tuple[str, Unit] | None:
        """The budget that a key draws from, and its unit; None if it has none."""
        said = await self._store.run("budget_of", key)
        return (said[0], said[1]) if said else None

    async def ask(
        self,
        name: str,
        ticket: str,
        agent: str,
        bid: float,
        want: int | None,
        unit: Unit,
        lease_seconds: float,
    ) -> int:
        """Waits for a turn; says what is set aside, in whole units.

        Raises:
            InvalidInputError: if there is no such agent.
            LimitReachedError: as `Budget.turn`, or if the agent was taken for lost.
            RedisUnreachableError: if Redis cannot be used.
        """
        bid = max(-_MOST_BID, min(_MOST_BID, check_bid(bid)))
        wanted = "" if want is None else want
        pause = _FIRST_PAUSE
        while True:
            said = await self._store.run(
                "ask", name, ticket, agent, repr(bid), wanted, lease_seconds, _PLACE_SECONDS
            )
            if said[0] == "turn":
                return int(said[1])
            if said[0] == "refused":
                assert want is not None  # a part of what is free is never refused
                left = from_whole(int(said[1]), unit)
                raise not_there(agent, unit, from_whole(want, unit), left)
            if said[0] == "no agent":
                raise no_agent(agent, said[1:])
            if said[0] != "wait":
                raise LimitReachedError(
                    unit, f"agent {agent} was not heard of in time at the budget {name!r}"
                )
            await asyncio.sleep(pause)  # the longer, the more go before it
            pause = min(2 * pause, _PAUSE * (1 + int(said[1])), _LAST_PAUSE)

    async def end(self, ticket: str, cost: int) -> Mapping[str, int]:
        """Ends a turn, or the wait for it; says what is free for each agent, in whole units."""
        said = await self._store.run("done", ticket, cost)
        return {agent: int(amount) for agent, amount in zip(said[::2], said[1::2], strict=True)}

    async def renew(self, lease_seconds: float, tickets: list[str]) -> None:
        """Says that whoever has these turns is there."""
        await self._store.run("renew_turns", lease_seconds, *tickets)


class RedisBudget(DistantBudget):
    """A budget that planners on any machine draw from, by name.

        store = RedisStore("redis://127.0.0.1:6379/0")
        await RedisBudgets(store).make("team", 0.50, {"ann": 0.02, "bob": 0.02})
        budget = await RedisBudget.named(store, "team")
        ann = join(budget, "ann", planner)

    Args:
        store: Redis.
        state: of the budget.
        lease_seconds: as `LEASE_SECONDS`.
    """

    def __init__(
        self, store: RedisStore, state: BudgetState, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        free = {agent: share.free for agent, share in state.shares.items()}
        super().__init__(state.unit, free, lease_seconds)
        self._budgets, self._name = RedisBudgets(store), state.name

    @classmethod
    async def named(
        cls, store: RedisStore, name: str, lease_seconds: float = LEASE_SECONDS
    ) -> RedisBudget:
        """The budget of that name.

        Raises:
            InvalidInputError: if there is none.
            RedisUnreachableError: if Redis cannot be used.
        """
        return cls(store, await RedisBudgets(store).tell(name), lease_seconds)

    async def _ask(self, ticket: str, agent: str, bid: float, want: float | None) -> float:
        wanted = None if want is None else to_whole(want, self.unit)
        said = await self._budgets.ask(
            self._name, ticket, agent, bid, wanted, self.unit, self._lease
        )
        return from_whole(said, self.unit)

    async def _end(self, ticket: str, cost: float) -> Mapping[str, float]:
        left = await self._budgets.end(ticket, to_whole(cost, self.unit))
        return {agent: from_whole(amount, self.unit) for agent, amount in left.items()}

    async def _renew(self, ticket: str) -> None:
        await self._budgets.renew(self._lease, [ticket])


def to_whole(amount: float, unit: Unit) -> int:
    """An amount as Redis counts it, rounded up.

    Raises:
        InvalidInputError: if it is negative, not finite, or too large.
    """
    if unit == "tokens":
        return exact(whole(math.ceil(amount), unit), unit)
    return exact(nano(round(amount, 12), unit), unit)


def from_whole(amount: int, unit: Unit) -> float:
    """The amount that Redis counts so."""
    return amount if unit == "tokens" else amount / NANO
