"""Gets one file of benchmark data from where its own project publishes it.

The file appears under its final name only when it is whole and its SHA-256 is the one known here;
what an interrupted download has fetched is kept, and the next one goes on from there.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from amp.errors import InvalidInputError, MissingDependencyError
from amp.models.download import Progress, sha256_of

_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a project publishes.

    Attributes:
        name: its name here.
        url: where it is.
        sha256: its hash, in hexadecimal.
    """

    name: str
    url: str
    sha256: str


def fetch(file: RemoteFile, folder: Path, progress: Progress) -> Path:
    """Brings a file into a folder; one that is there and right is kept.

    Args:
        file: the file.
        folder: a directory that is there.
        progress: gets the bytes that are there so far, and those of the whole (0 if unknown).

    Raises:
        InvalidInputError: if what came, or what is there under this name, has another hash.
        MissingDependencyError: if it cannot be fetched.
        OSError: if it cannot be written.
    """
    target, partial = folder / file.name, folder / f"{file.name}.part"
    if target.is_file():
        if sha256_of(target) != file.sha256:
            raise InvalidInputError(
                f"{target} is there, but it is not the file that {file.url} is known to be; "
                "move it away to get that one"
            )
        return target
    try:
        _resume(file.url, partial, progress)
    except _UnavailableError as error:
        raise MissingDependencyError(
            f"cannot get {file.url}: {error}; run it again to go on from where it ended, or put "
            f"the file into {folder.absolute()} by hand"
        ) from None
    found = sha256_of(partial)
    if found != file.sha256:
        partial.unlink()
        raise InvalidInputError(
            f"{file.url} came with SHA-256 {found[:16]}..., expected {file.sha256[:16]}...; it was "
            "removed, try again"
        )
    return partial.replace(target)


class _UnavailableError(Exception):
    """The download did not come to its end."""


def _resume(url: str, partial: Path, progress: Progress) -> None:
    """Goes on from what is there of a file, to its end."""
    begin = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is left to get: the hash will tell whether it is the file
            return
        raise _UnavailableError(f"HTTP status {error.code}") from None
    except (OSError, HTTPException) as error:
        raise _UnavailableError(_reason(error)) from None
    with answer:
        done = begin if answer.status == 206 else 0
        total = done + int(answer.headers.get("Content-Length") or 0)
        with partial.open("ab" if done else "wb") as out:
            while block := _read(answer):
                out.write(block)
                done += len(block)
                progress(done, total)
    if done < total:
        raise _UnavailableError(f"the connection ended at {done:,} of {total:,} bytes")


def _read(answer: HTTPResponse) -> bytes:
    # Apart from the writing, whose errors are the disk's and not the network's.
    try:
        return answer.read(_BLOCK_BYTES)
    except (OSError, HTTPException) as error:
        raise _UnavailableError(_reason(error)) from None


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(reason).split()) or type(error).__name__
