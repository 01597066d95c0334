"""Keeps what goes through the gateway, without a call ever waiting for it.

Whoever has something to keep puts it into a queue; one thread writes what has gathered, in one
transaction. A queue that is full, or a file that cannot be written, costs what would have been
kept, and that is counted; the calls go on. What a killed process had written is kept, what it had
in its queue, a fifth of a second at most as a rule, is not.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from amp.serve.sqlite_file import SqliteFileError
from amp.serve.traffic.sums import TrafficSums, sums_in
from amp.serve.traffic.tables import (
    Call,
    Shadowed,
    TrafficFile,
    write_call,
    write_outcome,
    write_shadow,
)

_GATHER_SECONDS = 0.2
_TRY_AGAIN_SECONDS = 1.0
_PRUNE_SECONDS = 60.0
_MOST_WAITING, _MOST_WAITING_BYTES = 10_000, 64_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept, and for how long.

    Attributes:
        days: after so many a call is forgotten.
        megabytes: of the file; beyond them the oldest tenth of it is forgotten.
        content: whether requests and answers are kept; else their hashes.
    """

    days: float = 30.0
    megabytes: float = 1000.0
    content: bool = False


@dataclass(frozen=True, slots=True)
class Watching:
    """What is watched.

    Attributes:
        traffic: the file in which it is kept.
        keep: how much, and for how long.
        shadow: share of the calls that another arm is asked as well.
        accounts: file of the key that pays for that; needed with `shadow`.
    """

    traffic: Path
    keep: Keep = field(default_factory=Keep)
    shadow: float = 0.0
    accounts: Path | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to write, how large it is, and who wants to know what came of it."""

    write: Callable[[sqlite3.Connection], bool | None]
    size: int = 0
    written: Callable[[bool], object] | None = None


class Traffic:
    """The file, and the queue before it.

    Args:
        path: the file; it is made if it is not there.
        keep: what is kept.

    Attributes:
        keep: what is kept.
        salt: of the hashes in the file.
        dropped: what was not kept since there was no room for it.

    Raises:
        InvalidInputError: if the file is something else, of another version, or cannot be written.
    """

    def __init__(self, path: Path, keep: Keep = Keep()) -> None:  # frozen
        self.keep = keep
        self.dropped = 0
        self._file = TrafficFile(path)
        self.salt = self._file.salt
        self._lock = threading.Lock()
        self._waiting: list[_Job] = []
        self._bytes = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def call(self, call: Call) -> None:
        """Keeps a call."""
        size = len(call.asked or "") + len(call.said or "")
        self._put(_Job(lambda connection: write_call(connection, call), size))

    def shadow(self, shadow: Shadowed) -> None:
        """Keeps how an arm did on a call."""
        size = len(shadow.own.said or "") + len(shadow.reference.said or "")
        self._put(_Job(lambda connection: write_shadow(connection, shadow), size))

    async def outcome(
        self, key: str, episode: str, step: int, success: float, note: str = ""
    ) -> bool | None:
        """Keeps what came of an episode of a key, or of one step of it.

        Args:
            key: name of the key whose episode it is.
            episode: its name.
            step: number of the step; `WHOLE_EPISODE` for the whole episode.
            success: from 0 to 1.
            note: a few words.

        Returns:
            False if the key has no such episode or step, None if nothing can be kept now.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Future[bool] = loop.create_future()

        def tell(found: bool) -> None:
            if not told.done():
                told.set_result(found)

        job = _Job(
            lambda connection: write_outcome(connection, key, episode, step, success, note),
            len(note),
            lambda found: loop.call_soon_threadsafe(tell, found),
        )
        if not self._put(job):
            return None
        self._wake.set()
        try:
            return await asyncio.wait_for(told, 5.0)
        except TimeoutError:
            return None

    async def sums(self, key: str | None) -> TrafficSums:
        """What the file says in sum of the calls of a key, or of all.

        Raises:
            SqliteFileError: if it can't be read.
        """

        def read() -> TrafficSums:
            with self._file.file.reading() as connection:
                return sums_in(connection, key)

        return await asyncio.to_thread(read)

    def close(self) -> None:
        """Writes what waits, if it can be written, and closes the file. Twice is fine."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        if self._waiting:
            _log.error("%d rows of traffic could not be written", len(self._waiting))
        self._waiting.clear()
        self._file.close()

    def _put(self, job: _Job) -> bool:
        """Whether there was room for it."""
        with self._lock:
            full = len(self._waiting) >= _MOST_WAITING or (
                self._bytes + job.size > _MOST_WAITING_BYTES and bool(self._waiting)
            )
            if full or self._closing:
                self.dropped += 1
                return False
            self._waiting.append(job)
            self._bytes += job.size
        return True

    def _run(self) -> None:
        pruned, failing = 0.0, False
        while not self._closing or (self._waiting and not failing):
            self._wake.wait(_TRY_AGAIN_SECONDS if failing else _GATHER_SECONDS)
            self._wake.clear()
            try:
                self._write()
                if time.monotonic() - pruned > _PRUNE_SECONDS:
                    self._prune()
                    pruned = time.monotonic()
                failing = False
            except SqliteFileError as error:
                if not failing:
                    _log.error("traffic is not kept for now: %s", error)
                failing = True
                if self._closing:
                    return

    def _write(self) -> None:
        """Writes all that waits, in one transaction."""
        with self._lock:
            jobs = self._waiting[:]
        if not jobs:
            return
        with self._file.file.transaction() as connection:
            found = [job.write(connection) for job in jobs]
        with self._lock:
            del self._waiting[: len(jobs)]
            self._bytes -= sum(job.size for job in jobs)
        for job, each in zip(jobs, found, strict=True):
            if job.written is not None:
                job.written(bool(each))

    def _prune(self) -> None:
        oldest = time.time() - 86_400.0 * self.keep.days
        if forgotten := self._file.prune(oldest, round(self.keep.megabytes * 1e6)):
            _log.info("%d rows of traffic are forgotten", forgotten)
