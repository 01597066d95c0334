"""Tasks of an agent in this process: which calls belong to one, what it may spend, what it spent.

A task is where the program is (a context variable), so calls need not be told which one they are
made for. Limits hold as those of keys do: what a call can cost at most is taken before it is made,
and what it did not cost is given back.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock

from amp.errors import InvalidInputError
from amp.serve.accounts.base import Accounts, Claim, Refusal, Reservation
from amp.serve.accounts.budgets import require_episode
from amp.usage import Usage

_current: ContextVar[EpisodeSpend | None] = ContextVar("amp_episode", default=None)


@dataclass(slots=True, eq=False)
class EpisodeSpend:
    """A task, and what its calls have cost by now; any thread may read it.

    Attributes:
        name: what the gateway calls it.
        max_dollars: what its calls may cost together; None for no limit.
        outer: the task that it is a part of, which pays, too.
        spent: by calls that have ended, those of the tasks within it among them.
        reserved: dollars that calls under way can cost at most.
    """

    name: str
    max_dollars: float | None = None
    outer: EpisodeSpend | None = None
    spent: Usage = field(default_factory=Usage)
    reserved: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def take(self, dollars: float | None) -> Refusal | None:
        """Sets aside what a call can cost at most, here and in the outer tasks, or refuses it.

        Args:
            dollars: at most; None where the price is not known.
        """
        with self._lock:
            if self.max_dollars is not None:
                if dollars is None:
                    return Refusal(
                        f"episode {self.name} has a limit of dollars, and the price of this call is"
                        " not known; ask for a model with a price",
                        403,
                    )
                left = self.max_dollars - self.spent.dollars - self.reserved
                if dollars > left:
                    return Refusal(
                        f"episode {self.name}: limit max_dollars of ${self.max_dollars:.6g}"
                        f" reached: ${max(0.0, left):.6g} is left, the call may take"
                        f" ${dollars:.6g}; a smaller max_tokens takes less"
                    )
            self.reserved += dollars or 0.0
        refusal = None if self.outer is None else self.outer.take(dollars)
        if refusal is not None:
            with self._lock:
                self.reserved -= dollars or 0.0
        return refusal

    def give_back(self, dollars: float | None, spent: Usage) -> None:
        """Writes what a call cost in place of what was set aside for it."""
        with self._lock:
            self.reserved -= dollars or 0.0
            self.spent += spent
        if self.outer is not None:
            self.outer.give_back(dollars, spent)


@contextmanager
def episode(name: str = "", *, max_dollars: float | None = None) -> Iterator[EpisodeSpend]:
    """Marks a task: the calls of wrapped clients within the block are its calls.

    Tasks of asyncio that start within the block belong to it. A thread does, too, if it runs in a
    copy of the context (`asyncio.to_thread` does that). A block within another is a part of it.

    Args:
        name: of the task, such as its number; the same name goes on with the same episode where
            keys have a limit for one. Left out, it is made up.
        max_dollars: a call that could exceed it is refused before it is made, with status 429.

    Raises:
        InvalidInputError: if the name cannot be printed, or the limit is negative or no number.
    """
    require_episode(name)
    is_number = isinstance(max_dollars, int | float)  # also where nobody checks types
    if max_dollars is not None and not (is_number and 0 <= max_dollars < math.inf):
        raise InvalidInputError(f"max_dollars is {max_dollars!r}, expected a number, at least 0")
    name = name or f"episode-{secrets.token_hex(4)}"
    entered = EpisodeSpend(name, max_dollars, _current.get())
    token = _current.set(entered)
    try:
        yield entered
    finally:
        _current.reset(token)


def current_episode() -> EpisodeSpend | None:
    """The task that the program is at, if it said so."""
    return _current.get()


class EpisodeAccounts:
    """Accounts of one payer, where tasks of this process have limits of their own.

    Args:
        accounts: what the calls are charged to as well.
        key: who pays there.
    """

    def __init__(self, accounts: Accounts, key: str = "") -> None:
        self._accounts = accounts
        self._key = key
        self._open: dict[str, tuple[EpisodeSpend | None, float | None]] = {}

    async def name_of(self, key: str) -> str | Refusal:
        """Who pays."""
        return await self._accounts.name_of(self._key)

    async def reserve(self, key: str, claim: Claim) -> Reservation | Refusal:
        """Sets aside what a call can cost at most; the key of the provider is not looked at."""
        task = current_episode()
        refusal = None if task is None else task.take(claim.dollars)
        if refusal is not None:
            return refusal
        reserved: Reservation | Refusal | None = None
        try:
            reserved = await self._accounts.reserve(self._key, claim)
        finally:  # also if nobody waits for it any more
            if isinstance(reserved, Reservation):
                self._open[reserved.id] = task, claim.dollars
            elif task is not None:
                task.give_back(claim.dollars, Usage())
        return reserved

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
        """Charges what the call did cost, and gives the rest back."""
        self._close(reservation, usage)
        await self._accounts.settle(reservation, usage, model=model)

    async def release(self, reservation: Reservation) -> None:
        """Gives everything back: the call cost nothing."""
        self._close(reservation, Usage())
        await self._accounts.release(reservation)

    async def close(self) -> None:
        """Writes down whatever is not yet."""
        await self._accounts.close()

    def _close(self, reservation: Reservation, spent: Usage) -> None:
        task, dollars = self._open.pop(reservation.id)
        if task is not None:
            task.give_back(dollars, spent)
