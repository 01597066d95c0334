"""The accounts of several machines, kept in Redis, by the same laws as `amp.serve.accounts.ledger`.

Nobody here knows which processes of other machines live. So a reservation is a lease, which the
gateway that has the call renews; of one that is killed it ends by itself, within `LEASE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from amp.errors import (
    BudgetReachedError,
    InvalidInputError,
    KeyRefusedError,
    LimitReachedError,
)
from amp.serve.accounts.base import Claim, Refusal, Reservation
from amp.serve.accounts.budgets import (
    NOT_GRANTED,
    Look,
    Spend,
    Sum,
    day_of,
    log_overrun,
    no_price,
    refusal_of,
    refused,
    require_episode,
    revoked_key,
)
from amp.serve.accounts.keys import (
    Key,
    KeyLimits,
    checked_name,
    digest,
    is_of,
    named,
    nano,
    new_token,
    prefix_of,
    whole,
)
from amp.serve.accounts.redis_budget import BudgetState, RedisBudgets, to_whole
from amp.serve.accounts.redis_store import RedisStore, RedisUnreachableError, exact, read_key
from amp.shared_budget.base import Unit
from amp.usage import Usage

LEASE_SECONDS = 60.0
"""How long a reservation holds after its gateway was last heard of."""

_log = logging.getLogger(__name__)


class RedisAccounts:
    """`amp.serve.accounts.base.Accounts` for all gateways that use one Redis.

    Redis that cannot be reached refuses new calls. Calls that end meanwhile are settled as soon as
    it can be reached again.

    Args:
        store: Redis.
        lease_seconds: how long a reservation holds after its gateway was last heard of.
    """

    def __init__(self, store: RedisStore, lease_seconds: float = LEASE_SECONDS) -> None:
        self._store, self._lease = store, lease_seconds
        self._keys: dict[str, tuple[Key, bytes, bytes]] = {}  # by prefix; none of it ever changes
        self._open: dict[str, int] = {}  # the keys of calls that go on
        self._budgets = RedisBudgets(store)
        self._turns: dict[str, tuple[str, Unit]] = {}  # by call: the ticket of a shared budget
        self._unwritten: list[tuple[Reservation, str, tuple[int, ...]]] = []
        self._writing = asyncio.Lock()
        self._beats: asyncio.Task[None] | None = None
        self._ends: set[asyncio.Task[None]] = set()

    async def name_of(self, key: str) -> str | Refusal:
        """Who shows a key, for what costs nothing."""
        try:
            found, _, _ = await self._find(key, anew=True)
        except (*NOT_GRANTED, RedisUnreachableError) as error:
            return refusal_of(error)
        return found.name

    async def reserve(self, key: str, claim: Claim) -> Reservation | Refusal:
        """As `Accounts.reserve`; keys with a limit of dollars may not ask for what has no price.

        A key that draws from a budget with others first waits for its turn there.
        """
        try:
            require_episode(claim.episode)
        except InvalidInputError as error:
            return Refusal(str(error), 400)
        try:
            turn = await self._turn(key, claim)
        except (*NOT_GRANTED, RedisUnreachableError) as error:
            return refusal_of(error)
        if isinstance(turn, Refusal):
            return turn
        made = asyncio.ensure_future(self._reserve(key, claim, turn))
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            self._until_closed(self._give_back(made))
            raise

    async def _turn(self, key: str, claim: Claim) -> tuple[str, Unit] | Refusal | None:
        """Waits until the budget that a key shares has what a call can cost; gives its ticket.

        Raises:
            BudgetReachedError: if that will not be there.
            KeyRefusedError: as `_find`.
            RedisUnreachableError: if Redis cannot be used.
        """
        await self._write()
        found, _, _ = await self._find(key)
        shared = await self._budgets.of_key(found.name)
        if shared is None:
            return None
        name, unit = shared
        if unit == "dollars" and claim.dollars is None:
            return no_price(found)
        want = to_whole(claim.dollars or 0.0 if unit == "dollars" else claim.tokens, unit)
        ticket = secrets.token_hex(12)
        try:
            await self._budgets.ask(name, ticket, found.name, claim.bid, want, unit, self._lease)
        except LimitReachedError as error:
            raise BudgetReachedError("shared_budget", f"key {found.name}: {error}", None) from None
        except asyncio.CancelledError:
            self._until_closed(self._leave(ticket))
            raise
        return ticket, unit

    async def _leave(self, ticket: str) -> None:
        """Ends a turn for which no call was made; what cannot be told now ends with its lease."""
        with suppress(RedisUnreachableError):
            await self._budgets.end(ticket, 0)

    async def _give_back(self, made: asyncio.Future[Reservation | Refusal]) -> None:
        """Gives back what is reserved for somebody who does not wait for it any more."""
        with suppress(InvalidInputError):
            if isinstance(reservation := await made, Reservation):
                await self._end_or_later(reservation, "release")

    async def _reserve(
        self, key: str, claim: Claim, turn: tuple[str, Unit] | None
    ) -> Reservation | Refusal:
        made: Reservation | Refusal
        try:
            made = await self._reserve_of_key(key, claim)
        except (*NOT_GRANTED, RedisUnreachableError) as error:
            made = refusal_of(error)
        if turn is not None and isinstance(made, Refusal):
            await self._leave(turn[0])
        elif turn is not None and isinstance(made, Reservation):
            self._turns[made.id] = turn
        return made

    async def _reserve_of_key(self, key: str, claim: Claim) -> Reservation | Refusal:
        found, _, _ = await self._find(key)
        if claim.dollars is None and found.limits.counts_dollars:
            return no_price(found)
        dollars, tokens = claim.dollars or 0.0, whole(claim.tokens, "tokens")
        said = await self._store.run(
            "reserve", found.id, exact(nano(dollars)), tokens, claim.episode, self._lease
        )
        number = _reserved(found, said)
        self._open[number] = found.id
        self._beat()
        return Reservation(number, found.name, dollars, claim.tokens)

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
        """Charges what the call did cost, and gives the rest back."""
        spent, tokens = nano(usage.dollars), whole(usage.tokens, "tokens")
        await self._end(reservation, "settle", spent, tokens)

    async def release(self, reservation: Reservation) -> None:
        """Gives everything back: the call cost nothing."""
        await self._end(reservation, "release")

    async def close(self) -> None:
        """Writes what could not be written yet, if it can be now, and closes the connections."""
        await asyncio.gather(*self._ends)
        if self._beats is not None:
            self._beats.cancel()
            with suppress(asyncio.CancelledError):
                await self._beats
        try:
            await self._write()
        except RedisUnreachableError as error:
            _log.error("%d calls are not settled: %s", len(self._unwritten), error)
        await self._store.close()

    async def _find(self, token: str, *, anew: bool = False) -> tuple[Key, bytes, bytes]:
        """The key that somebody shows.

        Raises:
            KeyRefusedError: if there is none such, or it is seen to be revoked.
        """
        prefix = prefix_of(token)
        known = None if prefix is None or anew else self._keys.get(prefix)
        if known is None and prefix is not None:
            said = await self._store.run("find", prefix)
            if said:
                known = read_key(int(said[0]), said[1])
        if known is None or not is_of(token, known[1], known[2]):
            raise KeyRefusedError("unknown key; ask for one (amp keys add NAME)")
        if (revoked := known[0].revoked) is not None:
            raise revoked_key(known[0].name, revoked)
        self._keys[known[0].prefix] = known
        return known

    async def _end(self, reservation: Reservation, operation: str, *amounts: int) -> None:
        """Ends a call, also if nobody waits for that any more."""
        await asyncio.shield(
            self._until_closed(self._end_or_later(reservation, operation, *amounts))
        )

    def _until_closed(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Does what is waited for before the connections are closed."""
        task = asyncio.ensure_future(work)
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)
        return task

    async def _end_or_later(self, reservation: Reservation, operation: str, *amounts: int) -> None:
        try:
            await self._end_now(reservation, operation, *amounts)
        except RedisUnreachableError as error:
            _log.error("a call is settled later: %s", error)
            self._unwritten.append((reservation, operation, amounts))
            self._beat()

    async def _end_now(self, reservation: Reservation, operation: str, *amounts: int) -> None:
        if (turn := self._turns.get(reservation.id)) is not None:
            ticket, unit = turn
            cost = amounts[0 if unit == "dollars" else 1] if amounts else 0
            await self._budgets.end(ticket, cost)
            self._turns.pop(reservation.id, None)
        said = await self._store.run(operation, reservation.id, *amounts)
        self._open.pop(reservation.id, None)
        if said[0] != "ok":
            _log.error("a call is not settled: call %s is %s", reservation.id, said[0])
        elif len(said) > 1:
            log_overrun(reservation.key, int(said[1]), int(said[2]))

    async def _write(self) -> None:
        """Writes what could not be written when it happened."""
        async with self._writing:
            while self._unwritten:
                reservation, operation, amounts = self._unwritten[0]
                await self._end_now(reservation, operation, *amounts)
                del self._unwritten[0]

    def _beat(self) -> None:
        """Goes on with the leases of open calls, as long as there are any."""
        if self._beats is None or self._beats.done():
            self._beats = asyncio.ensure_future(self._renew())

    async def _renew(self) -> None:
        while self._open or self._unwritten:
            await asyncio.sleep(self._lease / 3)
            calls = [part for call, key in self._open.items() for part in (key, call)]
            turns = [ticket for ticket, _ in self._turns.values()]
            try:
                await self._write()
                if calls:
                    await self._store.run("renew", self._lease, *calls)
                if turns:
                    await self._budgets.renew(self._lease, turns)
            except RedisUnreachableError as error:
                _log.error("%d leases are not renewed: %s", len(self._open), error)


def _reserved(key: Key, said: list[Any]) -> str:
    """The number of a call.

    Raises:
        BudgetReachedError: if a limit does not allow it.
        KeyRefusedError: if the key was revoked.
    """
    if said[0] == "ok":
        return str(said[1])
    if said[0] == "refused":
        limit, used, want, most, now = said[1], *map(int, said[2:])
        raise refused(key.name, Look(limit, used, want), most, now)
    if said[0] == "revoked":
        raise revoked_key(key.name, int(said[1]))
    raise KeyRefusedError(f"unknown key {key.name!r}; ask for one (amp keys add NAME)")


class RedisKeys:
    """Keys and what they spent, as `amp.serve.accounts.ledger.AccountsFile` has them.

    Args:
        store: Redis.

    Raises:
        RedisUnreachableError: from every method, if Redis cannot be used.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._budgets = RedisBudgets(store)
        self._runner = asyncio.Runner()
        self._closed = False

    def close(self) -> None:
        """Closes the connections. Twice is fine."""
        if not self._closed:
            self._closed = True
            self._runner.run(self._store.close())
            self._runner.close()

    def add(self, name: str, limits: KeyLimits | None = None) -> str:
        """Makes a key; returns the text that its holder shows, which nobody can read again.

        Raises:
            InvalidInputError: if a limit is no amount or too large, or the name is taken, also by a
                revoked key.
        """
        checked_name(name)
        pairs: list[object] = []
        for limit, amount in (limits or KeyLimits()).stored().items():
            if amount is not None:
                pairs += [limit, exact(amount, limit)]
        token, prefix = new_token()
        salt = secrets.token_bytes(16)
        kept = digest(token, salt).hex()
        if self._run("add", name, prefix, salt.hex(), kept, *pairs) == ["taken"]:
            raise InvalidInputError(f"key {name!r} exists already; choose another name")
        return token

    def keys(self) -> list[Key]:
        """All keys, the oldest first, revoked ones among them."""
        rows = self._run("keys")
        found = [read_key(int(number), flat)[0] for number, flat in rows]
        return sorted(found, key=lambda key: key.id)

    def revoke(self, name: str) -> None:
        """Refuses a key from now on; calls that are open are settled as ever.

        Raises:
            InvalidInputError: if there is none of that name, or it is revoked already.
        """
        key = named(self.keys(), name)
        if key.revoked is not None:
            raise InvalidInputError(f"key {name!r} was revoked on {day_of(key.revoked)}")
        self._run("revoke", key.id)

    def spend(self, name: str | None = None) -> list[Spend]:
        """What each key, or the one of that name, spent today and this month.

        Raises:
            InvalidInputError: if there is none of that name.
        """
        found = []
        for key in self.keys() if name is None else [named(self.keys(), name)]:
            open_calls, *rest = self._run("spend", key.id)
            found.append(Spend(key, _sum(rest[:9]), _sum(rest[9:]), int(open_calls)))
        return found

    def share(
        self, name: str, total: float, floors: Mapping[str, float], unit: Unit, at_once: int
    ) -> None:
        """Makes a budget that keys draw from together.

        Raises:
            InvalidInputError: as `RedisBudgets.make`.
        """
        made = self._budgets.make(name, total, floors, unit=unit, at_once=at_once, whose="keys")
        self._runner.run(made)

    def shared(self, name: str | None = None) -> list[BudgetState]:
        """All budgets that keys draw from together, or the one of that name.

        Raises:
            InvalidInputError: if there is none of that name.
        """
        names = self._runner.run(self._budgets.names()) if name is None else [name]
        return [self._runner.run(self._budgets.tell(each)) for each in names]

    def _run(self, operation: str, *arguments: object) -> list[Any]:
        return self._runner.run(self._store.run(operation, *arguments))


def _sum(said: list[str]) -> Sum:
    period, *amounts = said
    *sums, held, held_tokens = map(int, amounts)
    return Sum.of(period, sums, held, held_tokens)
