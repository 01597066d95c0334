"""A shared budget that is kept elsewhere, for agents of many processes.

An agent that waits for its turn, or has it, says every few seconds that it is still there. Who is
not heard of for `LEASE_SECONDS` loses the place in the queue; and if it was its turn, all that was
set aside counts as spent, as nobody has told what was.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from amp.errors import AmpError
from amp.shared_budget.base import Turn, Unit, check_bid, no_agent

LEASE_SECONDS = 60.0
"""After this long without a word an agent counts as lost."""

_log = logging.getLogger(__name__)


class DistantBudget(ABC):
    """A `Budget` by three messages; who keeps it answers them.

    Args:
        unit: of its amounts.
        free: what is free for each agent now; what later turns tell is newer.
        lease_seconds: as `LEASE_SECONDS`.
    """

    def __init__(self, unit: Unit, free: Mapping[str, float], lease_seconds: float) -> None:
        self._unit, self._free, self._lease = unit, dict(free), lease_seconds

    @property
    def unit(self) -> Unit:
        """Of all its amounts."""
        return self._unit

    def free(self, agent: str) -> float:
        """What was free for an agent when it was last told something."""
        if agent not in self._free:
            raise no_agent(agent, list(self._free))
        return self._free[agent]

    @asynccontextmanager
    async def turn(
        self, agent: str, bid: float = 0.0, want: float | None = None
    ) -> AsyncIterator[Turn]:
        """As `Budget.turn`."""
        self.free(agent)
        ticket = secrets.token_hex(12)
        now = Turn(0.0)
        beats = asyncio.create_task(self._beat(ticket))
        try:
            now.most = await self._ask(ticket, agent, check_bid(bid), want)
            yield now
        finally:
            beats.cancel()
            ended = asyncio.ensure_future(self._end(ticket, now.cost))
            self._free.update(await asyncio.shield(ended))

    async def _beat(self, ticket: str) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._renew(ticket)
            except AmpError as error:
                _log.warning("an agent of the shared budget cannot say that it is there: %s", error)

    @abstractmethod
    async def _ask(self, ticket: str, agent: str, bid: float, want: float | None) -> float:
        """Waits for a turn; says what is set aside."""

    @abstractmethod
    async def _end(self, ticket: str, cost: float) -> Mapping[str, float]:
        """Ends a turn, or the wait for it; says what is free for each agent."""

    @abstractmethod
    async def _renew(self, ticket: str) -> None:
        """Says that whoever has the ticket is there."""
