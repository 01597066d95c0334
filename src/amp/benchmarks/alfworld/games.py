"""The game files: where they lie, which there are, and how one is read.

A split is an archive ``SPLIT.tar.xz`` in the data directory or a folder ``json_2.1.1/SPLIT`` as
`amp data get` and `alfworld-download` leave it. An archive can't be read at random, so it is packed
anew once, as a zip file in the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from amp.benchmarks.download import ENVIRONMENT_VARIABLE, RemoteFile, fetch, find_data
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean
from amp.models.download import Progress

SPLITS = ("valid_seen", "train", "valid_train", "valid_unseen")

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""ALFWorld's six types, in its own order."""

_RELEASE = "json_2.1.1"
_GAME = "game.tw-pddl"
_MEMBER = re.compile(rf"(?:.*/)?([^/]+/[^/]+)/{re.escape(_GAME)}")
_LEFT_OUT = re.compile(r"movable|Sliced")  # as ALFWorld does: these can't be played as text
_GOAL = re.compile(r"Your task is to: (.+?)\.?\\?\"")
_UNPACKED = re.compile(rf"{_RELEASE}/[\w-]+/[\w-]+/[\w-]+/{re.escape(_GAME)}")
_GET_IT = "get the games with 'amp data get alfworld'"


@dataclass(frozen=True, slots=True)
class GameFile:
    """One game of the release.

    Attributes:
        id: ``SPLIT/FOLDER/TRIAL``, the same on every machine.
        path: the file, or the zip file that holds it.
        member: its name in the zip file; None for a file of its own.
    """

    id: str
    path: Path
    member: str | None = None

    @property
    def type(self) -> str:
        """One of `TASK_TYPES`."""
        return self.id.split("/")[1].split("-", 1)[0]

    def read(self, archive: zipfile.ZipFile | None = None) -> dict[str, Any]:
        """Returns the game's parts: domain, problem, grammar, walkthrough.

        Args:
            archive: the zip file, if it is open already; to open it takes longer than to read.

        Raises:
            InvalidInputError: if the file is damaged or no game.
        """
        try:
            if self.member is None:
                text = self.path.read_bytes()
            elif archive is not None:
                text = archive.read(self.member)
            else:
                with zipfile.ZipFile(self.path) as opened:
                    text = opened.read(self.member)
            game = json.loads(text)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InvalidInputError(f"{self._where} cannot be read: {error}; {_GET_IT}") from None
        parts = ("pddl_domain", "pddl_problem", "grammar")
        if not isinstance(game, dict) or not all(isinstance(game.get(p), str) for p in parts):
            raise InvalidInputError(
                f"{self._where} is no ALFWorld game: expected {', '.join(parts)} in it; {_GET_IT}"
            )
        return game

    def goal(self, game: Mapping[str, Any]) -> str:
        """Returns the goal in words.

        Raises:
            InvalidInputError: if the game states none.
        """
        if found := _GOAL.search(game["grammar"]):
            return found[1].strip().rstrip(".")
        raise InvalidInputError(f"{self._where} states no goal in its grammar; {_GET_IT}")

    @property
    def _where(self) -> str:
        return str(self.path) if self.member is None else f"{self.member} in {self.path}"


class Games:
    """The games of one split, those that ALFWorld leaves out left out, too.

    Args:
        split: one of `SPLITS`.
        data: directory of the benchmarks' data, or a directory that holds ``json_2.1.1``. If None,
            the default place; if there are no games and no other place was named, where
            ``alfworld-download`` leaves them (``ALFWORLD_DATA``).

    Raises:
        InvalidInputError: if there is no such split, or its archive is damaged.
        MissingDependencyError: if its data is not there.
    """

    def __init__(self, split: str, data: Path | None = None) -> None:
        if split not in SPLITS:
            raise InvalidInputError(
                f"unknown ALFWorld split {split!r}{did_you_mean(split, SPLITS)} "
                f"(splits: {', '.join(SPLITS)})"
            )
        self.split = split
        self._directory = games_directory(data)

    def ids(self, type_: str | None = None) -> Sequence[str]:
        """Returns the ids in a shuffled order that is the same everywhere and always.

        Args:
            type_: one of `TASK_TYPES`; None for all.
        """
        found = (f"{self.split}/{name}" for name in self._files)
        kept = (i for i in found if type_ is None or i.split("/")[1].split("-", 1)[0] == type_)
        return sorted(kept, key=lambda i: hashlib.sha256(i.encode()).digest())

    def read(self, type_: str | None = None) -> Iterator[tuple[GameFile, dict[str, Any]]]:
        """Yields the games in the order of `ids`, each with its parts.

        Raises:
            InvalidInputError: if one is damaged.
        """
        files = [self.find(id_) for id_ in self.ids(type_)]
        with contextlib.ExitStack() as stack:
            packed = next((file.path for file in files if file.member is not None), None)
            archive = None if packed is None else stack.enter_context(zipfile.ZipFile(packed))
            for file in files:
                yield file, file.read(archive)

    def find(self, id_: str) -> GameFile:
        """Returns a game by its id.

        Raises:
            InvalidInputError: if there is none.
        """
        name = id_.removeprefix(f"{self.split}/")
        if name not in self._files:
            hint = did_you_mean(name, tuple(self._files))
            raise InvalidInputError(f"no ALFWorld game {name!r} in split {self.split}{hint}")
        return self._files[name]

    @cached_property
    def _files(self) -> dict[str, GameFile]:
        """The games by ``FOLDER/TRIAL``."""
        for folder in (self._directory / _RELEASE / self.split, self._directory / self.split):
            if folder.is_dir():
                paths = {
                    p.parent.relative_to(folder).as_posix(): p for p in folder.glob(f"*/*/{_GAME}")
                }
                files = {name: self._file(name, path) for name, path in sorted(paths.items())}
                break
        else:
            archive = self._directory / f"{self.split}.tar.xz"
            if not archive.is_file():
                raise MissingDependencyError(
                    f"no ALFWorld games of split {self.split}: neither {archive} nor "
                    f"{self._directory / _RELEASE / self.split} is there; {_GET_IT}"
                )
            packed = _pack(archive)
            files = {name: self._file(name, packed, name) for name in _names(packed)}
        kept = {
            name: file
            for name, file in files.items()
            if file.type in TASK_TYPES and not _LEFT_OUT.search(name)
        }
        if not kept:
            raise MissingDependencyError(
                f"no ALFWorld games of split {self.split} in {self._directory}: expected "
                f"FOLDER/TRIAL/{_GAME}; {_GET_IT}"
            )
        return kept

    def _file(self, name: str, path: Path, member: str | None = None) -> GameFile:
        return GameFile(f"{self.split}/{name}", path, member)


def cache() -> Path:
    """Returns where packed archives are kept: amp/alfworld in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "amp" / "alfworld"


def games_directory(data: Path | None = None) -> Path:
    """Returns the directory that `Games` reads.

    Raises:
        MissingDependencyError: if it is not there.
    """
    if data is not None and (data.expanduser() / _RELEASE).is_dir():
        return data.expanduser()
    try:
        return find_data("alfworld", data)
    except MissingDependencyError:
        own = Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()
        told = data is not None or ENVIRONMENT_VARIABLE in os.environ
        if told or not (own / _RELEASE).is_dir():
            raise
        return own


def _names(packed: Path) -> list[str]:
    try:
        with zipfile.ZipFile(packed) as archive:
            return sorted(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidInputError(
            f"{packed} is damaged ({error}); delete it, and it is packed anew"
        ) from None


def _pack(archive: Path) -> Path:
    """Returns the archive as a zip file, which is made where it is not there yet.

    Its name holds the archive's hash, and it appears only when it is whole: what is interrupted
    begins anew, which takes seconds.
    """
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    name = archive.name.removesuffix(".tar.xz")
    packed = cache() / f"{name}-{digest}.zip"
    if packed.is_file():
        return packed
    packed.parent.mkdir(parents=True, exist_ok=True)
    draft = packed.with_name(f"{packed.name}.{os.getpid()}.part")
    try:
        _repack(archive, draft)
        draft.replace(packed)
    except (lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise InvalidInputError(f"{archive} is damaged ({error}); {_GET_IT}") from None
    except OSError as error:
        raise InvalidInputError(f"{packed} cannot be written: {error}") from None
    finally:
        draft.unlink(missing_ok=True)
    return packed


def _repack(archive: Path, draft: Path) -> None:
    from rich.console import Console
    from rich.progress import wrap_file

    size = archive.stat().st_size
    console = Console(stderr=True)
    with (
        archive.open("rb") as raw,
        wrap_file(raw, size, description=archive.name, console=console, transient=True) as counted,
        lzma.open(counted) as text,
        zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
    ):
        for name, content in _games_in(text):
            packed.writestr(name, content)


def _games_in(tar: IO[bytes] | lzma.LZMAFile) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=tar, mode="r|") as members:
        for member in members:
            if member.isfile() and (named := _MEMBER.fullmatch(member.name)):
                file = members.extractfile(member)
                assert file is not None
                yield named[1], file.read()


PUBLISHED = RemoteFile(
    "json_2.1.3_tw-pddl.zip",
    "https://github.com/alfworld/alfworld/releases/download/0.4.2/json_2.1.3_tw-pddl.zip",
    "5df77ea759f2211a4106082839ddbbb790f1ba4e7d097ed732cf453f72aa36cf",
    max_bytes=4_000_000_000,
)
"""The text games. The other archives of the release (json_2.1.1_json.zip and
json_2.1.1_pddl.zip) serve the 3D simulator and the making of games; no game needs them."""


def fetch_games(folder: Path, progress: Progress) -> None:
    """Brings the games into a folder.

    They are unpacked beside the place where they belong, and moved there in one step.
    """
    if (folder / _RELEASE).is_dir():
        return
    archive = fetch(PUBLISHED, folder, progress)
    draft = folder / f"{_RELEASE}.part"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            games = [name for name in packed.namelist() if _UNPACKED.fullmatch(name)]
            for name in games:
                packed.extract(name, draft)
    except (zipfile.BadZipFile, EOFError) as error:
        raise InvalidInputError(f"{archive} is damaged ({error}); delete it, try again") from None
    if not games:
        raise InvalidInputError(f"{archive} holds no games {_RELEASE}/SPLIT/FOLDER/TRIAL")
    (draft / _RELEASE).replace(folder / _RELEASE)
    draft.rmdir()
    archive.unlink()
