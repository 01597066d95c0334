"""Where each benchmark's data is published, and how it is brought into the data directory.

Gets one file of benchmark data from where its own project publishes it.

The file appears under its final name only when it is whole and its SHA-256 is the one known here;
what an interrupted download has fetched is kept, and the next one goes on from there.

What of each benchmark is here: packages, data, tasks. No package is loaded for it.

Where benchmark data lies on disk. None is shipped with amp; `amp data get` fetches it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from amp.benchmarks import load_benchmark
from amp.benchmarks.base import MEASURES, Benchmark
from amp.errors import AmpError, InvalidInputError, MissingDependencyError, did_you_mean
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


ENVIRONMENT_VARIABLE = "AMP_DATA"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The directory that holds a folder of data for each benchmark.

    Attributes:
        path: the directory, which may not be there.
        origin: who named it, in words.
    """

    path: Path
    origin: str


def data_directory(explicit: Path | None = None) -> DataDirectory:
    """Returns the data directory.

    It is the first of these that is given: `explicit` (the option ``--data``), the environment
    variable ``AMP_DATA``, ``../shared/data`` relative to the current directory if that is there,
    amp/data in the user's cache.
    """
    if explicit is not None:
        return DataDirectory(explicit.expanduser(), "--data")
    if from_environment := os.environ.get(ENVIRONMENT_VARIABLE):
        return DataDirectory(Path(from_environment).expanduser(), ENVIRONMENT_VARIABLE)
    shared = Path("..", "shared", "data")
    if shared.is_dir():
        return DataDirectory(shared, "the default")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return DataDirectory(cache / "amp" / "data", "the default")


def find_data(name: str, explicit: Path | None = None) -> Path:
    """Returns the folder of one benchmark's data; a directory without it is an error.

    Args:
        name: name of the folder inside the data directory, such as ``gsm8k``.
        explicit: the data directory itself, if the caller was told one.

    Raises:
        MissingDependencyError: if the folder is not there; says where it was looked for and what
            to do.
    """
    directory = data_directory(explicit)
    folder = directory.path / name
    if not folder.is_dir():
        raise MissingDependencyError(
            f"no data of {name}: {folder.absolute()} ({directory.origin}) is not a directory; "
            f"get it with 'amp data get {name}', or name its parent with --data or "
            f"{ENVIRONMENT_VARIABLE}"
        )
    return folder


_GSM8K = (
    "https://raw.githubusercontent.com/openai/grade-school-math/"
    "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data/"
)

PROBLEMS = (
    RemoteFile(
        "train.jsonl",
        f"{_GSM8K}train.jsonl",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    ),
    RemoteFile(
        "test.jsonl",
        f"{_GSM8K}test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    ),
)
"""GSM8K: both files of its repository."""

GAMES = RemoteFile(
    "json_2.1.3_tw-pddl.zip",
    "https://github.com/alfworld/alfworld/releases/download/0.4.2/json_2.1.3_tw-pddl.zip",
    "5df77ea759f2211a4106082839ddbbb790f1ba4e7d097ed732cf453f72aa36cf",
)
"""ALFWorld: the text games. The other archives of the release (json_2.1.1_json.zip and
json_2.1.1_pddl.zip) serve the 3D simulator and the making of games; no game needs them."""

PRODUCTS: Mapping[str, tuple[str, str]] = {
    "items_shuffle_1000.json": ("1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib", "levels small, small-human"),
    "items_ins_v2_1000.json": ("1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu", "levels small, small-human"),
    "items_human_ins.json": ("14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O", "levels small-human, full"),
    "items_shuffle.json": ("1A2whVgOO0euk5O13n2iYDM0bQRkkRduB", "level full"),
    "items_ins_v2.json": ("1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi", "level full"),
}
"""WebShop: the files by name, each with its number on Google Drive (as the original's setup.sh has
it) and the levels that it is for."""

_RELEASE = "json_2.1.1"  # the name of the folder is that of ALFWorld's first release still
_MEMBER = re.compile(rf"{_RELEASE}/[\w-]+/[\w-]+/[\w-]+/game\.tw-pddl")


def get_data(name: str, data: Path | None, progress: Progress) -> Path:
    """Brings a benchmark's data into the data directory, unless it is there; returns its folder.

    Args:
        name: a benchmark that has data: a key of `GETTERS`.
        data: the data directory; None for the usual one (`amp.benchmarks.download`).
        progress: gets the bytes of a file that are there so far, and those of the whole (0 if
            unknown).

    Raises:
        InvalidInputError: if there is no such benchmark, what came is not what it should be, or the
            directory cannot be written.
        MissingDependencyError: if it cannot be fetched, or only by a person; says what to do.
    """
    if name not in GETTERS:
        known = tuple(GETTERS)
        raise InvalidInputError(
            f"no data is known for {name!r}{did_you_mean(name, known)} "
            f"(benchmarks with data: {', '.join(known)})"
        )
    folder = data_directory(data).path / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        GETTERS[name](folder, progress)
    except OSError as error:
        raise InvalidInputError(f"cannot write {name} data to {folder}: {error}") from None
    return folder


def _problems(folder: Path, progress: Progress) -> None:
    for file in PROBLEMS:
        fetch(file, folder, progress)


def _games(folder: Path, progress: Progress) -> None:
    """Unpacks the games beside the place where they belong, and moves them there in one step."""
    if (folder / _RELEASE).is_dir():
        return
    archive = fetch(GAMES, folder, progress)
    draft = folder / f"{_RELEASE}.part"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            games = [name for name in packed.namelist() if _MEMBER.fullmatch(name)]
            for name in games:
                packed.extract(name, draft)
    except (zipfile.BadZipFile, EOFError) as error:
        raise InvalidInputError(f"{archive} is damaged ({error}); delete it, try again") from None
    if not games:
        raise InvalidInputError(f"{archive} holds no games {_RELEASE}/SPLIT/FOLDER/TRIAL")
    (draft / _RELEASE).replace(folder / _RELEASE)
    draft.rmdir()
    archive.unlink()


def _products(folder: Path, progress: Progress) -> None:
    missing = {name: entry for name, entry in PRODUCTS.items() if not (folder / name).is_file()}
    if missing:
        listed = "".join(
            f"\n  {name}: https://drive.google.com/uc?id={number} ({levels})"
            for name, (number, levels) in missing.items()
        )
        raise MissingDependencyError(
            f"WebShop's project keeps its data on Google Drive, where a person has to get it; put "
            f"the files of the level that you want into {folder.absolute()}:{listed}"
        )


GETTERS: Mapping[str, Callable[[Path, Progress], None]] = {
    "alfworld": _games,
    "gsm8k": _problems,
    "webshop": _products,
}
"""What brings the data of a benchmark into its folder."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What of one benchmark is here.

    Attributes:
        name: a key of `amp.benchmarks.BENCHMARKS`.
        about: what its tasks are, in a few words.
        install: the command that installs the package that is missing; None if none is.
        needs_data: whether it reads data.
        data: the folder of its data; None if it is not there, or not needed.
        get: the command that gets its data; None if it needs none.
        problem: what is wrong with the data that is there; None if nothing is.
        sizes: tasks by split, of the usual level; None where they are not there.
        levels: its levels; empty if it has none.
        counts: what its difficulty counts.
        boundaries: the largest difficulty of the easiest third, and of the middle one.
        tools: the tools that a step can use.
        max_steps: the usual limit of plan steps.
    """

    name: str
    about: str
    install: str | None
    needs_data: bool
    data: Path | None
    get: str | None
    problem: str | None
    sizes: Mapping[str, int | None]
    levels: tuple[str, ...]
    counts: str
    boundaries: tuple[float, float]
    tools: tuple[str, ...]
    max_steps: int


def survey(name: str, data: Path | None = None) -> Survey:
    """Returns what of a benchmark is here; whatever is missing or damaged is a part of the answer.

    Takes milliseconds. Only the first look at an ALFWorld archive or at WebShop's products takes
    seconds, since they are packed anew for reading, once.

    Args:
        name: a key of `amp.benchmarks.BENCHMARKS`.
        data: directory of the benchmarks' data; None to look in the usual places.

    Raises:
        InvalidInputError: if there is no such benchmark.
    """
    benchmark = load_benchmark(name, data=data)
    facts = _FACTS[name]
    folder = _found(facts, data)
    sizes: dict[str, int | None] = dict.fromkeys(benchmark.splits)
    problem: str | None = None
    for split in sizes:
        try:
            sizes[split] = facts.size(benchmark, split, data)
        except MissingDependencyError:
            pass
        except AmpError as error:
            problem = problem or str(error)
    measure = MEASURES[name]
    return Survey(
        name=name,
        about=facts.about,
        install=_missing_extra(name, facts.modules),
        needs_data=facts.find is not None,
        data=folder,
        get=None if facts.find is None else f"amp data get {name}",
        problem=problem,
        sizes=sizes,
        levels=tuple(benchmark.levels),
        counts=measure.counts,
        boundaries=measure.boundaries,
        tools=(*benchmark.tools, *benchmark.environment_tools),
        max_steps=benchmark.max_steps,
    )


def _missing_extra(extra: str, modules: tuple[str, ...]) -> str | None:
    # Looked for, not imported: ALFWorld's packages alone take seconds.
    if all(importlib.util.find_spec(module) for module in modules):
        return None
    return f"pip install 'adaptive-meta-planning[{extra}]'"


# --------------------------------------------------------------------------- the benchmarks


@dataclass(frozen=True, slots=True)
class _Facts:
    about: str
    modules: tuple[str, ...]
    find: Callable[[Path | None], Path] | None
    size: Callable[[Benchmark, str, Path | None], int]


def _found(facts: _Facts, data: Path | None) -> Path | None:
    if facts.find is None:
        return None
    try:
        return facts.find(data)
    except MissingDependencyError:
        return None


def _size(benchmark: Benchmark, split: str, data: Path | None) -> int:
    return len(benchmark.tasks(split))


def _size_of_babyai(benchmark: Benchmark, split: str, data: Path | None) -> int:
    from amp.benchmarks.babyai import SPLITS  # told without minigrid

    return len(SPLITS[split])


def _size_of_alfworld(benchmark: Benchmark, split: str, data: Path | None) -> int:
    from amp.benchmarks.alfworld.games import Games  # told without TextWorld, from the file list

    return len(Games(split, data).ids())


def _find_games(data: Path | None) -> Path:
    from amp.benchmarks.alfworld.games import games_directory

    return games_directory(data)


_FACTS: Mapping[str, _Facts] = {
    "alfworld": _Facts(
        "household tasks as text games", ("alfworld", "textworld"), _find_games, _size_of_alfworld
    ),
    "babyai": _Facts(
        "missions in rooms and mazes, told in words",
        ("gymnasium", "minigrid"),
        None,
        _size_of_babyai,
    ),
    "gsm8k": _Facts("grade school word problems", (), lambda data: find_data("gsm8k", data), _size),
    "webshop": _Facts(
        "shopping by instruction", (), lambda data: find_data("webshop", data), _size
    ),
}
