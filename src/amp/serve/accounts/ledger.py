"""Budgets that hold: what a call can cost at most is reserved before it, what it cost is written.

`reserve` looks at every limit and takes the money in one transaction, so no two calls take the
same. `settle` replaces the reservation by what was spent, `release` gives it back. A call counts
into the day and the month (of UTC) in which it was reserved, and into its episode.

| a call | counts |
|---|---|
| that costs no more than was reserved | what it cost |
| that costs more, or is settled after its reservation had ended | that, too, as an overrun |
| that is released | nothing |
| whose process is killed | its reservation, until somebody opens the file or it expires |

So ``spent + reserved <= limit + overruns`` always holds. NOT covered: what a killed process's calls
did cost, which nobody has told; `Spend` lists their reservations as lost.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from amp.errors import InvalidInputError, KeyRefusedError
from amp.serve.accounts.base import Reservation
from amp.serve.accounts.budgets import (
    Look,
    Settled,
    Spend,
    Sum,
    day_of,
    log_overrun,
    month_of,
    refused,
    require_episode,
    revoked_key,
)
from amp.serve.accounts.keys import (
    LIMITS,
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
from amp.serve.sqlite_file import Form, SqliteFile, lives, this_process

HOLD_SECONDS = 3600.0
"""After this long a reservation ends by itself, unless its process is known to be there."""

_FOREVER = 2**62

_SUMS = "dollars, tokens, requests, over_dollars, over_tokens, lost_dollars"

_SCHEMA = (
    "CREATE TABLE keys (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " prefix TEXT NOT NULL UNIQUE, salt BLOB NOT NULL, hash BLOB NOT NULL,"
    " created INTEGER NOT NULL, revoked INTEGER,"
    f" {', '.join(f'{name} INTEGER' for name in LIMITS)}) STRICT",
    # Every call, open until it has an `ending`: settled, released or expired. This is the ledger.
    "CREATE TABLE calls (id INTEGER PRIMARY KEY AUTOINCREMENT, key INTEGER NOT NULL,"
    " begun INTEGER NOT NULL, episode TEXT NOT NULL, held_dollars INTEGER NOT NULL,"
    " held_tokens INTEGER NOT NULL, process TEXT NOT NULL, expires INTEGER NOT NULL,"
    " ending TEXT, ended INTEGER, dollars INTEGER, tokens INTEGER) STRICT",
    "CREATE INDEX open_calls ON calls (key, expires) WHERE ending IS NULL",
    # Their sums by day, month and episode, with what open calls hold, so that a limit is one look.
    "CREATE TABLE sums (key INTEGER NOT NULL, period TEXT NOT NULL,"
    f" {', '.join(f'{name} INTEGER NOT NULL' for name in _SUMS.split(', '))},"
    " PRIMARY KEY (key, period)) STRICT, WITHOUT ROWID",
)

# Key, period, and the six amounts in the order of the columns.
_ADD_TO_SUMS = (
    f"INSERT INTO sums (key, period, {_SUMS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS.split(", "))
)
_FORM = Form(0x616D706B, 1, _SCHEMA, "keys", "add one first (amp keys add NAME)")  # "ampk"

_KEY = f"id, name, prefix, created, revoked, {', '.join(LIMITS)}"
_log = logging.getLogger(__name__)


class _Call(NamedTuple):
    """A row of the ledger."""

    id: int
    key: int
    begun: int
    episode: str
    held_dollars: int
    held_tokens: int
    ending: str | None


_CALL = ", ".join(_Call._fields)


class AccountsFile:
    """Keys and what they spent, in one file for all processes of a machine.

    Methods are short (well under a millisecond as a rule) and may be called from any thread or an
    event loop.

    Args:
        path: the file.
        create: whether it is made if it is not there.
        clock: Unix time.
        hold_seconds: after this long a reservation ends by itself, unless its process is known to
            be there, which may still settle it.

    Raises:
        InvalidInputError: also from every method, if the file is missing, damaged, something else,
            of another version, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.time,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self._clock, self._hold = clock, hold_seconds
        self._process = this_process()
        self._file = SqliteFile(path, _FORM, create=create)
        with self._file.transaction() as connection:
            for process in _holders(connection, _FOREVER):
                if lives(process) is False:
                    self._expire(connection, process, _FOREVER)

    def close(self) -> None:
        """Closes the file; reservations stay. Twice is fine."""
        self._file.close()

    # ----------------------------------------------------------------------- keys

    def add(self, name: str, limits: KeyLimits | None = None) -> str:
        """Makes a key; returns the text that its holder shows, which nobody can read again.

        Raises:
            InvalidInputError: if a limit is negative or not finite, or the name is taken, also by a
                revoked key: who had spent a budget would have it anew.
        """
        checked_name(name)
        stored = (limits or KeyLimits()).stored()
        token, prefix = new_token()
        salt = secrets.token_bytes(16)
        marks = ", ".join("?" * (5 + len(stored)))
        with self._file.transaction() as connection:
            if connection.execute("SELECT 1 FROM keys WHERE name = ?", (name,)).fetchone():
                raise InvalidInputError(f"key {name!r} exists already; choose another name")
            connection.execute(
                "INSERT INTO keys (name, prefix, salt, hash, created,"
                f" {', '.join(stored)}) VALUES ({marks})",
                (name, prefix, salt, digest(token, salt), self._now(), *stored.values()),
            )
        return token

    def find(self, token: str) -> Key:
        """The key that somebody shows.

        Raises:
            KeyRefusedError: if there is none such, or it is revoked.
        """
        prefix = prefix_of(token)
        with self._file.reading() as connection:
            row = connection.execute(
                f"SELECT salt, hash, {_KEY} FROM keys WHERE prefix = ?", (prefix,)
            ).fetchone()
        if row is None or not is_of(token, row[0], row[1]):
            raise KeyRefusedError("unknown key; ask for one (amp keys add NAME)")
        return _good(_key(row[2:]))

    def keys(self) -> list[Key]:
        """All keys, the oldest first, revoked ones among them."""
        with self._file.reading() as connection:
            rows = connection.execute(f"SELECT {_KEY} FROM keys ORDER BY id").fetchall()
        return [_key(row) for row in rows]

    def revoke(self, name: str) -> None:
        """Refuses a key from now on; calls that are open are settled as ever.

        Raises:
            InvalidInputError: if there is none of that name, or it is revoked already.
        """
        key = named(self.keys(), name)
        if key.revoked is not None:
            raise InvalidInputError(f"key {name!r} was revoked on {day_of(key.revoked)}")
        with self._file.transaction() as connection:
            connection.execute("UPDATE keys SET revoked = ? WHERE id = ?", (self._now(), key.id))

    # ----------------------------------------------------------------------- calls

    def reserve(
        self,
        key: Key,
        dollars: float,
        tokens: int,
        episode: str = "",
        *,
        seconds: float | None = None,
    ) -> Reservation:
        """Takes what a call can cost at most, or refuses it before it is made.

        Args:
            key: who pays.
            dollars: at most.
            tokens: prompt and completion, at most.
            episode: what the call belongs to, by the caller's name for it.
            seconds: in place of `hold_seconds`.

        Raises:
            BudgetReachedError: if a limit does not allow it; says which, what is left of it, and
                when it begins anew.
            KeyRefusedError: if the key was revoked.
            InvalidInputError: if an amount is negative or not finite, or the episode is no name.
        """
        want, tokens = nano(dollars), whole(tokens, "tokens")
        require_episode(episode)
        with self._file.transaction() as connection:
            now = self._now()
            self._expire_old(connection, now)
            row = connection.execute(f"SELECT {_KEY} FROM keys WHERE id = ?", (key.id,)).fetchone()
            if row is None:
                raise KeyRefusedError(f"unknown key {key.name!r}; ask for one (amp keys add NAME)")
            _good(_key(row))
            limits = dict(zip(LIMITS, row[5:], strict=True))
            for limit in self._looks(connection, key.id, now, want, tokens, episode):
                most = limits[limit.name]
                if most is not None and limit.used + limit.want > most:
                    connection.execute("COMMIT")  # what had expired stays so
                    raise refused(key.name, limit, most, now)
            expires = now + round(self._hold if seconds is None else seconds)
            number = connection.execute(
                "INSERT INTO calls (key, begun, episode, held_dollars, held_tokens, process,"
                " expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key.id, now, episode, want, tokens, self._process, expires),
            ).lastrowid
            assert number is not None
            call = _Call(number, key.id, now, episode, want, tokens, None)
            _add(connection, call, (want, tokens, 1, 0, 0, 0))
        return Reservation(str(number), key.name, dollars, tokens)

    def settle(self, reservation: Reservation, dollars: float, tokens: int) -> Settled:
        """Writes what a call did cost in place of what was held for it.

        Nothing that was spent is left out: not what it cost beyond the reservation, and not a call
        whose reservation had expired or was released. Both are written down as overruns.

        Raises:
            InvalidInputError: if it is settled already, there is none such, or an amount is
                negative or not finite.
        """
        spent, tokens = nano(dollars), whole(tokens, "tokens")
        with self._file.transaction() as connection:
            call = self._call(connection, reservation)
            if call.ending == "settled":
                raise InvalidInputError(f"call {call.id} is settled already")
            held, held_tokens, requests, lost = call.held_dollars, call.held_tokens, 0, 0
            if call.ending is not None:  # what was held had been given back
                lost = -held if call.ending == "expired" else 0
                held, held_tokens, requests = 0, 0, 1
            over = Settled(max(0, spent - held), max(0, tokens - held_tokens))
            self._end(connection, call, "settled", spent, tokens)
            change = (spent - held, tokens - held_tokens, requests)
            _add(connection, call, (*change, over.over_dollars, over.over_tokens, lost))
        log_overrun(reservation.key, over.over_dollars, over.over_tokens)
        return over

    def release(self, reservation: Reservation) -> None:
        """Gives back what was held for a call that was not made; nothing if that has ended."""
        with self._file.transaction() as connection:
            call = self._call(connection, reservation)
            if call.ending is None:
                self._end(connection, call, "released")
                _add(connection, call, (-call.held_dollars, -call.held_tokens, -1, 0, 0, 0))

    def spend(self, name: str | None = None) -> list[Spend]:
        """What each key, or the one of that name, spent today and this month.

        Raises:
            InvalidInputError: if there is none of that name.
        """
        keys = self.keys() if name is None else [named(self.keys(), name)]
        found = []
        with self._file.transaction() as connection:
            now = self._now()
            self._expire_old(connection, now)
            for key in keys:
                held = connection.execute(
                    "SELECT begun, held_dollars, held_tokens FROM calls"
                    " WHERE key = ? AND ending IS NULL",
                    (key.id,),
                ).fetchall()
                day, month = (
                    _sum(
                        connection,
                        key.id,
                        of(now),
                        [row[1:] for row in held if of(row[0]) == of(now)],
                    )
                    for of in (day_of, month_of)
                )
                found.append(Spend(key, day, month, len(held)))
        return found

    # ----------------------------------------------------------------------- inside a transaction

    def _now(self) -> int:
        return int(self._clock())

    @staticmethod
    def _looks(
        connection: sqlite3.Connection, key: int, now: int, dollars: int, tokens: int, episode: str
    ) -> Iterator[Look]:
        """What each limit has to be compared with."""
        spent, spent_tokens, requests = _used(connection, key, day_of(now))
        yield Look("dollars_per_day", spent, dollars)
        yield Look("dollars_per_month", _used(connection, key, month_of(now))[0], dollars)
        yield Look("tokens_per_day", spent_tokens, tokens)
        yield Look("requests_per_day", requests, 1)
        (calls,) = connection.execute(
            "SELECT count(*) FROM calls WHERE key = ? AND ending IS NULL", (key,)
        ).fetchone()
        yield Look("max_concurrent", calls, 1)
        in_episode = _used(connection, key, f"episode {episode}")[0] if episode else 0
        yield Look("episode_dollars", in_episode, dollars)

    def _expire_old(self, connection: sqlite3.Connection, now: int) -> None:
        """Ends calls whose time is up, but none of a process that may still settle it."""
        for process in _holders(connection, now):
            if not lives(process):
                self._expire(connection, process, now)

    def _expire(self, connection: sqlite3.Connection, process: str, until: int) -> None:
        """Ends the open calls of a process that expire until then."""
        rows = connection.execute(
            f"SELECT {_CALL} FROM calls WHERE ending IS NULL AND process = ? AND expires <= ?",
            (process, until),
        ).fetchall()
        for call in map(_Call._make, rows):
            self._end(connection, call, "expired")
            held = call.held_dollars
            _add(connection, call, (-held, -call.held_tokens, -1, 0, 0, held))

    @staticmethod
    def _call(connection: sqlite3.Connection, reservation: Reservation) -> _Call:
        row = connection.execute(
            f"SELECT {_CALL} FROM calls WHERE id = ?", (reservation.id,)
        ).fetchone()
        if row is None:
            raise InvalidInputError(f"unknown call {reservation.id!r}")
        return _Call._make(row)

    def _end(
        self,
        connection: sqlite3.Connection,
        call: _Call,
        ending: str,
        dollars: int = 0,
        tokens: int = 0,
    ) -> None:
        connection.execute(
            "UPDATE calls SET ending = ?, ended = ?, dollars = ?, tokens = ? WHERE id = ?",
            (ending, self._now(), dollars, tokens, call.id),
        )


def _holders(connection: sqlite3.Connection, until: int) -> list[str]:
    """Processes with open calls that expire until then."""
    rows = connection.execute(
        "SELECT DISTINCT process FROM calls WHERE ending IS NULL AND expires <= ?", (until,)
    )
    return [process for (process,) in rows]


def _good(key: Key) -> Key:
    if key.revoked is not None:
        raise revoked_key(key.name, key.revoked)
    return key


def _key(row: tuple[Any, ...]) -> Key:
    number, name, prefix, created, revoked, *limits = row
    read = KeyLimits.read(dict(zip(LIMITS, limits, strict=True)))
    return Key(number, name, prefix, created, revoked, read)


def _used(connection: sqlite3.Connection, key: int, period: str) -> tuple[int, int, int]:
    """Dollars, tokens and requests, those of open calls among them."""
    row: tuple[int, int, int] | None = connection.execute(
        "SELECT dollars, tokens, requests FROM sums WHERE key = ? AND period = ?", (key, period)
    ).fetchone()
    return row or (0, 0, 0)


def _sum(connection: sqlite3.Connection, key: int, period: str, held: list[tuple[int, int]]) -> Sum:
    row = connection.execute(
        f"SELECT {_SUMS} FROM sums WHERE key = ? AND period = ?", (key, period)
    ).fetchone()
    return Sum.of(period, row or (0,) * 6, sum(one for one, _ in held), sum(one for _, one in held))


def _add(connection: sqlite3.Connection, call: _Call, amounts: tuple[int, ...]) -> None:
    """Adds to the sums of the periods that a call belongs to."""
    periods = [day_of(call.begun), month_of(call.begun)]
    if call.episode:
        periods.append(f"episode {call.episode}")
    connection.executemany(_ADD_TO_SUMS, [(call.key, period, *amounts) for period in periods])
