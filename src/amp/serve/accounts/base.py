"""Who may spend what: money is reserved before a call and settled after it.

A check before the call and a record after it let calls that run side by side pass together, however
little is left. So what a call can cost at most is taken from the budget first, and what it did not
cost is given back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from amp.errors import InvalidInputError
from amp.settings import in_redis
from amp.usage import Usage

if TYPE_CHECKING:
    from amp.serve.accounts.budgets import Spend
    from amp.serve.accounts.keys import Key, KeyLimits
    from amp.serve.accounts.redis import RedisKeys


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be set aside for a call before it is made.

    Attributes:
        dollars: the bound of its price; None where the price is not known.
        tokens: the bound of its prompt and completion tokens.
        episode: the conversation that it belongs to, if the client named one.
        bid: where several keys draw from one budget, the highest goes first.
    """

    dollars: float | None
    tokens: int
    episode: str = ""
    bid: float = 0.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money and tokens that are set aside for one call.

    Attributes:
        id: tells it from others.
        key: name of the key that pays, fit to be shown; never the key itself.
        dollars: what the call can cost at most.
        tokens: prompt and completion tokens that it can take at most.
    """

    id: str
    key: str
    dollars: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call may not be made.

    Attributes:
        reason: one line for the client, without secrets.
        status: 401 for a key that nobody knows, 403 for one that may not, 429 for a limit.
        retry_after_seconds: when it may pass; None if waiting does not help.
    """

    reason: str
    status: int = 429
    retry_after_seconds: float | None = None


class Accounts(Protocol):
    """Budgets of keys. Every reservation is either settled or released, once."""

    async def name_of(self, key: str) -> str | Refusal:
        """Who shows a key, for what costs nothing: its name, fit to be shown; empty without keys.

        Args:
            key: the secret as the client sent it; empty if it sent none.
        """
        ...

    async def reserve(self, key: str, claim: Claim) -> Reservation | Refusal:
        """Sets aside what a call can cost at most.

        Args:
            key: the secret as the client sent it; empty if it sent none.
            claim: what that is.
        """
        ...

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
        """Charges what the call did cost, and gives the rest back."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Gives everything back: the call cost nothing."""
        ...

    async def close(self) -> None:
        """Writes down whatever is not yet."""
        ...


@dataclass(slots=True)
class OpenAccounts:
    """Accounts without keys and limits, in memory.

    Attributes:
        spent: what all calls have cost.
        reserved: reservations that are neither settled nor released, by id.
    """

    spent: Usage = field(default_factory=Usage)
    reserved: dict[str, Reservation] = field(default_factory=dict)
    _ids: count[int] = field(default_factory=count)

    async def name_of(self, key: str) -> str | Refusal:
        return ""

    async def reserve(self, key: str, claim: Claim) -> Reservation | Refusal:
        reservation = Reservation(str(next(self._ids)), "", claim.dollars or 0.0, claim.tokens)
        self.reserved[reservation.id] = reservation
        return reservation

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
        del self.reserved[reservation.id]
        self.spent += usage

    async def release(self, reservation: Reservation) -> None:
        del self.reserved[reservation.id]

    async def close(self) -> None:
        return


class Keys(Protocol):
    """Keys and what they spent, for commands."""

    def add(self, name: str, limits: KeyLimits | None = None) -> str:
        """Makes a key; returns the text that its holder shows, which nobody can read again."""
        ...

    def keys(self) -> list[Key]:
        """All keys, the oldest first, revoked ones among them."""
        ...

    def revoke(self, name: str) -> None:
        """Refuses a key from now on."""
        ...

    def spend(self, name: str | None = None) -> list[Spend]:
        """What each key, or the one of that name, spent today and this month."""
        ...

    def close(self) -> None:
        """Closes them. Twice is fine."""
        ...


def open_accounts(place: str) -> Accounts:
    """Opens accounts for a gateway.

    Args:
        place: a file, which is made if it is not there, or ``redis://HOST:PORT/NUMBER``.

    Raises:
        InvalidInputError: if the place is none, or cannot be used.
    """
    if in_redis(place):
        from amp.serve.accounts.redis import RedisAccounts
        from amp.serve.accounts.redis_store import RedisStore

        return RedisAccounts(RedisStore(place))
    from amp.serve.accounts.sqlite import SqliteAccounts

    return SqliteAccounts(Path(place))


def open_keys(place: str, *, create: bool = False) -> Keys:
    """Opens the keys of such a place for a command.

    Args:
        place: as `open_accounts` takes it.
        create: whether a file is made if it is not there.

    Raises:
        InvalidInputError: if the place is none, or cannot be used.
    """
    if in_redis(place):
        from amp.serve.accounts.redis import RedisKeys
        from amp.serve.accounts.redis_store import RedisStore

        return RedisKeys(RedisStore(place))
    from amp.serve.accounts.ledger import AccountsFile

    return AccountsFile(Path(place), create=create)


def open_shared(place: str) -> RedisKeys:
    """Opens the budgets that keys share, for a command.

    Raises:
        InvalidInputError: if the place is no Redis, or it cannot be used.
    """
    if not in_redis(place):
        raise InvalidInputError(
            f"budgets that keys share are kept in Redis, and accounts is {place}; give --accounts"
            " redis://HOST:PORT/NUMBER"
        )
    from amp.serve.accounts.redis import RedisKeys
    from amp.serve.accounts.redis_store import RedisStore

    return RedisKeys(RedisStore(place))
