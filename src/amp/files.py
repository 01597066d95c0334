"""Files that outlive kills, full disks and a second writer: locked, replaced whole, checked first.

Whatever goes wrong with a file is an `InvalidInputError` of one line.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import platform
import stat
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from amp.errors import InvalidInputError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What file systems say that have none."""

_TRIES = 1000
"""To get a lock file before another process removes it; one or two are enough."""

_log = logging.getLogger(__name__)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system says against writing a file into one line.

    Raises:
        InvalidInputError: in place of an OSError of the block.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InvalidInputError(
            f"{path} cannot be written: {reason}; make room or choose another place"
        ) from None


def read_file(path: Path) -> bytes:
    """Reads a whole file.

    A pipe is read to its end, and is empty if nobody writes to it; a device may have no end.

    Raises:
        InvalidInputError: if it cannot be read, or is a directory or a device.
    """
    try:
        # Without waiting for somebody who writes, which may never come.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
                raise InvalidInputError(f"{path} cannot be read: it is a device, expected a file")
            if stat.S_ISFIFO(mode):  # and not what only looks like a file, such as /proc/kmsg
                os.set_blocking(descriptor, True)
            return stream.read() or b""
    except MemoryError:
        raise InvalidInputError(f"{path} cannot be read: it does not fit into memory") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{path} cannot be read: {reason}") from None


def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Replaces a file in one go: readers and crashes see the old one or the new one.

    Writers of the same file take turns. What a killed one has left of ``NAME.partial`` is
    overwritten by the next.

    Args:
        path: the file.
        content: all of it, or its parts, which need not be in memory together.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    parts = (content,) if isinstance(content, bytes) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # /dev/stdout; a directory is refused here
            # Without waiting for somebody who reads a pipe, which may never come.
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "wb") as stream:
                os.set_blocking(descriptor, True)
                stream.writelines(parts)
            return
        path = path.resolve()  # what a link points to is replaced, and not the link
        partial = path.with_name(path.name + ".partial")
        descriptor = _open_locked(partial, wait=True)
        try:
            os.truncate(descriptor, 0)
            with open(descriptor, "wb", closefd=False) as stream:
                stream.writelines(parts)
                stream.flush()
                os.fsync(descriptor)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


def append_line(path: Path, line: str) -> int:
    """Adds a line to a file; when this returns, it is on disk, and otherwise none of it is.

    Returns:
        Where in the file the line begins.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    content = line.encode() + b"\n"
    with writing(path), path.open("ab", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        try:
            if stream.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)
            raise
    return size


# --------------------------------------------------------------------------- one writer at a time


class Lock:
    """A claim on a run, a training or a file, which one process has at a time.

    The system holds it for the process and lets go of it however the process ends. So a lock file
    that a killed process left is free, and nobody has to find out whether its owner is alive.

    Args:
        path: the lock file; it says who has the lock, and is removed with `release`.
        what: what is claimed, for the message.
        wait: whether to wait for its end if another process has it.
        made: directories that were made for it, innermost first; what is empty of them in the end
            goes with it.

    Raises:
        InvalidInputError: if another process has it and this is not to wait, or the lock file
            cannot be written.
    """

    def __init__(
        self, path: Path, what: Path, *, wait: bool = False, made: Iterable[Path] = ()
    ) -> None:
        with writing(what):
            try:
                descriptor = _open_locked(path, wait=wait)
            except BlockingIOError:
                raise InvalidInputError(
                    f"{what} is in use by {_owner(path)}; wait for its end, or choose another place"
                ) from None
            os.truncate(descriptor, 0)
            owner = {"pid": os.getpid(), "host": platform.node(), "since": time.time()}
            os.write(descriptor, json.dumps(owner).encode() + b"\n")
        self._path, self._what, self._descriptor = path, what, descriptor
        # Also when nobody refers to it any more, and at the end of the process.
        ours = (path, tuple(made), descriptor, os.getpid())
        self._finalizer = weakref.finalize(self, _let_go, *ours)

    def confirm(self) -> None:
        """Makes sure that nobody took the lock file away, as who then comes has a lock, too.

        Raises:
            InvalidInputError: if somebody did, or it is released.
        """
        if _is_at(self._descriptor, self._path):
            return
        raise InvalidInputError(
            f"{self._what} was removed or replaced while it was in use; what was written is left"
            " as it is"
        )

    def release(self) -> None:
        """Lets others have it. Twice is fine."""
        self._finalizer()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def lock_file(path: Path, *, wait: bool = False) -> Lock:
    """A lock on a file that is about to be changed, in ``NAME.lock`` beside it.

    Raises:
        InvalidInputError: as `Lock`.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return Lock(path.with_name(path.name + ".lock"), path, wait=wait)


def lock_directory(path: Path) -> Lock:
    """A lock on a directory that is about to be filled; makes it, and leaves none that is empty.

    Raises:
        InvalidInputError: as `Lock`.
    """
    require_output_directory(path)
    with writing(path):
        made = [directory for directory in (path, *path.parents) if not directory.exists()]
        path.mkdir(parents=True, exist_ok=True)
    return Lock(path / "lock", path, made=made)


def _open_locked(path: Path, *, wait: bool) -> int:
    """Opens a file that nobody else has open in this way.

    Raises:
        BlockingIOError: if somebody has and this is not to wait.
        OSError: if it cannot be opened.
    """
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            _warn_of_no_locks(path.parent)
        if _is_at(descriptor, path):  # and the one before has not removed or renamed it
            return descriptor
        os.close(descriptor)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


@cache
def _warn_of_no_locks(directory: Path) -> None:
    _log.warning("%s: no locks here; take care that one process writes at a time", directory)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether a path leads to a file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _let_go(path: Path, made: Iterable[Path], descriptor: int, process: int) -> None:
    if os.getpid() == process and _is_at(descriptor, path):  # a fork has only a copy
        with suppress(OSError):
            path.unlink()
            for directory in made:
                directory.rmdir()
    os.close(descriptor)


def _owner(path: Path) -> str:
    """Who has a lock, and for how long, as far as its file says so."""
    try:
        owner = json.loads(path.read_bytes())
        seconds = max(0, round(time.time() - float(owner["since"])))
        pid, host = int(owner["pid"]), str(owner["host"])
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
    minutes, hours = seconds // 60, seconds // 3600
    age = f"{hours} h" if hours else f"{minutes} min" if minutes else f"{seconds} s"
    return f"process {pid} on {host} (begun {age} ago)"


# --------------------------------------------------------------------------- asked beforehand


def require_output_file(path: Path) -> None:
    """Makes sure that a file can be written or replaced, before hours of work are spent on it.

    Raises:
        InvalidInputError: if it cannot; says why.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _require_names(path.with_name(path.name + ".partial"))
        if path.is_file() or not path.exists():  # and not /dev/stdout
            _require_room(path.resolve().parent)


def require_output_directory(path: Path) -> None:
    """Makes sure that a directory can be made, or written into if it is there.

    Raises:
        InvalidInputError: if it cannot; says why.
    """
    with writing(path):
        _require_names(path / "episodes.jsonl.partial")
        _require_room(path)


def _require_names(path: Path) -> None:
    # Asked of the names themselves, as what they are to stand in may not be there yet.
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    if "\0" in str(path):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _require_room(directory: Path) -> None:
    """Writes a byte into a directory or, if it is not there, into the nearest one above it."""
    while not directory.exists():
        directory = directory.parent
    # Tried rather than asked, since only the system knows what it refuses to whom.
    probe = directory / f".amp-{os.getpid()}"
    try:
        probe.write_bytes(b"\n")
    finally:
        with suppress(OSError):
            probe.unlink()
