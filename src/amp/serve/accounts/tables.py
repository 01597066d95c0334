"""The tables of the keys and of what they spent, and which process a reservation belongs to."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from amp.serve.accounts.keys import LIMITS
from amp.serve.sqlite_file import Form

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

ADD_TO_SUMS = (
    f"INSERT INTO sums (key, period, {_SUMS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS.split(", "))
)
"""Adds to the sums of a period: key, period, and the six amounts in the order of the columns."""

ACCOUNTS = Form(0x616D706B, 1, _SCHEMA, "keys", "add one first (amp keys add NAME)")  # "ampk"
"""The form of the file."""


# --------------------------------------------------------------------------- whose a reservation is


def this_process() -> str:
    """What tells this process from all others, those of its number before and after among them."""
    return f"{_machine()} {os.getpid()} {_begun(os.getpid())}"


def lives(process: str) -> bool | None:
    """Whether a process is there; None if it is of another machine or container."""
    machine, number, begun = process.rsplit(" ", 2)
    if machine != _machine():
        return None
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    return _begun(int(number)) == begun


@cache
def _machine() -> str:
    """This machine since it was started, or this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def _begun(number: int) -> str:
    """When a process began, by the system's clock; ``-`` where it does not say, or it has ended."""
    try:
        state, *rest = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if state == "Z" else rest[18]
