"""A SQLite file that several processes write at once, and that knows its own from other files.

A transaction takes the file for itself before it reads, so what it has read is still true when it
writes. Write-ahead logging makes that quick, and what a killed process has committed is kept. NOT
covered: the last moments before a power cut, which are not waited for (`synchronous = NORMAL`).
"""

from __future__ import annotations

import os
import platform
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amp.errors import InvalidInputError
from amp.files import writing

_BUSY_SECONDS = 10.0
_LOG_PAGES = 4000
"""Of the log before it is merged, which waits for the disk: one call in some hundreds does."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a file holds.

    Attributes:
        application_id: tells such files from other SQLite files.
        version: of the tables.
        schema: statements that make them.
        holds: what it holds, in words.
        first: what to do where there is none.
    """

    application_id: int
    version: int
    schema: tuple[str, ...]
    holds: str
    first: str


class SqliteFileError(InvalidInputError):
    """The file cannot be used, or not now, whatever was to be written into it."""


class SqliteFile:
    """The file, for all threads of this process.

    Args:
        path: the file.
        form: what it holds.
        create: whether it is made if it is not there.

    Raises:
        SqliteFileError: from every method and block, if the file is missing, damaged, something
            else, of another version, gone since it was opened, or cannot be written.
    """

    def __init__(self, path: Path, form: Form, *, create: bool) -> None:
        self.path, self._form = path, form
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        with writing(path):
            if not path.exists():
                if not create:
                    raise SqliteFileError(f"no {form.holds} at {path}; {form.first}")
                # Nobody else is to read it, nor what SQLite keeps beside it.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._guarded():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                if not self._is_ours():  # before anything of it is changed
                    self._make()
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
                self._opened = self._seen()
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Takes the file for a moment; what the block writes is there in whole or not at all."""
        with self._lock, self._guarded():
            if self._closed or os.getpid() != self._process:
                raise SqliteFileError(f"{self.path} is not open in this process; open it again")
            # SQLite would go on with a file that has no name any more, and count into nothing.
            if self._seen() != self._opened:
                raise SqliteFileError(f"{self.path} was replaced while in use; start again")
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends some by itself
                    self._connection.execute("ROLLBACK")
                raise

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Likewise for a block that only reads, which holds nobody up."""
        return self.transaction("BEGIN")

    def close(self) -> None:
        """Closes the file. Twice is fine."""
        with self._lock:
            if not self._closed and os.getpid() == self._process:
                self._connection.close()
            self._closed = True

    def _seen(self) -> tuple[int, int]:
        seen = self.path.stat()
        return seen.st_dev, seen.st_ino

    def _is_ours(self) -> bool:
        """Whether it is such a file; not if it is empty.

        Raises:
            SqliteFileError: if it is something else, or of another version.
        """
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (application or version or tables):
            return False
        if application != self._form.application_id:
            raise SqliteFileError(
                f"{self.path} holds no {self._form.holds} of amp; choose another file"
            )
        if version != self._form.version:
            raise SqliteFileError(
                f"{self.path} is of version {version}, expected {self._form.version}; use the amp"
                " that made it, or choose another file"
            )
        return True

    def _make(self) -> None:
        """Makes the tables, unless another process is quicker."""
        # Two processes that open a new file at once can be told "locked" here at once, whatever the
        # timeout; then the other one has done it a moment later.
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._connection.execute("BEGIN IMMEDIATE")
        if not self._is_ours():
            for statement in self._form.schema:
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {self._form.application_id}")
            self._connection.execute(f"PRAGMA user_version = {self._form.version}")
        self._connection.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise SqliteFileError(f"{self.path} vanished while in use; start again") from None
        except OSError as error:
            raise SqliteFileError(f"{self.path} cannot be used: {error.strerror}") from None
        except sqlite3.ProgrammingError:
            raise  # a mistake of ours
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise SqliteFileError(
                    f"{self.path} was held by another process for {_BUSY_SECONDS:g} s; end that"
                ) from None
            raise SqliteFileError(
                f"{self.path} cannot be written: {error}; make room or choose another place"
            ) from error
        except sqlite3.DatabaseError as error:
            raise SqliteFileError(
                f"{self.path} is damaged or holds no {self._form.holds} ({error}); choose another"
                " file"
            ) from error


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
