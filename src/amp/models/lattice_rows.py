"""The rows of lattices: of which states a recording has the answers of all arms.

A lattice is what was asked, of which a digest names the rows, and a row for each task, which is
written in one transaction once the task is done. States are digests, so no text of a task is in a
file. A recording without a lattice has none of these tables.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from amp.errors import RecordingError
from amp.models.recording_file import RecordingFile

LATTICE_TABLES = (
    "CREATE TABLE lattices (key BLOB PRIMARY KEY, told TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE lattice_tasks (key BLOB NOT NULL, task TEXT NOT NULL, content BLOB NOT NULL,"
    " PRIMARY KEY (key, task)) STRICT, WITHOUT ROWID",
)
"""What a recording has besides the tables of all recordings, if it has lattices."""

Row = Mapping[str, Any]


def add_lattice_task(path: Path, key: bytes, told: Row, task: str, row: Row) -> None:
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


def read_lattices(path: Path) -> dict[bytes, Row]:
    """What was asked of each lattice in a recording, by its key; empty if it has none."""
    with closing(RecordingFile(path, write=False)) as file, file.use() as connection:
        named = "SELECT 1 FROM sqlite_master WHERE name = 'lattices'"
        if connection.execute(named).fetchone() is None:
            return {}
        rows = connection.execute("SELECT key, told FROM lattices").fetchall()
    return {key: _read(path, told, {"benchmark": str, "arms": dict}) for key, told in rows}


def read_lattice_tasks(path: Path, key: bytes) -> dict[str, Row]:
    """The rows of a lattice by task."""
    if key not in read_lattices(path):
        return {}
    with closing(RecordingFile(path, write=False)) as file, file.use() as connection:
        query = "SELECT task, content FROM lattice_tasks WHERE key = ?"
        rows = connection.execute(query, (key,)).fetchall()
    try:
        return {task: _read(path, zlib.decompress(content), _TASK) for task, content in rows}
    except zlib.error as error:
        raise _damaged(path, error) from None


def _json(row: Row) -> str:
    return json.dumps(row, sort_keys=True, separators=(",", ":"))


_TASK = {"cap": int, "cut_off": int, "prompts": int, "ways": list, "states": list}
"""What the row of a task has."""


def _read(path: Path, text: str | bytes, fields: Mapping[str, type]) -> Row:
    """A row with these fields of these kinds, among others."""
    try:
        row: Row = json.loads(text)
        for name, kind in fields.items():
            if not isinstance(row[name], kind):
                raise TypeError(f"{name} is {row[name]!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from None
    return row


def _damaged(path: Path, error: Exception) -> RecordingError:
    return RecordingError(
        f"recording {path} is damaged: a lattice in it cannot be read ({error}); record it again,"
        " or choose another file"
    )
