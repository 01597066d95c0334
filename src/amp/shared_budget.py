"""One budget for several agents: who may spend what, and whose turn it is.

Each agent is a planner of its own, on its own tasks. Before each round it bids with what one more
round is worth to it per unit of cost (`Allocator.bid`). The highest bid goes first, and after every
round all that wait bid anew. Four things hold, whatever the order in which rounds begin and end:

- ``spent + set aside <= total``: a round may spend no more than was set aside for it, which the
  ledger of its episode enforces call by call. Only a server that overruns its caps can break that.
- What an agent has not had of its floor is nobody else's, until it waives that.
- Equal bids are fair: of equals the one goes first that spent least.
- One agent alone decides and spends as with the whole budget as the limit of its episodes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal

from amp.allocate.base import AllocatorAround
from amp.cost import Ledger, cost_of
from amp.errors import InvalidInputError, LimitReachedError, did_you_mean
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.planner import Planner
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Decision,
    Limits,
    Probe,
    ProbeKind,
    StepContext,
)

Unit = Literal["dollars", "tokens", "seconds"]
"""What a budget can be of: what `Limits` can limit."""


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
class Turn:
    """A round under way.

    Attributes:
        most: what it may spend.
        cost: what it did spend; whoever runs it writes that down.
    """

    most: float
    cost: float = 0.0


@dataclass(slots=True, eq=False)
class _Waiting:
    agent: str
    bid: float
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
        if unit not in ("dollars", "tokens", "seconds"):
            raise InvalidInputError(
                f"unit of the shared budget is {unit!r}, expected dollars, tokens or seconds"
            )
        if not 0.0 < total < math.inf:
            raise InvalidInputError(f"shared budget is {total} {unit}, expected more than 0")
        if not floors:
            raise InvalidInputError("shared budget has no agents; name each with its floor")
        for agent, floor in floors.items():
            if not 0.0 <= floor < math.inf:
                raise InvalidInputError(f"floor of agent {agent} is {floor}, expected 0 or more")
        if math.fsum(floors.values()) > total:
            raise InvalidInputError(
                f"floors of {len(floors)} agents add up to {math.fsum(floors.values()):g} {unit},"
                f" more than the shared budget of {total:g}; raise it, or lower the floors to"
                f" {total / len(floors):g} each"
            )
        if at_once < 1:
            raise InvalidInputError(f"at_once is {at_once}, expected at least 1")
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
            known = list(self._accounts)
            raise InvalidInputError(
                f"no agent {agent!r} shares the budget{did_you_mean(agent, known)} (agents:"
                f" {', '.join(known)})"
            )
        return self._accounts[agent]

    # ----------------------------------------------------------------------- the turns

    @asynccontextmanager
    async def turn(self, agent: str, bid: float = 0.0) -> AsyncIterator[Turn]:
        """Waits for the agent's turn, and sets aside what its round may spend."""
        waits = _Waiting(agent, bid, asyncio.get_running_loop().create_future())
        self._account(agent)
        self._waiting.append(waits)
        self._look_soon()
        try:
            now = await waits.turn
        except asyncio.CancelledError:
            if not waits.turn.cancelled():  # its turn had come, and nothing was spent
                self._end(agent, waits.turn.result())
            elif waits in self._waiting:
                self._waiting.remove(waits)
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
            self._waiting.remove(first)
            if first.turn.done():  # cancelled, and not yet told
                continue
            share = self.free(first.agent) / (self.at_once - self._running)
            now = self.hold(first.agent, math.floor(share) if self.unit == "tokens" else share)
            assert now is not None  # a part of what is free
            self._running += 1
            first.turn.set_result(now)

    # ----------------------------------------------------------------------- the agents

    def join(self, agent: str, planner: Planner) -> Planner:
        """A planner that draws from the budget as this agent, and is otherwise the same one.

        Its rounds, and what it measures before them, wait for their turns. The limits of its own
        hold as well.

        Raises:
            InvalidInputError: if there is no such agent.
        """
        self._account(agent)
        joined = copy(planner)
        seat = _Seat(self, agent)
        joined.allocator = _Bidding(planner.allocator, seat)
        joined.executor = _InTurn(planner.executor, seat)
        return joined


@dataclass(slots=True)
class _Seat:
    """An agent at a budget, with its bid for the round that it is about to begin."""

    budget: SharedBudget
    agent: str
    bid: float = math.inf  # what is measured before the first round is not put off

    @asynccontextmanager
    async def turn(self, ledger: Ledger) -> AsyncIterator[None]:
        """Waits for a turn; until it ends the ledger grants no more than was set aside."""
        unit = self.budget.unit
        async with self.budget.turn(self.agent, self.bid) as now:
            before = cost_of(ledger.usage, unit)
            try:
                with _at_most(ledger, unit, before + now.most):
                    yield
            except LimitReachedError as error:
                if error.limit != unit:
                    raise
                most = f"agent {self.agent} may spend {now.most:g} of the shared {unit} now"
                raise LimitReachedError(unit, f"{error}; {most}") from None
            finally:
                now.cost = cost_of(ledger.usage, unit) - before


@contextmanager
def _at_most(ledger: Ledger, unit: Unit, most: float) -> Iterator[None]:
    limits = ledger.limits
    ledger.limits = _lowered(limits, unit, most)
    try:
        yield
    finally:
        ledger.limits = limits


def _lowered(limits: Limits, unit: Unit, most: float) -> Limits:
    """Limits of which one is no more than this."""
    own = getattr(limits, unit)
    lower = most if own is None else min(own, most)
    changed: dict[str, Any] = {unit: int(lower) if unit == "tokens" else lower}
    return replace(limits, **changed)


@dataclass(frozen=True, slots=True)
class _Bidding(AllocatorAround):
    """An allocator that knows what is left of the shared budget, and bids with every decision."""

    seat: _Seat

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        budget = self.seat.budget
        left = _lowered(context.remaining, budget.unit, budget.free(self.seat.agent))
        context = replace(context, remaining=left)
        self.seat.bid = self.inner.bid(context, complexity)
        return self.inner.allocate(context, complexity)

    def with_overrides(self, fields: Mapping[str, Any]) -> _Bidding:
        return replace(self, inner=self.inner.with_overrides(fields))


class _InTurn(Executor):
    """An executor whose rounds wait for their turns."""

    def __init__(self, inner: Executor, seat: _Seat) -> None:
        super().__init__(inner.prompts, inner.tools, inner.plausibility, inner.check, inner.plans)
        self._inner, self._seat = inner, seat

    async def probe(
        self, context: StepContext, kinds: frozenset[ProbeKind], meter: Meter
    ) -> Probe | None:
        async with self._seat.turn(meter.ledger):
            return await self._inner.probe(context, kinds, meter)

    async def execute(
        self, context: StepContext, allocation: Allocation, meter: Meter
    ) -> tuple[Candidate, ...]:
        async with self._seat.turn(meter.ledger):
            return await self._inner.execute(context, allocation, meter)
