"""The keys in Redis, for commands, which wait for each answer."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from amp.errors import InvalidInputError, did_you_mean
from amp.serve.accounts.budgets import Spend, Sum, day_of
from amp.serve.accounts.keys import Key, KeyLimits, checked_name, digest, new_token
from amp.serve.accounts.redis_store import RedisStore, exact, read_key


class RedisKeys:
    """Keys and what they spent, as `amp.serve.accounts.ledger.Accounts` has them.

    Args:
        store: Redis.

    Raises:
        RedisUnreachableError: from every method, if Redis cannot be used.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
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
        key = self._named(name)
        if key.revoked is not None:
            raise InvalidInputError(f"key {name!r} was revoked on {day_of(key.revoked)}")
        self._run("revoke", key.id)

    def spend(self, name: str | None = None) -> list[Spend]:
        """What each key, or the one of that name, spent today and this month.

        Raises:
            InvalidInputError: if there is none of that name.
        """
        found = []
        for key in self.keys() if name is None else [self._named(name)]:
            open_calls, *rest = self._run("spend", key.id)
            found.append(Spend(key, _sum(rest[:9]), _sum(rest[9:]), int(open_calls)))
        return found

    def _named(self, name: str) -> Key:
        keys = {key.name: key for key in self.keys()}
        if name not in keys:
            nearest = did_you_mean(name, list(keys))
            raise InvalidInputError(f"unknown key {name!r}{nearest} (all keys: amp keys list)")
        return keys[name]

    def _run(self, operation: str, *arguments: object) -> list[Any]:
        return self._runner.run(self._store.run(operation, *arguments))


def _sum(said: list[str]) -> Sum:
    period, *amounts = said
    dollars, tokens, requests, over, over_tokens, lost, held, held_tokens = map(int, amounts)
    return Sum(
        period,
        dollars - held,
        held,
        tokens - held_tokens,
        held_tokens,
        requests,
        over,
        over_tokens,
        lost,
    )
