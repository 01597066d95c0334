"""The SQLite file of a recording, opened to be written or only to be read.

A writer keeps a write-ahead log beside the file, so that a killed process loses no row and others
may write meanwhile; the last one to close it leaves a single file. A reader needs to write nothing,
neither into the file nor beside it, so recordings are replayed from read-only places, too.

Some recordings have lattices: of which states the answers of all arms are there. A lattice is what
was asked, of which a digest names the rows, and a row for each task, which is written in one
transaction once the task is done. States are digests, so no text of a task is in a file.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple

from amp.errors import RecordingError

_BUSY_SECONDS = 30.0
_PAGE_BYTES = 16_384
"""The log-probabilities of a call take some kilobytes. A row of those leaves most of a page of the
usual size empty; of these pages it shares one."""
_LOGS = ("-wal", "-journal")
"""What SQLite keeps beside a file that is being written, or whose writer was killed."""


Write = tuple[str, tuple[Any, ...]]
"""A statement that added something, and its values."""


class _State(NamedTuple):
    """What tells whether a file is the one that was opened, and unchanged."""

    device: int
    inode: int
    changed: int
    size: int
    has_log: bool


class RecordingFile:
    """The file. Several processes may write it at once, and others read it meanwhile.

    Args:
        path: the file.
        write: whether it may be created and written; otherwise it must exist.

    Attributes:
        on_write: called with everything that a file of this process is given and had not, so that
            a worker on another machine can send it to the one who keeps the recording.

    Raises:
        RecordingError: from every method and block, if the file is missing, damaged, something
            else, gone since it was opened, or cannot be written.
    """

    on_write: ClassVar[Callable[[Path, Write], None] | None] = None

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self._logs = [f"{path}{end}" for end in _LOGS]
        self._write = write
        self._closed = False
        self._copy: TemporaryDirectory[str] | None = None
        with self._guarded():
            if not write and not path.is_file():
                raise RecordingError(
                    f"no recording at {path}; record it first (amp run --record; a lattice with amp"
                    " record --lattice)"
                )
            if write and not path.parent.is_dir():
                raise RecordingError(f"recording {path}: its directory does not exist; create it")
            self._connection = self._writer() if write else self._reader()
            self._opened = self._state()

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Gives the connection for a moment; whatever SQLite says in the block is one line."""
        with self._guarded():
            self._look_again()
            yield self._connection

    def write(self, statement: str, values: Sequence[Any] = ()) -> bool:
        """Carries out a statement that adds something; returns whether it was not there yet."""
        with self.use() as connection:
            is_new = connection.execute(statement, values).rowcount != 0
        if is_new and RecordingFile.on_write is not None:
            RecordingFile.on_write(self.path, (statement, tuple(values)))
        return is_new

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Likewise; what the block writes is there in whole or not at all."""
        with self.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        """Closes the file. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self._write:
            with suppress(sqlite3.Error):  # others have it open, and the last of them will do it
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()
        if self._copy is not None:
            self._copy.cleanup()

    # ----------------------------------------------------------------------- opening

    def _connect(self, path: Path, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    def _writer(self) -> sqlite3.Connection:
        connection = self._connect(self.path, "rwc")
        # Two processes that open a new file at once can be told "locked" here at once, whatever the
        # timeout; then the other one has done it a moment later.
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file alone
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                return connection
            except sqlite3.Error as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    connection.close()
                    raise
                time.sleep(0.01)

    def _reader(self) -> sqlite3.Connection:
        if not self._state().has_log:
            # Or SQLite would want to make files beside one that was written with a log.
            return self._connect(self.path, "ro&immutable=1")
        if not self.path.with_name(self.path.name + "-shm").exists():  # nobody has it open
            return self._reader_of_copy()
        connection = self._connect(self.path, "ro")
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            if not error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
            return self._reader_of_copy()
        return connection

    def _reader_of_copy(self) -> sqlite3.Connection:
        """Reads a copy, in which what a killed writer left is merged."""
        self._copy = TemporaryDirectory(prefix="amp-recording-")
        for end in ("", *_LOGS):
            with suppress(FileNotFoundError):
                name = self.path.name + end
                shutil.copyfile(self.path.with_name(name), Path(self._copy.name, name))
        return self._connect(Path(self._copy.name, self.path.name), "rw")

    # ----------------------------------------------------------------------- watching

    def _state(self) -> _State:
        seen = self.path.stat()
        has_log = any(map(_holds_something, self._logs))
        return _State(seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size, has_log)

    def _look_again(self) -> None:
        """Makes sure that the file is still there, and that a reader sees what is new in it."""
        if self._closed:
            raise RecordingError(f"recording {self.path} is closed; open it again")
        if self._write:
            seen = self.path.stat()
            # SQLite would go on with a file that has no name any more, and lose it in the end.
            if (seen.st_dev, seen.st_ino) != self._opened[:2]:
                raise RecordingError(f"recording {self.path} was replaced while in use")
        elif self._copy is None and (now := self._state()) != self._opened:
            self._connection.close()
            self._connection, self._opened = self._reader(), now

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise RecordingError(f"recording {self.path} vanished while in use") from None
        except OSError as error:
            raise RecordingError(
                f"recording {self.path} cannot be used: {error.strerror}"
            ) from None
        except sqlite3.ProgrammingError:
            raise  # a mistake of ours
        except sqlite3.OperationalError as error:
            raise RecordingError(f"recording {self.path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise RecordingError(
                f"recording {self.path} is damaged or no recording ({error}); choose another file"
            ) from error


def _holds_something(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


LATTICE_TABLES = (
    "CREATE TABLE lattices (key BLOB PRIMARY KEY, told TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE lattice_tasks (key BLOB NOT NULL, task TEXT NOT NULL, content BLOB NOT NULL,"
    " PRIMARY KEY (key, task)) STRICT, WITHOUT ROWID",
)
"""What a recording has besides the tables of all recordings, if it has lattices."""

JsonRow = Mapping[str, Any]


def add_lattice_task(path: Path, key: bytes, told: JsonRow, task: str, row: JsonRow) -> None:
    """Adds a task, or puts a row of more states in the place of one of fewer.

    Args:
        path: the recording, which is there.
        key: of the lattice.
        told: what was asked, for people.
        task: its id.
        row: as JSON has it.
    """
    content = zlib.compress(_json(row).encode(), 9)
    with closing(RecordingFile(path, write=True)) as file, file.transaction() as connection:
        for table in LATTICE_TABLES:
            connection.execute(table.replace("TABLE", "TABLE IF NOT EXISTS", 1))
        connection.execute("INSERT OR IGNORE INTO lattices VALUES (?, ?)", (key, _json(told)))
        connection.execute(
            "INSERT OR REPLACE INTO lattice_tasks VALUES (?, ?, ?)", (key, task, content)
        )


def read_lattices(path: Path) -> dict[bytes, JsonRow]:
    """What was asked of each lattice in a recording, by its key; empty if it has none."""
    with closing(RecordingFile(path, write=False)) as file, file.use() as connection:
        named = "SELECT name FROM sqlite_master WHERE name IN ('lattices', 'lattice_tasks')"
        tables = {name for (name,) in connection.execute(named)}
        if "lattices" not in tables:
            return {}
        if "lattice_tasks" not in tables:
            raise _damaged(path, KeyError("lattice_tasks"))
        rows = connection.execute("SELECT key, told FROM lattices").fetchall()
    return {key: _read(path, told, {"benchmark": str, "arms": dict}) for key, told in rows}


def read_lattice_tasks(path: Path, key: bytes) -> dict[str, JsonRow]:
    """The rows of a lattice by task."""
    if key not in read_lattices(path):
        return {}
    with closing(RecordingFile(path, write=False)) as file, file.use() as connection:
        query = "SELECT task, content FROM lattice_tasks WHERE key = ?"
        rows = connection.execute(query, (key,)).fetchall()
    try:
        return {task: _task_row(path, zlib.decompress(content)) for task, content in rows}
    except zlib.error as error:
        raise _damaged(path, error) from None


def _json(row: JsonRow) -> str:
    return json.dumps(row, sort_keys=True, separators=(",", ":"))


_TASK = {"cap": int, "cut_off": int, "prompts": int, "ways": list, "states": list}
"""What the row of a task has."""


def _task_row(path: Path, text: bytes) -> JsonRow:
    """The row of a task; its ways are names of choices."""
    row = _read(path, text, _TASK)
    if row["cap"] < 1:
        raise _damaged(path, ValueError(f"cap is {row['cap']}, expected at least 1"))
    for way in row["ways"]:
        if not isinstance(way, list) or not all(isinstance(name, str) for name in way):
            raise _damaged(path, TypeError(f"a way is {way!r}, expected a list of texts"))
    return row


def _read(path: Path, text: str | bytes, fields: Mapping[str, type]) -> JsonRow:
    """A row with these fields of these kinds, among others."""
    try:
        row: JsonRow = json.loads(text)
        for name, kind in fields.items():
            if not isinstance(row[name], kind):
                raise TypeError(f"{name} is {row[name]!r}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, error) from None
    return row


def _damaged(path: Path, error: Exception) -> RecordingError:
    return RecordingError(
        f"recording {path} is damaged: a lattice in it cannot be read ({error}); record it again,"
        " or choose another file"
    )
