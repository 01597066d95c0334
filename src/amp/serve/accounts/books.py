"""Where accounts are: in a file of this machine, or in Redis, by the name of the place alone."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from amp.serve.accounts.base import Accounts
from amp.serve.accounts.budgets import Spend
from amp.serve.accounts.keys import Key, KeyLimits
from amp.settings import in_redis


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
        from amp.serve.accounts.redis_keys import RedisKeys
        from amp.serve.accounts.redis_store import RedisStore

        return RedisKeys(RedisStore(place))
    from amp.serve.accounts.ledger import Accounts as AccountsInFile

    return AccountsInFile(Path(place), create=create)
