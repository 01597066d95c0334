"""Planners that draw from a shared budget, wherever that is kept."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from amp.allocate.base import AllocatorAround
from amp.cost import Ledger, cost_of
from amp.errors import LimitReachedError
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.planner import Planner
from amp.shared_budget.base import Budget, Unit
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


def join(budget: Budget, agent: str, planner: Planner) -> Planner:
    """A planner that draws from a budget as this agent, and is otherwise the same one.

    Its rounds, and what it measures before them, wait for their turns. The limits of its own
    hold as well.

    Raises:
        InvalidInputError: if there is no such agent.
    """
    budget.free(agent)
    joined = copy(planner)
    seat = _Seat(budget, agent)
    joined.allocator = _Bidding(planner.allocator, seat)
    joined.executor = _InTurn(planner.executor, seat)
    return joined


@dataclass(slots=True)
class _Seat:
    """An agent at a budget, with its bid for the round that it is about to begin."""

    budget: Budget
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
