"""The tables of what went through the gateway, and what of them can be learned from.

A call is a row; what another arm answered to the same request (`amp.serve.traffic.shadow`) is a row
beside it, and so is what the client later said came of it. Requests and answers are hashes, salted
by the file, unless content is to be kept.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amp.serve.sqlite_file import Form, SqliteFile
from amp.usage import Usage

_USAGE = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens")
_COUNTS = ", ".join(f"{name} INTEGER NOT NULL" for name in (*_USAGE, "estimated"))
_COSTS = f"{_COUNTS}, dollars REAL NOT NULL, seconds REAL NOT NULL"
_PRICE = (
    "{0}_prompt_tokens INTEGER NOT NULL, {0}_completion_tokens INTEGER NOT NULL,"
    " {0}_dollars REAL NOT NULL, {0}_answer TEXT NOT NULL"
)

_SCHEMA = (
    "CREATE TABLE salt (salt BLOB NOT NULL) STRICT",
    # The id is the moment, so that the oldest are a range of ids.
    "CREATE TABLE calls (id INTEGER PRIMARY KEY, time REAL NOT NULL, key TEXT NOT NULL,"
    " episode TEXT NOT NULL, step INTEGER NOT NULL, api TEXT NOT NULL, arm TEXT NOT NULL,"
    " policy TEXT NOT NULL, why TEXT NOT NULL, kind TEXT NOT NULL, features TEXT NOT NULL,"
    f" expected_tokens INTEGER NOT NULL, status INTEGER NOT NULL, {_COSTS},"
    " request TEXT NOT NULL, answer TEXT NOT NULL, asked TEXT, said TEXT) STRICT",
    "CREATE INDEX calls_of_episodes ON calls (key, episode, step)",
    # Whether an arm did the same as a fresh answer of the dear one; null where nothing tells.
    "CREATE TABLE shadows (call INTEGER PRIMARY KEY, time REAL NOT NULL, arm TEXT NOT NULL,"
    f" dear TEXT NOT NULL, same INTEGER, paid REAL NOT NULL, {_PRICE.format('own')},"
    f" {_PRICE.format('dear')}, own_said TEXT, dear_said TEXT) STRICT",
    # What the client said came of an episode, or of one step; the last word counts.
    "CREATE TABLE outcomes (key TEXT NOT NULL, episode TEXT NOT NULL, step INTEGER NOT NULL,"
    " time REAL NOT NULL, success REAL NOT NULL, note TEXT NOT NULL,"
    " PRIMARY KEY (key, episode, step)) STRICT, WITHOUT ROWID",
)

TRAFFIC = Form(0x616D7074, 1, _SCHEMA, "traffic", "record some first (amp serve --traffic)")
"""The form of the file; "ampt"."""

WHOLE_EPISODE = -1
"""In place of the step, of an outcome of the whole episode."""

_TEXTS = ("key", "episode", "step", "api", "arm", "policy", "why", "kind")
_CONTENTS = ("request", "answer", "asked", "said")
_MOST = 2**62


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was answered.

    Attributes:
        key: name of the key; empty where clients need none.
        episode: that it belongs to.
        step: answers that the episode had before it.
        api: that the client speaks.
        arm: what answered, as `amp.serve.decide.base.CallArm.name`.
        policy: that decided.
        why: one line.
        kind: of calls like it (`amp.serve.decide.conversation.kind_of`).
        features: of the conversation.
        expected_tokens: how long its prompt was taken to be before it was made.
        usage: what it cost.
        status: of the answer.
        request: hash of the request.
        answer: hash of the answer in normal form; empty where it can't be compared.
        asked: the request, if content is kept.
        said: what was answered, in normal form, if content is kept.
        id: the moment it ended, as `new_id` gives.
    """

    key: str
    episode: str
    step: int
    api: str
    arm: str
    policy: str
    why: str
    kind: str
    features: Mapping[str, float]
    expected_tokens: int
    usage: Usage
    status: int
    request: str
    answer: str
    asked: str | None = None
    said: str | None = None
    id: int = field(default_factory=lambda: new_id())


@dataclass(frozen=True, slots=True)
class Answer:
    """What an arm answered to a call, and what that costs beside the answers of others.

    Attributes:
        prompt_tokens: that it read.
        completion_tokens: that it generated.
        dollars: what they cost where as much of the prompt is in a cache as was in that of the arm
            that had the conversation.
        answer: as in `Call`.
        said: as in `Call`.
    """

    prompt_tokens: int
    completion_tokens: int
    dollars: float
    answer: str
    said: str | None = None


@dataclass(frozen=True, slots=True)
class Shadowed:
    """Whether an arm does the same on a call as the dear arm, asked by itself.

    Attributes:
        call: id of the call.
        arm: whose answer is judged; the dear arm's own, too.
        dear: the arm that it is held to.
        same: whether both did the same; None where nothing tells.
        paid: for answers that no client got.
        own: of the arm.
        reference: of the dear arm.
    """

    call: int
    arm: str
    dear: str
    same: bool | None
    paid: float
    own: Answer
    reference: Answer


@dataclass(frozen=True, slots=True)
class Labelled:
    """A call of which something is known beyond its price.

    Attributes:
        call: the call.
        shadow: how an arm did on it; None if none was asked to.
        success: what the client said came of its step, else of its episode; None if nothing.
    """

    call: Call
    shadow: Shadowed | None = None
    success: float | None = None


def new_id() -> int:
    """A number for a call: the microsecond, and ten bits of chance for those of one."""
    return time.time_ns() // 1000 << 10 | secrets.randbits(10)


def time_of(number: int) -> float:
    """When a call of this id was, in Unix time."""
    return (number >> 10) / 1e6


class TrafficFile:
    """The file. Every method is one transaction.

    Args:
        path: the file.
        create: whether it is made if it is not there.

    Attributes:
        salt: of its hashes.

    Raises:
        SqliteFileError: as `SqliteFile`, also from every method.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.file = SqliteFile(path, TRAFFIC, create=create)
        with self.file.transaction() as connection:
            row = connection.execute("SELECT salt FROM salt").fetchone()
            self.salt: bytes = row[0] if row else secrets.token_bytes(16)
            if row is None:
                connection.execute("INSERT INTO salt VALUES (?)", (self.salt,))

    def close(self) -> None:
        """Closes the file. Twice is fine."""
        self.file.close()

    def labelled(self) -> Iterator[Labelled]:
        """The calls that were answered and of which something is known, the oldest first."""
        with self.file.reading() as connection:
            rows = connection.execute(
                "SELECT calls.*, coalesce(of_step.success, of_all.success) FROM calls"
                " LEFT JOIN outcomes AS of_step USING (key, episode, step)"
                " LEFT JOIN outcomes AS of_all ON of_all.key = calls.key"
                f" AND of_all.episode = calls.episode AND of_all.step = {WHOLE_EPISODE}"
                " WHERE status < 300 AND (of_step.success IS NOT NULL OR of_all.success IS NOT NULL"
                " OR EXISTS (SELECT 1 FROM shadows WHERE call = calls.id)) ORDER BY calls.id"
            ).fetchall()
            shadows = {
                row[0]: _shadowed(row) for row in connection.execute("SELECT * FROM shadows")
            }
        for row in rows:
            call = _call(row)
            yield Labelled(call, shadows.get(call.id), row[-1])

    def counts(self) -> tuple[int, int, int]:
        """How many calls, shadows and outcomes it holds."""
        with self.file.reading() as connection:
            found = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("calls", "shadows", "outcomes")
            ]
        return found[0], found[1], found[2]

    def prune(self, oldest: float, most_bytes: int) -> int:
        """Forgets calls that are too old, and the oldest where the file has grown too large.

        Args:
            oldest: Unix time before which calls are forgotten.
            most_bytes: of what the file holds; what is forgotten leaves room for what comes.

        Returns:
            how many were forgotten.
        """
        with self.file.transaction() as connection:
            begun = connection.total_changes
            _forget(connection, int(oldest * 1e6) << 10)
            size, pages, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
            if (pages - free) * size > most_bytes:
                (count,) = connection.execute("SELECT count(*) FROM calls").fetchone()
                row = connection.execute(
                    "SELECT id FROM calls ORDER BY id LIMIT 1 OFFSET ?", (count // 10,)
                ).fetchone()
                _forget(connection, _MOST if row is None else row[0])
            return connection.total_changes - begun


def _forget(connection: sqlite3.Connection, before: int) -> None:
    """Deletes calls whose ids are lower, with all that is known of them."""
    connection.execute("DELETE FROM calls WHERE id < ?", (before,))
    connection.execute("DELETE FROM shadows WHERE call < ?", (before,))
    connection.execute("DELETE FROM outcomes WHERE time < ?", (time_of(before),))


def write_call(connection: sqlite3.Connection, call: Call) -> None:
    """Writes a call; twice is once."""
    values = (
        *(call.id, time_of(call.id), _text(call.key), _text(call.episode), _whole(call.step)),
        *(call.api, _text(call.arm), _text(call.policy), _text(call.why), _text(call.kind)),
        *(json.dumps(dict(call.features)), _whole(call.expected_tokens), call.status),
        *(*_costs(call.usage), call.request, call.answer, _kept(call.asked), _kept(call.said)),
    )
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT OR IGNORE INTO calls VALUES ({marks})", values)


def write_shadow(connection: sqlite3.Connection, shadow: Shadowed) -> None:
    """Writes how an arm did; nothing if its call is forgotten."""
    same = None if shadow.same is None else int(shadow.same)
    both = (shadow.own, shadow.reference)
    values = (
        *(shadow.call, time.time(), _text(shadow.arm), _text(shadow.dear)),
        *(same, _amount(shadow.paid)),
        *(value for one in both for value in _price(one)),
        *(_kept(one.said) for one in both),
    )
    marks = ", ".join("?" * len(values))
    connection.execute(
        f"INSERT OR REPLACE INTO shadows SELECT {marks}"
        " WHERE EXISTS (SELECT 1 FROM calls WHERE id = ?)",
        (*values, shadow.call),
    )


def write_outcome(
    connection: sqlite3.Connection, key: str, episode: str, step: int, success: float, note: str
) -> bool:
    """Writes what came of an episode of a key or of a step; False if there is no such one."""
    found = connection.execute(
        "SELECT 1 FROM calls WHERE key = ? AND episode = ?"
        + ("" if step == WHOLE_EPISODE else " AND step = ?"),
        (_text(key), _text(episode), *(() if step == WHOLE_EPISODE else (step,))),
    ).fetchone()
    if found is not None:
        connection.execute(
            "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)",
            (_text(key), _text(episode), step, time.time(), success, _text(note)),
        )
    return found is not None


def _costs(usage: Usage) -> tuple[float, ...]:
    counts = (_whole(getattr(usage, name)) for name in _USAGE)
    return (*counts, usage.estimated_calls, _amount(usage.dollars), _amount(usage.seconds))


def _price(one: Answer) -> tuple[Any, ...]:
    counts = (_whole(one.prompt_tokens), _whole(one.completion_tokens))
    return (*counts, _amount(one.dollars), one.answer)


def _amount(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def _text(text: str) -> str:
    """A text that readers of SQLite take to its end.

    Half a character, which JSON can hold, is none, and many readers stop at a NUL.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _kept(text: str | None) -> str | None:
    return None if text is None else _text(text)


def _whole(number: int) -> int:
    return max(-_MOST, min(number, _MOST))


def _usage(row: tuple[Any, ...]) -> Usage:
    prompt, cached, completion, reasoning, estimated, dollars, seconds = row
    return Usage(
        1,
        prompt,
        cached,
        completion,
        seconds=seconds,
        dollars=dollars,
        reasoning_tokens=reasoning,
        estimated_calls=estimated,
    )


def _call(row: tuple[Any, ...]) -> Call:
    return Call(
        **dict(zip(_TEXTS, row[2:10], strict=True)),
        features=json.loads(row[10]),
        expected_tokens=row[11],
        status=row[12],
        usage=_usage(row[13:20]),
        **dict(zip(_CONTENTS, row[20:24], strict=True)),
        id=row[0],
    )


def _shadowed(row: tuple[Any, ...]) -> Shadowed:
    call, _, arm, dear, same, paid = row[:6]
    same = None if same is None else bool(same)
    own, reference = Answer(*row[6:10]), Answer(*row[10:14])
    own, reference = replace(own, said=row[14]), replace(reference, said=row[15])
    return Shadowed(call, arm, dear, same, paid, own, reference)
