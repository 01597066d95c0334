"""Files that are written: whole or not at all, by one process at a time, and asked beforehand."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.files import (
    Lock,
    append_line,
    lock_directory,
    lock_file,
    read_file,
    replace_file,
    require_output_directory,
    require_output_file,
)


@given(contents=st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_a_file_holds_what_was_written_last_and_nothing_stays_beside_it(
    contents: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("files") / "new" / "file"
    for content in contents:
        replace_file(file, content)
        assert file.read_bytes() == content
    assert [beside.name for beside in file.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("room", range(0, 12, 3))
def test_a_line_that_finds_no_room_leaves_the_file_as_it_was(room: int, tmp_path: Path) -> None:
    append_line(tmp_path / "lines", "first")
    if (child := os.fork()) == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 + room, 6 + room))
        with pytest.raises(InvalidInputError, match="lines cannot be written: "):
            append_line(tmp_path / "lines", "the second one")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "lines").read_text() == "first\n"


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(b"half of it, and longer than what comes")
    replace_file(tmp_path / "file", b"whole")
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [("file", b"whole")]


def test_a_link_stays_one_and_a_pipe_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    replace_file(tmp_path / "link", b"whole")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"whole"
    replace_file(Path("/dev/null"), b"whole")
    require_output_file(Path("/dev/null"))
    assert not Path("/dev/null").is_file()


def test_a_lock_is_one_process_and_says_whose_it_is(tmp_path: Path) -> None:
    with lock_file(tmp_path / "notes.jsonl"):
        with pytest.raises(
            InvalidInputError, match=rf"notes.jsonl is in use by process {os.getpid()} on"
        ):
            lock_file(tmp_path / "notes.jsonl")
        assert (tmp_path / "notes.jsonl.lock").exists()
    assert not list(tmp_path.iterdir())
    lock_file(tmp_path / "notes.jsonl").release()


@pytest.mark.parametrize("left", [b"", b"[]", b'{"pid": 1, "host": "here", "since": 0}', b"\xff"])
def test_a_lock_file_that_was_left_behind_holds_nobody_up(left: bytes, tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(left)
    with Lock(tmp_path / "lock", tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ended", [signal.SIGKILL, None])
def test_a_lock_ends_with_its_process_and_a_fork_has_none(
    ended: signal.Signals | None, tmp_path: Path
) -> None:
    taken, told = os.pipe()
    if (child := os.fork()) == 0:
        lock = Lock(tmp_path / "lock", tmp_path)
        os.write(told, b"taken")
        if ended is not None:
            os.kill(os.getpid(), ended)
        lock.release()
        os._exit(0)
    os.read(taken, 5)
    os.waitpid(child, 0)
    lock = Lock(tmp_path / "lock", tmp_path)
    if (child := os.fork()) == 0:
        lock.release()  # of no effect for the parent
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(InvalidInputError, match="is in use"):
        Lock(tmp_path / "lock", tmp_path)
    lock.release()
    os.close(taken)
    os.close(told)


def test_a_file_system_without_locks_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with Lock(tmp_path / "lock", tmp_path):
        replace_file(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert caplog.messages == [
        f"{tmp_path}: no locks here; take care that one process writes at a time"
    ]


def test_a_lock_that_nobody_refers_to_is_free(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", tmp_path)
    del lock
    Lock(tmp_path / "lock", tmp_path).release()


UNWRITABLE = ["/dev/null/x", "/proc/x", "/proc/x/y", "n" * 256, "n" * 248, "x\0y", "file/x"]


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_cannot_be_written_is_refused_beforehand(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    if len(name) != 248:  # with what a file is called while it is written, too long
        with pytest.raises(InvalidInputError, match="cannot be written"):
            require_output_directory(tmp_path / name)
    with pytest.raises(InvalidInputError, match="cannot be written"):
        require_output_file(tmp_path / name)
    with pytest.raises((InvalidInputError, ValueError)):
        replace_file(tmp_path / name, b"")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_is_no_directory_and_the_reverse(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="Not a directory"):
        require_output_directory(tmp_path / "file")
    for refused in (require_output_file, lambda path: replace_file(path, b"")):
        with pytest.raises(InvalidInputError, match="Is a directory"):
            refused(tmp_path)


def test_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    require_output_directory(tmp_path / "a" / "b")
    require_output_file(tmp_path / "a" / "b.html")
    assert not list(tmp_path.iterdir())


def test_a_directory_that_stays_empty_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for path in (tmp_path / "old", tmp_path / "new" / "run"):
        lock_directory(path).release()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    with lock_directory(tmp_path / "new" / "run"):
        (tmp_path / "new" / "file").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_pipe_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        replace_file(tmp_path / "pipe", b"x")


def test_a_lock_that_is_a_link_to_another_file_leaves_that_file_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    for name in ("notes.jsonl.lock", "notes.jsonl.partial"):
        (tmp_path / name).symlink_to("mine")
    with pytest.raises(InvalidInputError, match="notes.jsonl"):
        lock_file(tmp_path / "notes.jsonl")
    with pytest.raises(InvalidInputError, match="notes.jsonl"):
        replace_file(tmp_path / "notes.jsonl", b"x")
    assert (tmp_path / "mine").read_text() == "precious"


def test_what_has_no_end_is_not_read_and_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "pipe") == b""  # nobody writes
    reader, writer = os.pipe()
    os.write(writer, b"lines")
    os.close(writer)
    assert read_file(Path(f"/dev/fd/{reader}")) == b"lines"
    os.close(reader)
    (tmp_path / "loop").symlink_to("loop")
    for path in ("/dev/zero", "/dev/full", str(tmp_path), "n" * 300, "nul\0", f"{tmp_path}/loop"):
        with pytest.raises(InvalidInputError, match="cannot be read"):
            read_file(Path(path))


def test_a_file_that_is_larger_than_the_memory_is_told(tmp_path: Path) -> None:
    vast = tmp_path / "vast"
    with vast.open("wb") as stream:
        stream.truncate(2**42)
    if (child := os.fork()) == 0:
        resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))
        with pytest.raises(InvalidInputError, match="cannot be read: it does not fit into memory"):
            read_file(vast)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_file_that_waits_for_more_is_not_waited_for() -> None:
    log = Path("/proc/kmsg")  # seems to be a file, and has no end
    if (child := os.fork()) == 0:
        signal.alarm(5)
        try:
            read_file(log)
        except InvalidInputError:
            os._exit(0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
