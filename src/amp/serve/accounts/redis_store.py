"""What keys and calls in Redis share: the connection, the script, and how keys are read.

What an operation does is one script (``redis.lua``), so no two calls take the same money.
NOT covered: what Redis itself loses. It has to keep what it has (``appendonly yes``) and to throw
nothing away (``maxmemory-policy noeviction``); sums of a day are kept for 40 days, of a month for
400, of an episode for 30 days after its last call.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from amp.errors import InvalidInputError
from amp.serve.accounts.keys import LIMITS, Key, KeyLimits

MOST_NANO = 2**53
"""Nano-dollars that scripts count exactly, some nine million dollars."""

_BASE = "{amp}:1"
"""Before all names, with the version; braces keep all of it in one place of a cluster."""

_SECONDS = 5.0


class RedisUnreachableError(InvalidInputError):
    """Redis cannot be used, or not now, whatever was to be written into it."""


class RedisStore:
    """Redis as far as it holds keys and calls.

    Args:
        url: such as ``redis://127.0.0.1:6379/0``.
        clock: Unix time; None for that of Redis, the same for all machines.
        client: in place of a new one; it decodes what it is told.

    Raises:
        InvalidInputError: if the address is none.
    """

    def __init__(
        self, url: str, clock: Callable[[], float] | None = None, client: Redis | None = None
    ) -> None:
        self._place = place_of(url)
        self._clock = clock
        self._client = client or Redis.from_url(
            url,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            health_check_interval=30,
            decode_responses=True,
            # A reservation that was made twice for it ends with its lease.
            retry=Retry(NoBackoff(), 1),
        )
        script = importlib.resources.files("amp.serve.accounts").joinpath("redis.lua").read_text()
        self._script = self._client.register_script(script)

    async def run(self, operation: str, *arguments: object) -> list[Any]:
        """Carries out an operation of the script.

        Raises:
            RedisUnreachableError: if Redis cannot be used.
        """
        now = "" if self._clock is None else int(self._clock())
        with self._reaching():
            return list(
                await self._script(keys=[_BASE], args=[operation, now, *map(str, arguments)])
            )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            said = " ".join(str(error).split())[:200]
            raise RedisUnreachableError(
                f"{self._place} cannot be used ({type(error).__name__}: {said}); start it, or"
                " choose other accounts"
            ) from None


def place_of(url: str) -> str:
    """An address as it may be shown.

    Raises:
        InvalidInputError: if it is none.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or 6379
    except ValueError:
        port = 0
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not port:
        raise InvalidInputError(
            "accounts is no address of Redis, expected redis://HOST:PORT/NUMBER"
        )
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path}"


def exact(amount: int, name: str = "dollars") -> int:
    """An amount of nano-dollars, checked.

    Raises:
        InvalidInputError: if scripts would not count it exactly.
    """
    if amount > MOST_NANO:
        raise InvalidInputError(
            f"{name} is more than Redis counts exactly, expected at most {MOST_NANO // 10**9:,}"
            " dollars"
        )
    return amount


def read_key(number: int, flat: list[str]) -> tuple[Key, bytes, bytes]:
    """A key, its salt and its hash, from names and values in turn."""
    row = dict(zip(flat[::2], flat[1::2], strict=True))
    limits = {name: int(row[name]) if name in row else None for name in LIMITS}
    revoked = int(row["revoked"]) if "revoked" in row else None
    read = KeyLimits.read(limits)
    key = Key(number, row["name"], row["prefix"], int(row["created"]), revoked, read)
    return key, bytes.fromhex(row["salt"]), bytes.fromhex(row["hash"])
