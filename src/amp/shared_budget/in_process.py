"""A shared budget of the agents of one event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from amp.planner import Planner
from amp.shared_budget.agents import join
from amp.shared_budget.base import (
    Turn,
    Unit,
    check_bid,
    check_budget,
    no_agent,
    not_there,
)


@dataclass(slots=True)
class _Account:
    """What an agent spent, what is set aside for its rounds under way, and what it is sure of."""

    floor: float
    spent: float = 0.0
    held: float = 0.0

    @property
    def kept(self) -> float:
        """What it has not had of its floor."""
        return max(0.0, self.floor - self.spent - self.held)


@dataclass(slots=True, eq=False)
class _Waiting:
    agent: str
    bid: float
    want: float | None
    turn: asyncio.Future[Turn]


class SharedBudget:
    """A budget that several agents draw from; all in one event loop.

        budget = SharedBudget(0.50, {"ann": 0.02, "bob": 0.02}, unit="dollars")
        ann = budget.join("ann", planner)
        episode = await ann.run(task, environment)

    Args:
        total: what all agents together may spend.
        floors: by agent, what it is sure of.
        unit: of both.
        at_once: rounds under way at the same time. With 1 all that is free is there for each. With
            more, what is free when a round begins is divided by the rounds that may still begin.

    Raises:
        InvalidInputError: if there is no agent, a number cannot be, or the floors are more than the
            budget.
    """

    def __init__(
        self,
        total: float,
        floors: Mapping[str, float],
        *,
        unit: Unit = "dollars",
        at_once: int = 1,
    ) -> None:
        check_budget(total, floors, unit, at_once)
        self.total, self.unit, self.at_once = total, unit, at_once
        self._accounts = {agent: _Account(floor) for agent, floor in floors.items()}
        self._waiting: list[_Waiting] = []
        self._running = 0

    # ----------------------------------------------------------------------- the money

    @property
    def spent(self) -> Mapping[str, float]:
        """What each agent spent."""
        return {agent: account.spent for agent, account in self._accounts.items()}

    def free(self, agent: str) -> float:
        """What an agent may spend now: what nobody spent or set aside, less the floors of others.

        Raises:
            InvalidInputError: if there is no such agent; names the nearest and all.
        """
        mine = self._account(agent)
        others = sum(one.kept for one in self._accounts.values() if one is not mine)
        taken = sum(one.spent + one.held for one in self._accounts.values())
        return max(0.0, self.total - taken - others)

    def hold(self, agent: str, most: float) -> Turn | None:
        """Sets aside what a round of an agent may spend; None if that is not free."""
        if most > self.free(agent):
            return None
        self._account(agent).held += most
        return Turn(most)

    def settle(self, agent: str, done: Turn) -> None:
        """Charges what a round did cost, and gives the rest back."""
        account = self._account(agent)
        account.held -= done.most
        account.spent += done.cost

    def waive(self, agent: str) -> None:
        """Frees what an agent has not had of its floor, since it needs no more to be sure of."""
        self._account(agent).floor = 0.0

    def rank(self, agent: str, bid: float) -> tuple[float, float]:
        """The highest goes first: by its bid, and of equal ones who spent least."""
        return bid, -self._account(agent).spent

    def _account(self, agent: str) -> _Account:
        if agent not in self._accounts:
            raise no_agent(agent, list(self._accounts))
        return self._accounts[agent]

    # ----------------------------------------------------------------------- the turns

    @asynccontextmanager
    async def turn(
        self, agent: str, bid: float = 0.0, want: float | None = None
    ) -> AsyncIterator[Turn]:
        """As `Budget.turn`."""
        self._account(agent)
        made: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        waits = _Waiting(agent, check_bid(bid), want, made)
        self._waiting.append(waits)
        self._look_soon()
        try:
            now = await waits.turn
        except asyncio.CancelledError:
            if waits in self._waiting:
                self._waiting.remove(waits)
                self._look_soon()
            elif not waits.turn.cancelled() and waits.turn.exception() is None:
                self._end(agent, waits.turn.result())  # its turn had come, and nothing was spent
            raise
        try:
            yield now
        finally:
            self._end(agent, now)

    def _end(self, agent: str, done: Turn) -> None:
        self.settle(agent, done)
        self._running -= 1
        self._look_soon()

    def _look_soon(self) -> None:
        """Looks who is next once the agent that runs now has had time to bid again."""
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        while self._waiting and self._running < self.at_once:
            first = max(self._waiting, key=lambda one: self.rank(one.agent, one.bid))
            if not first.turn.done() and not self._answer(first):
                return  # nobody goes before it: what is set aside for others may come back
            self._waiting.remove(first)

    def _answer(self, first: _Waiting) -> bool:
        """Gives who is first its turn, or refuses it; False if that is not clear yet."""
        most = first.want
        if most is None:
            share = self.free(first.agent) / (self.at_once - self._running)
            most = math.floor(share) if self.unit == "tokens" else share
        elif most > (left := self._left(first.agent)):
            first.turn.set_exception(not_there(first.agent, self.unit, most, left))
            return True
        now = self.hold(first.agent, most)
        if now is None:
            return False
        self._running += 1
        first.turn.set_result(now)
        return True

    def _left(self, agent: str) -> float:
        """What would be free for an agent if nothing was set aside."""
        mine, accounts = self._account(agent), self._accounts.values()
        owed = sum(max(0.0, one.floor - one.spent) for one in accounts if one is not mine)
        return max(0.0, self.total - sum(one.spent for one in accounts) - owed)

    # ----------------------------------------------------------------------- the agents

    def join(self, agent: str, planner: Planner) -> Planner:
        """As `amp.shared_budget.join`."""
        return join(self, agent, planner)
