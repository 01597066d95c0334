"""Virtual keys: what their holders show, what is kept of it, and what they may spend.

A key is 192 bits of chance behind a public prefix, by which it is found. Only a salted SHA-256 of
it is kept. A slow hash protects passwords, which people choose and others guess; nobody guesses 192
bits, so a quick one is enough, and no request is held up by it.

Money is counted in nano-dollars, rounded up: sums of whole numbers have no error, and the token of
a cheap model costs some tens of them.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, Decimal

from amp.errors import InvalidInputError, did_you_mean

NANO = 1_000_000_000
"""Nano-dollars of a dollar."""

_MOST = 1_000_000_000
"""Dollars. More are a mistake, and far below what 64 bits hold."""

_MOST_TOKENS = 10**15
_LONGEST_NAME = 64
_TOKEN = re.compile(r"amp-([0-9a-f]{8})-[0-9a-f]{48}")


def nano(dollars: float, name: str = "dollars") -> int:
    """Nano-dollars of an amount in dollars, rounded up; exactly what its digits say.

    Raises:
        InvalidInputError: if it is negative, not finite, or more than anybody has.
    """
    dollars = float(dollars)
    if not math.isfinite(dollars) or not 0 <= dollars <= _MOST:
        raise InvalidInputError(f"{name} is {dollars:g}, expected a number from 0 to {_MOST:,}")
    return int((Decimal(repr(dollars)) * NANO).to_integral_value(ROUND_CEILING))


def whole(count: int, name: str) -> int:
    """A count, checked.

    Raises:
        InvalidInputError: if it is negative or more than anybody can mean.
    """
    if not 0 <= count <= _MOST_TOKENS:
        raise InvalidInputError(
            f"{name} is {count}, expected a whole number from 0 to {_MOST_TOKENS:,}"
        )
    return int(count)


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may spend; None does not limit. Days and months are those of UTC.

    Attributes:
        dollars_per_day: in a day.
        dollars_per_month: in a month.
        tokens_per_day: prompt and completion, in a day.
        requests_per_day: calls in a day.
        max_concurrent: calls that are open at one time.
        episode_dollars: in an episode; a call of no episode is one of its own.
    """

    dollars_per_day: float | None = None
    dollars_per_month: float | None = None
    tokens_per_day: int | None = None
    requests_per_day: int | None = None
    max_concurrent: int | None = None
    episode_dollars: float | None = None

    @property
    def counts_dollars(self) -> bool:
        """Whether one of them is of dollars."""
        amounts = (self.dollars_per_day, self.dollars_per_month, self.episode_dollars)
        return any(amount is not None for amount in amounts)

    def stored(self) -> dict[str, int | None]:
        """The limits in whole numbers, dollars in nano-dollars, by name.

        Raises:
            InvalidInputError: if one is negative or not finite; names it.
        """
        found: dict[str, int | None] = {}
        for name in LIMITS:
            value = getattr(self, name)
            check = nano if "dollars" in name else whole
            found[name] = None if value is None else check(value, name)
        return found

    @classmethod
    def read(cls, stored: dict[str, int | None]) -> KeyLimits:
        """The limits that `stored` gave."""
        values = {
            name: value / NANO if value is not None and "dollars" in name else value
            for name, value in stored.items()
        }
        return cls(**values)  # type: ignore[arg-type]  # whole where the field is


LIMITS = tuple(field.name for field in fields(KeyLimits))
"""Their names."""


@dataclass(frozen=True, slots=True)
class Key:
    """A virtual key, without what its holder shows.

    Attributes:
        id: its number.
        name: what it is called.
        prefix: how the text of the key begins, behind ``amp-``.
        created: Unix time.
        revoked: Unix time, or None while it is good.
        limits: what it may spend.
    """

    id: int
    name: str
    prefix: str
    created: int
    revoked: int | None
    limits: KeyLimits


def new_token() -> tuple[str, str]:
    """A new key as its holder shows it, and its public prefix."""
    prefix = secrets.token_hex(4)
    return f"amp-{prefix}-{secrets.token_hex(24)}", prefix


def prefix_of(token: str) -> str | None:
    """The public prefix of what somebody shows as a key; None if it can be none."""
    found = _TOKEN.fullmatch(token)
    return found and found[1]


def digest(token: str, salt: bytes) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(salt + token.encode()).digest()


def is_of(token: str, salt: bytes, kept: bytes) -> bool:
    """Whether a key is the one of which this was kept; takes as long if it is not."""
    return hmac.compare_digest(digest(token, salt), kept)


def checked_name(name: str) -> str:
    """A key's name.

    Raises:
        InvalidInputError: if it is none.
    """
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InvalidInputError(
            f"name is {name[:80]!r}, expected 1 to {_LONGEST_NAME} printable characters"
        )
    return name


def named(keys: Iterable[Key], name: str) -> Key:
    """The key of that name.

    Raises:
        InvalidInputError: if there is none.
    """
    found = {key.name: key for key in keys}
    if name not in found:
        nearest = did_you_mean(name, list(found))
        raise InvalidInputError(f"unknown key {name!r}{nearest} (all keys: amp keys list)")
    return found[name]
