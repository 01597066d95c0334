"""Recordings are one file when nobody writes them, and are read where nothing can be written."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.models.test_recorded import ask, scripted

from amp.errors import InvalidInputError, RecordingError
from amp.models.base import NextToken, Request
from amp.models.recorded import RecordedModel
from amp.models.recording import contents
from amp.models.recording_store import FORMAT, Sample, Store
from amp.models.scripted import ALL_CAPABILITIES, ScriptedModel
from amp.types import ToolUse, Usage

RECORDINGS = Path(__file__).parents[2] / "recordings"
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where waiting for the disk takes no time."""
CARD = ScriptedModel(lambda prompt, sample: "").card


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that other users can read."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def counted(store: Store) -> int:
    return store.sizes()["counts"]


def made(path: Path, rows: int = 3) -> Path:
    with closing(Store(path, write=True)) as store:
        store.set_identity(CARD, ALL_CAPABILITIES)
        for row in range(rows):
            store.add_token_count(bytes([row]), row)
    return path


def killed(path: Path) -> Path:
    """A recording of three rows whose writer was killed: two of them are in its log only."""
    made(path, 1)
    if (child := os.fork()) == 0:
        store = Store(path, write=True)
        store.add_token_count(b"1", 1)
        store.add_token_count(b"2", 2)
        os._exit(0)
    os.waitpid(child, 0)
    assert path.with_name(path.name + "-wal").stat().st_size > 0
    return path


def as_nobody(work: Callable[[], None]) -> int:
    """Does the work as a user who may write nothing of ours; returns 0 if it went well."""
    if (child := os.fork()) == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            work()
        except BaseException as error:
            print(repr(error))
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@given(
    steps=st.lists(st.sampled_from(["open", "write", "close", "read", "read anew"]), max_size=12)
)
def test_a_reader_sees_all_that_is_written_and_nothing_stays_beside_the_file(
    steps: list[str],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = made(Path(folder) / "r.sqlite", rows := 1)
        reader = Store(path, write=False)
        writers: list[Store] = []
        for step in steps:
            if step == "open":
                writers.append(Store(path, write=True))
            elif step == "write" and writers:
                writers[0].add_token_count(b"new %d" % rows, rows)
                rows += 1
            elif step == "close" and writers:
                writers.pop().close()
            elif step == "read":
                assert counted(reader) == rows
            else:
                with closing(Store(path, write=False)) as other:
                    assert counted(other) == rows
        reader.close()
        for writer in writers or [Store(path, write=True)]:
            writer.close()
        assert os.listdir(folder) == ["r.sqlite"]


def test_a_log_of_old_is_not_needed_to_read(folder: Path) -> None:
    path = made(folder / "r.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    before = path.read_bytes()
    assert before[18:20] == b"\2\2"
    with closing(Store(path, write=False)) as store:
        assert counted(store) == 3
        assert os.listdir(folder) == ["r.sqlite"]
    assert contents(path).model == CARD
    assert os.listdir(folder) == ["r.sqlite"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("origin", [made, killed])
def test_a_recording_is_read_from_a_read_only_place(
    origin: Callable[[Path], Path], folder: Path
) -> None:
    path = origin(folder / "r.sqlite")
    path.with_name(path.name + "-shm").unlink(missing_ok=True)  # as in a copy
    there = sorted(os.listdir(folder))
    folder.chmod(0o555)

    def read() -> None:
        with closing(Store(path, write=False)) as store:
            assert counted(store) == 3

    assert as_nobody(read) == 0
    assert sorted(os.listdir(folder)) == there
    folder.chmod(0o755)


def test_what_cannot_be_written_is_one_line(folder: Path) -> None:
    path = made(folder / "r.sqlite")

    def write() -> None:
        for refused in (path, folder / "new.sqlite"):
            with pytest.raises(RecordingError, match=r"cannot be used: (attempt|unable)"):
                Store(refused, write=True)

    assert as_nobody(write) == 0


def test_reading_what_a_killed_writer_left_makes_no_file(folder: Path) -> None:
    path = killed(folder / "r.sqlite")
    for gone in ((), ("-shm",)):
        for end in gone:
            path.with_name(path.name + end).unlink()
        there = sorted(os.listdir(folder))
        with closing(Store(path, write=False)) as store:
            assert counted(store) == 3
        assert sorted(os.listdir(folder)) == there
    with closing(Store(path, write=True)) as store:
        assert counted(store) == 3
    assert os.listdir(folder) == ["r.sqlite"]


@pytest.mark.parametrize("write", [True, False])
def test_a_recording_that_vanishes_is_an_error(write: bool, folder: Path) -> None:
    path = made(folder / "r.sqlite")
    with closing(Store(path, write=write)) as store:
        path.rename(folder / "elsewhere")
        with pytest.raises(RecordingError, match=r"r.sqlite vanished while in use"):
            store.token_count(b"0")
        with pytest.raises(RecordingError, match="vanished"):
            store.add_token_count(b"9", 9)


def test_a_recording_that_is_replaced_is_an_error_for_its_writer(folder: Path) -> None:
    path, other = made(folder / "r.sqlite"), made(folder / "other.sqlite", 2)
    with closing(Store(path, write=True)) as writer, closing(Store(path, write=False)) as reader:
        other.replace(path)
        with pytest.raises(RecordingError, match="replaced while in use"):
            writer.add_token_count(b"9", 9)
        assert counted(reader) == 2


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_database_of_somebody_else_is_left_as_it_is(journal: str, folder: Path) -> None:
    path = folder / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE mine (row)")
        connection.commit()
    before = path.read_bytes()
    for write in (True, False):
        with pytest.raises(RecordingError, match="is no recording of amp"):
            Store(path, write=write)
    assert path.read_bytes() == before
    assert os.listdir(folder) == ["other.sqlite"]


@pytest.mark.parametrize("name", ["n" * 256, "file/r.sqlite"])
def test_a_name_that_cannot_be_is_one_line(name: str, folder: Path) -> None:
    (folder / "file").touch()
    for write in (True, False):
        with pytest.raises(RecordingError):
            Store(folder / name, write=write)


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.sqlite")), ids=lambda path: path.stem)
def test_what_ships_has_no_log(path: Path) -> None:
    assert path.read_bytes()[18:20] == b"\1\1"


ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r"


@pytest.mark.parametrize(
    "statements",
    [
        (
            "ALTER TABLE meta RENAME TO m",
            f"CREATE VIEW meta AS SELECT x, x AS value FROM ({ENDLESS})",
        ),
        (
            "ALTER TABLE counts RENAME TO c",
            f"CREATE VIEW counts AS SELECT x, x AS y FROM ({ENDLESS})",
        ),
        ("CREATE TRIGGER t AFTER INSERT ON counts BEGIN DELETE FROM counts; END",),
        ("CREATE TABLE more (x)",),
        ("DROP TABLE samples",),
        ("ALTER TABLE samples DROP COLUMN seconds",),
        ("ALTER TABLE samples ADD COLUMN more TEXT",),
    ],
)
def test_a_file_with_other_tables_is_refused_before_anything_is_read(
    statements: tuple[str, ...], tmp_path: Path
) -> None:
    path = made(tmp_path / "foreign.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    for write in (False, True):
        with pytest.raises(RecordingError, match="has other tables than one of format 2"):
            Store(path, write=write)


USAGE = Usage(model_calls=1, prompt_tokens=2, completion_tokens=1, seconds=0.5)


@pytest.mark.parametrize(
    "change",
    [
        "samples SET prompt_tokens = -5",
        "samples SET seconds = 9e999",
        "samples SET log_probs = x'0102030405'",
        "samples SET entropies = x'0000c07f'",
        "probes SET dollars = -1.0",
        "probes SET log_probs = '[]'",
        "probes SET log_probs = '{\"a\": NaN}'",
        "probes SET log_probs = '{\"a\": 1000}'",
        'probes SET log_probs = \'{"a": "b"}\'',
        "counts SET tokens = -1",
        "tool_uses SET result = '{'",
        "tool_uses SET result = '[]'",
        'tool_uses SET result = \'{"tool": 1, "input": "", "output": ""}\'',
        "tool_uses SET result = json_set(result, '$.seconds', -5)",
        "tool_uses SET result = json_set(result, '$.seconds', 'NaN')",
        "meta SET value = '{\"name\": 5}' WHERE name = 'card'",
        "meta SET value = replace(hex(zeroblob(50000)), '00', '[') WHERE name = 'card'",
    ],
)
def test_a_row_that_no_recording_has_is_told_in_one_line(change: str, tmp_path: Path) -> None:
    path = made(tmp_path / "foreign.sqlite", 1)
    with closing(Store(path, write=True)) as store:
        sample = Sample("a", "stop", (-0.5,), (0.5,), USAGE, False)
        store.add_samples(b"key", {0: sample}, b"key", 2)
        store.add_next_token(b"key", NextToken({"a": -0.5}, USAGE))
        store.add_tool_use(b"key", ToolUse("python", "1", "1", seconds=0.1))

    def read() -> object:
        with closing(Store(path, write=False)) as store:
            rows = store.samples(b"key", 0, 1), store.next_token(b"key"), store.token_count(b"key")
            return *rows, store.tool_use(b"key"), store.identity()

    read()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(f"UPDATE {change}").rowcount > 0
    with pytest.raises(RecordingError) as caught:
        read()
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------- opened as a model


def test_a_replay_needs_a_recording(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no recording at .*none.sqlite; record it first"):
        RecordedModel(None, tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()
    with pytest.raises(InvalidInputError, match="needs a model"):
        RecordedModel(None, tmp_path / "none.sqlite", "record")
    with pytest.raises(InvalidInputError, match="expected record, replay or auto"):
        RecordedModel(scripted(), tmp_path / "none.sqlite", "play")  # type: ignore[arg-type]


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="directory does not exist"):
        RecordedModel(scripted(), tmp_path / "none" / "pool.sqlite")


@pytest.mark.parametrize("mode", ["auto", "replay"])
@pytest.mark.parametrize("content", [b"hello, I am no database", b"SQLite format 3\0" + b"x" * 900])
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, mode: str, content: bytes) -> None:
    path = tmp_path / "pool.sqlite"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"pool\.sqlite") as caught:
        RecordedModel(scripted(), path, mode)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.commit()
    connection.close()
    with pytest.raises(RecordingError, match="is no recording of amp"):
        RecordedModel(scripted(), path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    Store(path, write=True).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = '99' WHERE name = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(RecordingError, match=f"has format 99, this version reads {FORMAT}"):
        RecordedModel(scripted(), path)


async def test_a_new_file_is_empty_for_a_replay(tmp_path: Path) -> None:
    Store(tmp_path / "pool.sqlite", write=True).close()
    with pytest.raises(RecordingError, match="is empty; record it first"):
        RecordedModel(None, tmp_path / "pool.sqlite")


async def test_a_closed_recording_says_so(tmp_path: Path) -> None:
    model = RecordedModel(scripted(), tmp_path / "pool.sqlite")
    await model.close()
    await model.close()
    with pytest.raises(RecordingError, match="is closed"):
        await model.generate(Request(ask()))


def test_the_file_tells_who_made_it(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    asyncio.run(RecordedModel(scripted(), path, prompts=("gsm8k/3",)).close())
    connection = sqlite3.connect(path)
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    families = dict(connection.execute("SELECT family, version FROM prompts"))
    connection.close()
    assert json.loads(meta["card"])["name"] == "scripted"
    assert json.loads(meta["capabilities"])["log_probs"] is True
    assert meta["format"] == FORMAT
    assert meta["created"].startswith("20")
    assert families == {"gsm8k": "gsm8k/3"}


def test_a_recording_is_not_much_larger_than_what_it_holds(folder: Path) -> None:
    path, said = folder / "long.sqlite", "x" * 2500
    with closing(Store(path, write=True)) as store:
        store.set_identity(CARD, ALL_CAPABILITIES)
        for row in range(300):
            key = hashlib.sha256(bytes([row % 256, row // 256])).digest()
            store.add_tool_use(key, ToolUse("python", "1", said, seconds=0.1))
    assert 300 * 2500 < path.stat().st_size < 1.7 * 300 * 2500
