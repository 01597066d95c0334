"""A shared budget in an actor of a Ray cluster, for agents in any of its processes.

What was spent lives as long as the actor. If its node is lost nobody may spend anything more: all
turns then end with an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from amp.errors import AmpError, InvalidInputError, LimitReachedError, MissingDependencyError
from amp.shared_budget.base import Unit, check_budget
from amp.shared_budget.distant import LEASE_SECONDS, DistantBudget
from amp.shared_budget.in_process import SharedBudget

T = TypeVar("T")


class RayBudget(DistantBudget):
    """A budget that agents on a Ray cluster draw from. It can be sent to them.

        ray.init("auto")
        budget = RayBudget.begin(0.50, {"ann": 0.02, "bob": 0.02})
        ann = join(budget, "ann", planner)     # in any task or actor that was given the budget

    Args:
        actor: the handle of a `Keeper`.
        unit: of its amounts.
        free: what is free for each agent.
        lease_seconds: as `LEASE_SECONDS`.
    """

    def __init__(
        self, actor: Any, unit: Unit, free: Mapping[str, float], lease_seconds: float
    ) -> None:
        super().__init__(unit, free, lease_seconds)
        self._actor = actor

    @classmethod
    def begin(
        cls,
        total: float,
        floors: Mapping[str, float],
        *,
        unit: Unit = "dollars",
        at_once: int = 1,
        lease_seconds: float = LEASE_SECONDS,
    ) -> RayBudget:
        """Begins the actor, which ends when no process has the budget any more.

        Args:
            total: what all agents together may spend.
            floors: by agent, what it is sure of.
            unit: of both.
            at_once: rounds under way at the same time, as `SharedBudget` has them.
            lease_seconds: as `LEASE_SECONDS`.

        Raises:
            InvalidInputError: as `SharedBudget`, or if this process is connected to no cluster.
            MissingDependencyError: if Ray is not installed.
        """
        check_budget(total, floors, unit, at_once)
        try:
            ray: Any = import_module("ray")
        except ModuleNotFoundError:
            raise MissingDependencyError(
                "a budget on Ray needs ray; run: pip install 'adaptive-meta-planning[ray]'"
            ) from None
        if not ray.is_initialized():
            raise InvalidInputError(
                "this process is connected to no Ray cluster, on which the budget is to be; call"
                " ray.init(ADDRESS) first"
            )
        made = ray.remote(num_cpus=0)(Keeper)
        actor = made.remote(total, dict(floors), unit, at_once, lease_seconds)
        first = SharedBudget(total, floors, unit=unit, at_once=at_once)
        return cls(actor, unit, {agent: first.free(agent) for agent in floors}, lease_seconds)

    async def spent(self) -> dict[str, float]:
        """What each agent spent.

        Raises:
            AmpError: if the budget is lost.
        """
        return await _told(self._actor.spent.remote())

    async def waive(self, agent: str) -> None:
        """Frees what an agent has not had of its floor, since it needs no more to be sure of.

        Raises:
            InvalidInputError: if there is no such agent.
            AmpError: if the budget is lost.
        """
        self.free(agent)
        await _told(self._actor.waive.remote(agent))

    async def _ask(self, ticket: str, agent: str, bid: float, want: float | None) -> float:
        said: float | tuple[str, str] = await _told(
            self._actor.ask.remote(ticket, agent, bid, want)
        )
        if isinstance(said, tuple):
            raise LimitReachedError(*said)
        return said

    async def _end(self, ticket: str, cost: float) -> Mapping[str, float]:
        left: Mapping[str, float] = await _told(self._actor.end.remote(ticket, cost))
        return left

    async def _renew(self, ticket: str) -> None:
        await _told(self._actor.renew.remote(ticket))


async def _told(answer: Awaitable[T]) -> T:
    """What the actor says.

    Raises:
        AmpError: if it is gone.
    """
    try:
        return await answer
    except AmpError:
        raise
    except Exception as error:  # of Ray, which is not imported here; mistakes are told with it
        said = " ".join(str(error).split())[:200]
        raise AmpError(
            f"the shared budget on Ray is lost ({type(error).__name__}: {said}); begin another one"
            " with what is left"
        ) from None


@dataclass(slots=True, eq=False)
class _Ticket:
    """An agent that waits for its turn, or has it."""

    heard: float
    turn: asyncio.Future[float]
    cost: asyncio.Future[float]
    work: asyncio.Task[None] = field(init=False)


class Keeper:
    """The actor: a `SharedBudget`, and who was heard of when."""

    def __init__(
        self,
        total: float,
        floors: Mapping[str, float],
        unit: Unit,
        at_once: int,
        lease_seconds: float,
    ) -> None:
        self._budget = SharedBudget(total, floors, unit=unit, at_once=at_once)
        self._lease = lease_seconds
        self._tickets: dict[str, _Ticket] = {}
        self._sweeps: asyncio.Task[None] | None = None

    async def ask(
        self, ticket: str, agent: str, bid: float, want: float | None
    ) -> float | tuple[str, str]:
        """Waits for a turn; says what is set aside, or the limit that is reached and why."""
        loop = asyncio.get_running_loop()
        one = _Ticket(loop.time(), loop.create_future(), loop.create_future())
        one.work = asyncio.create_task(self._hold(one, agent, bid, want))
        self._tickets[ticket] = one
        if self._sweeps is None:
            self._sweeps = asyncio.create_task(self._sweep())
        either: list[asyncio.Future[Any]] = [one.turn, one.work]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if one.turn.done():
            return one.turn.result()
        if one.work.cancelled():  # nobody was heard of
            return 0.0
        error = one.work.exception()
        if isinstance(error, LimitReachedError):
            return error.limit, str(error)
        raise error or AssertionError("a turn ended before it began")

    async def end(self, ticket: str, cost: float) -> dict[str, float]:
        """Ends a turn, or the wait for it; says what is free for each agent.

        What counts as spent already, since its agent was lost, stays so.
        """
        one = self._tickets.pop(ticket, None)
        if one is not None:
            await self._close(one, cost)
        return {agent: self._budget.free(agent) for agent in self._budget.spent}

    async def renew(self, ticket: str) -> None:
        """Writes down that an agent is there."""
        if (one := self._tickets.get(ticket)) is not None:
            one.heard = asyncio.get_running_loop().time()

    async def waive(self, agent: str) -> None:
        """As `SharedBudget.waive`."""
        self._budget.waive(agent)

    async def spent(self) -> dict[str, float]:
        """What each agent spent."""
        return dict(self._budget.spent)

    async def _hold(self, one: _Ticket, agent: str, bid: float, want: float | None) -> None:
        async with self._budget.turn(agent, bid, want) as now:
            one.turn.set_result(now.most)
            now.cost = await one.cost

    async def _close(self, one: _Ticket, cost: float) -> None:
        if one.turn.done():
            one.cost.set_result(cost)
        else:
            one.work.cancel()
        await asyncio.wait([one.work])

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            long_ago = asyncio.get_running_loop().time() - self._lease
            for ticket, one in list(self._tickets.items()):
                if one.heard < long_ago:
                    self._tickets.pop(ticket, None)
                    await self._close(one, one.turn.result() if one.turn.done() else 0.0)
