"""The tables of a recording, in one SQLite file that several processes may write at once.

Rows are never changed: what is there first stays, so a sample that two writers made is there once,
and both go on with the same one.

A sample's row holds what a call that begins with it is charged: the first sample of a recorded call
carries that call's prompt tokens, the others share its prefix and have all of them as cached.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from amp.errors import RecordingError
from amp.models.base import (
    Capabilities,
    Completion,
    FinishReason,
    LogProbs,
    ModelCard,
    NextToken,
)
from amp.models.recording_file import LATTICE_TABLES, RecordingFile
from amp.types import ToolUse, Usage

Kind = TypeVar("Kind", ModelCard, Capabilities, ToolUse)

FORMAT = "2"
_APPLICATION_ID = 0x616D7072  # "ampr": tells our files from other SQLite files

# Estimates have a table of their own, made when there is the first: files of before have none.
_FIGURES = tuple(f for f in dataclasses.fields(Usage) if f.name != "estimated_calls")
_ESTIMATES = (
    "CREATE TABLE estimates (key BLOB NOT NULL, idx INTEGER NOT NULL,"
    " calls INTEGER NOT NULL, PRIMARY KEY (key, idx)) STRICT, WITHOUT ROWID"
)
_USAGE = ", ".join(
    f"{figure.name} {'REAL' if figure.type == 'float' else 'INTEGER'} NOT NULL"
    for figure in _FIGURES
)
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE prompts (family TEXT PRIMARY KEY, version TEXT NOT NULL) STRICT",
    # `alone`: the sample was made by a call of its own inside a request for several.
    "CREATE TABLE samples (key BLOB NOT NULL, idx INTEGER NOT NULL, text TEXT NOT NULL,"
    " finish_reason TEXT NOT NULL, log_probs BLOB NOT NULL, entropies BLOB NOT NULL,"
    f" alone INTEGER NOT NULL, {_USAGE}, PRIMARY KEY (key, idx)) STRICT, WITHOUT ROWID",
    "CREATE TABLE probes (key BLOB PRIMARY KEY, log_probs TEXT NOT NULL, hidden BLOB,"
    f" complete INTEGER NOT NULL, {_USAGE}) STRICT, WITHOUT ROWID",
    f"CREATE TABLE scores (key BLOB PRIMARY KEY, log_probs BLOB NOT NULL, {_USAGE})"
    " STRICT, WITHOUT ROWID",
    "CREATE TABLE counts (key BLOB PRIMARY KEY, tokens INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE tool_uses (key BLOB PRIMARY KEY, result TEXT NOT NULL) STRICT, WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One stored sample.

    Attributes:
        text: what was generated.
        finish_reason: how it ended.
        log_probs: as in `Completion`, in 32 bits.
        entropies: as in `Completion`, in 32 bits.
        usage: what it is charged if a call begins with it.
        alone: whether it is charged that even inside a call that began earlier, because the model
            made it by a call of its own.
    """

    text: str
    finish_reason: FinishReason
    log_probs: tuple[float, ...]
    entropies: tuple[float, ...]
    usage: Usage
    alone: bool

    def completion(self, *, first: bool) -> Completion:
        """Returns it as part of a call; the first sample carries the call and its prompt."""
        usage = self.usage
        if not first and not self.alone:
            usage = dataclasses.replace(
                usage, model_calls=0, prompt_tokens=0, cached_prompt_tokens=0, estimated_calls=0
            )
        return Completion(self.text, self.finish_reason, usage, self.log_probs, self.entropies)


def samples_of(completions: Sequence[Completion]) -> list[Sample]:
    """Returns the samples of one call as they are stored; its seconds are split equally."""
    head = completions[0].usage
    seconds = math.fsum(c.usage.seconds for c in completions) / len(completions)
    samples = []
    for position, completion in enumerate(completions):
        usage = dataclasses.replace(completion.usage, seconds=seconds)
        alone = position > 0 and usage.model_calls > 0
        if position > 0 and not alone:
            usage = dataclasses.replace(
                usage,
                model_calls=head.model_calls,
                prompt_tokens=head.prompt_tokens,
                cached_prompt_tokens=head.prompt_tokens,
                estimated_calls=head.estimated_calls,
            )
        samples.append(
            Sample(
                completion.text,
                completion.finish_reason,
                completion.log_probs,
                completion.entropies,
                usage,
                alone,
            )
        )
    return samples


class Store:
    """The file. Methods are short (well under a millisecond) and may run in an event loop.

    Args:
        path: the file.
        write: whether it may be created and written; otherwise it must exist.

    Raises:
        RecordingError: from every method, if the file is missing, damaged, something else, or
            cannot be written.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        if write and os.path.isfile(path):
            with closing(RecordingFile(path, write=False)) as file:
                self._require_ours(file, or_empty=True)  # before anything of it is changed
        self._file = RecordingFile(path, write=write)
        try:
            self._prepare(write)
        except RecordingError:
            self.close()
            raise

    # ----------------------------------------------------------------------- who and what

    def identity(self) -> tuple[ModelCard, Capabilities] | None:
        """Returns the model that it was made with, or None in a new file."""
        card, capabilities = self._meta("card"), self._meta("capabilities")
        if card is None or capabilities is None:
            return None
        try:
            return _fields(ModelCard, card), _fields(Capabilities, capabilities)
        except (ValueError, TypeError, RecursionError) as error:
            raise RecordingError(
                f"recording {self.path} describes its model in a way unknown to this version"
                f" ({error}); record it again"
            ) from error

    def set_identity(self, card: ModelCard, capabilities: Capabilities) -> None:
        """Notes the model of a new file; in an old one, what the model turned out to lack."""
        self._insert("meta", "card", _json(dataclasses.asdict(card)))
        self._file.write(
            "INSERT OR REPLACE INTO meta VALUES ('capabilities', ?)",
            (_json(dataclasses.asdict(capabilities)),),
        )

    def versions(self) -> dict[str, str]:
        """Returns the version of the prompts by family, such as ``{"gsm8k": "gsm8k/3"}``."""
        with self._file.use() as connection:
            return dict(connection.execute("SELECT family, version FROM prompts"))

    def set_version(self, family: str, version: str) -> None:
        """Notes which version the prompts of a family have from now on."""
        self._file.write("INSERT OR REPLACE INTO prompts VALUES (?, ?)", (family, version))

    # ----------------------------------------------------------------------- rows

    def samples(self, key: bytes, first: int, n: int) -> dict[int, Sample]:
        """Returns those of the samples first .. first + n - 1 that are there, by index."""
        with self._sound(), self._file.use() as connection:
            rows = connection.execute(
                "SELECT idx, text, finish_reason, log_probs, entropies, alone, *"
                " FROM samples WHERE key = ? AND idx BETWEEN ? AND ?",
                (key, first, first + n - 1),
            ).fetchall()
            estimated = self._estimated(key)
            return {
                row[0]: Sample(
                    row[1],
                    row[2],
                    _finite(_floats(row[3])),
                    _finite(_floats(row[4])),
                    _usage(row, estimated.get(row[0], 0)),
                    bool(row[5]),
                )
                for row in rows
            }

    def add_samples(
        self, key: bytes, samples: dict[int, Sample], count_key: bytes, prompt_tokens: int
    ) -> None:
        """Stores a call, all or nothing; rows that are there already stay.

        Args:
            key: of the request.
            samples: by index.
            count_key: under which to find the tokens of the prompt.
            prompt_tokens: these tokens.
        """
        with self._file.transaction():
            self._insert("counts", count_key, prompt_tokens)
            for index, sample in samples.items():
                new = self._insert(
                    "samples",
                    key,
                    index,
                    sample.text,
                    sample.finish_reason,
                    _blob(sample.log_probs),
                    _blob(sample.entropies),
                    int(sample.alone),
                    *_figures(sample.usage),
                )
                if new:
                    self._note_estimate(key, index, sample.usage)

    def next_token(self, key: bytes) -> NextToken | None:
        row = self._row("probes", key)
        if row is None:
            return None
        with self._sound():
            hidden = None if row[2] is None else _floats(row[2])
            usage = _usage(row, self._estimated(key).get(0, 0))
            return NextToken(_distribution(row[1]), usage, hidden, bool(row[3]))

    def add_next_token(self, key: bytes, next_token: NextToken) -> None:
        hidden = None if next_token.hidden is None else _blob(next_token.hidden)
        usage = _figures(next_token.usage)
        complete = int(next_token.complete)
        if self._insert("probes", key, _json(next_token.log_probs), hidden, complete, *usage):
            self._note_estimate(key, 0, next_token.usage)

    def score(self, key: bytes) -> LogProbs | None:
        row = self._row("scores", key)
        if row is None:
            return None
        with self._sound():
            log_probs = _finite(_floats(row[1]))
            return LogProbs(log_probs, _usage(row, self._estimated(key).get(0, 0)))

    def add_score(self, key: bytes, score: LogProbs) -> None:
        if self._insert("scores", key, _blob(score.log_probs), *_figures(score.usage)):
            self._note_estimate(key, 0, score.usage)

    def token_count(self, key: bytes) -> int | None:
        row = self._row("counts", key)
        with self._sound():
            return None if row is None else int(_counted(row[1:])[0])

    def add_token_count(self, key: bytes, tokens: int) -> None:
        self._insert("counts", key, tokens)

    def tool_use(self, key: bytes) -> tuple[ToolUse | None] | None:
        """Returns what came of a tool (None: it found no call), in a tuple of one; None if new."""
        row = self._row("tool_uses", key)
        if row is None:
            return None
        with self._sound():
            return (None if row[1] == "null" else _tool_use(row[1]),)

    def add_tool_use(self, key: bytes, use: ToolUse | None) -> None:
        self._insert("tool_uses", key, _json(None if use is None else dataclasses.asdict(use)))

    def sizes(self) -> dict[str, int]:
        """Returns the number of rows by table."""
        tables = ("samples", "probes", "scores", "counts", "tool_uses")
        with self._file.use() as connection:
            count = "SELECT count(*) FROM "
            return {t: connection.execute(count + t).fetchone()[0] for t in tables}

    def close(self) -> None:
        """Closes the file. Twice is fine."""
        self._file.close()

    # ----------------------------------------------------------------------- SQL

    def _prepare(self, write: bool) -> None:
        """Creates the tables in a new file, and refuses a file that is not ours."""
        if write:
            with self._file.transaction() as connection:
                if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for statement in _SCHEMA:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    self._insert("meta", "format", FORMAT)
                    created = datetime.now(UTC).isoformat(timespec="seconds")
                    self._insert("meta", "created", created)
        self._require_ours(self._file)
        if (found := self._meta("format")) != FORMAT:
            raise RecordingError(
                f"recording {self.path} has format {found}, this version reads {FORMAT};"
                " record it again"
            )

    def _require_ours(self, file: RecordingFile, *, or_empty: bool = False) -> None:
        with file.use() as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            is_empty = not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        if application != _APPLICATION_ID and not (or_empty and is_empty):
            raise RecordingError(f"{self.path} is no recording of amp; choose another file")
        if not is_empty:
            self._require_tables(file)

    def _require_tables(self, file: RecordingFile) -> None:
        """Makes sure that a file has our tables and nothing else, before they are read.

        A view in place of a table would be SQL of somebody else, which may never end, and in a
        table with other columns figures would be read as others.
        """
        with file.use() as connection:
            made = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
            # A column that was added later to files of before has a default.
            found = {str(sql).replace(" DEFAULT 0", "") for (sql,) in made}
        if found - {_ESTIMATES, *LATTICE_TABLES} != set(_SCHEMA):
            raise RecordingError(
                f"recording {self.path} has other tables than one of format {FORMAT};"
                " record it again, or choose another file"
            )

    @contextmanager
    def _sound(self) -> Iterator[None]:
        """Says in one line that a row holds what no recording has."""
        try:
            yield
        except (ValueError, TypeError, AttributeError, RecursionError, struct.error) as error:
            raise RecordingError(
                f"recording {self.path} is damaged: a row is none of a recording ({error}); record"
                " it again, or choose another file"
            ) from None

    def _meta(self, name: str) -> str | None:
        row = self._row("meta", name, column="name")
        return None if row is None else str(row[1])

    def _row(self, table: str, key: bytes | str, column: str = "key") -> Any:
        with self._file.use() as connection:
            query = f"SELECT * FROM {table} WHERE {column} = ?"
            return connection.execute(query, (key,)).fetchone()

    def _insert(self, table: str, *values: object) -> bool:
        """Adds a row; returns whether it is new."""
        places = ", ".join("?" * len(values))
        return self._file.write(f"INSERT OR IGNORE INTO {table} VALUES ({places})", values)

    def _note_estimate(self, key: bytes, index: int, usage: Usage) -> None:
        if usage.estimated_calls:
            self._file.write(_ESTIMATES.replace("TABLE", "TABLE IF NOT EXISTS", 1))
            self._insert("estimates", key, index, usage.estimated_calls)

    def _estimated(self, key: bytes) -> dict[int, int]:
        """How many calls of each sample are estimates, where any are."""
        named = "SELECT 1 FROM sqlite_master WHERE name = 'estimates'"
        with self._file.use() as connection:
            if connection.execute(named).fetchone() is None:
                return {}
            query = "SELECT idx, calls FROM estimates WHERE key = ?"
            return dict(connection.execute(query, (key,)).fetchall())


def _usage(row: Sequence[Any], estimated_calls: int) -> Usage:
    usage = Usage(*_counted(row[-len(_FIGURES) :]))
    return dataclasses.replace(usage, estimated_calls=estimated_calls) if estimated_calls else usage


def _counted(figures: Sequence[Any]) -> Sequence[Any]:
    """Figures that count something; ValueError if one of them cannot."""
    for figure in figures:
        if not 0 <= figure < math.inf:
            raise ValueError(f"{figure} is no count")
    return figures


def _finite(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(map(math.isfinite, values)):
        raise ValueError("a log-probability or entropy is not finite")
    return values


def _distribution(text: str) -> dict[str, float]:
    log_probs: dict[str, float] = json.loads(text)
    if not all(log_prob <= 1.0 for log_prob in log_probs.values()):  # rounded; and no NaN
        raise ValueError("a log-probability is none")
    return log_probs


def _tool_use(text: str) -> ToolUse:
    use = _fields(ToolUse, text)
    _counted([use.seconds])
    return use


def _fields(kind: type[Kind], text: str) -> Kind:
    """A dataclass of plain fields from JSON; ValueError or TypeError if it does not fit."""
    read = kind(**json.loads(text))
    hashable: Any = kind  # which mypy does not see
    for name, types in _types(hashable).items():
        value = getattr(read, name)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError(f"{name} is {value!r}")
    return read


@cache
def _types(kind: type[Any]) -> dict[str, tuple[type, ...]]:
    """What the fields of a dataclass may be; a whole number is a number, too."""
    hints = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(kind).items()}
    return {name: (*types, int) if float in types else types for name, types in hints.items()}


def _figures(usage: Usage) -> tuple[float, ...]:
    return tuple(getattr(usage, figure.name) for figure in _FIGURES)


def _blob(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _floats(blob: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(blob) // 4}f", blob)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
