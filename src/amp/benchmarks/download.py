"""Where benchmark data lies on disk, how it gets there, and what of each benchmark is here.

No data is shipped with amp: `amp data get` fetches it from where each benchmark's own project
publishes it. A file appears under its final name only when it is whole and its SHA-256 is the one
known here; what an interrupted download has fetched is kept, and the next one goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from amp.benchmarks import BENCHMARKS, benchmark_names, load_benchmark
from amp.benchmarks.base import Requirements
from amp.errors import AmpError, InvalidInputError, MissingDependencyError
from amp.files import lock_directory
from amp.models.download import Progress, UnavailableError, finish, go_on, sha256_of


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a project publishes.

    Attributes:
        name: its name here.
        url: where it is.
        sha256: its hash, in hexadecimal.
        max_bytes: more than it has, so that another file is not fetched to its end.
    """

    name: str
    url: str
    sha256: str
    max_bytes: int = 10_000_000


def fetch(
    file: RemoteFile, folder: Path, progress: Progress, files: Sequence[RemoteFile] = ()
) -> Path:
    """Brings a file into a folder; one that is there and right is kept.

    Args:
        file: the file.
        folder: a directory that is there.
        progress: gets the bytes that are there so far, and those of the whole (0 if unknown).
        files: all files that belong into the folder, for the message that says what to do.

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
        go_on(file.url, partial, file.max_bytes, progress)
    except UnavailableError as error:
        absent = [one for one in files if not (folder / one.name).is_file()]
        names = " and ".join(f"{one.name} ({one.url})" for one in absent) or "the file"
        raise MissingDependencyError(
            f"cannot get {file.url}: {error}; run it again to go on from where it ended, or put "
            f"{names} into {folder.absolute()} by hand"
        ) from None
    return finish(partial, target, file.sha256, file.url)


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
    variable ``AMP_DATA``, amp/data in the user's cache. (The command line takes ``data`` of
    ``amp.toml`` for `explicit` where no option is given.)
    """
    if explicit is not None:
        return DataDirectory(explicit.expanduser(), "as it was named")
    if from_environment := os.environ.get(ENVIRONMENT_VARIABLE):
        return DataDirectory(Path(from_environment).expanduser(), ENVIRONMENT_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return DataDirectory(cache / "amp" / "data", "the default")


def find_data(name: str, explicit: Path | None = None) -> Path:
    """Returns the folder of one benchmark's data; a directory without it is an error.

    Args:
        name: name of the folder inside the data directory, such as ``gsm8k``.
        explicit: the data directory itself, if the caller has one.

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


def get_data(name: str, data: Path | None, progress: Progress) -> Path:
    """Brings a benchmark's data into the data directory, unless it is there; returns its folder.

    Args:
        name: a benchmark that has data.
        data: the data directory; None for the usual one (`data_directory`).
        progress: gets the bytes of a file that are there so far, and those of the whole (0 if
            unknown).

    Raises:
        InvalidInputError: if there is no such benchmark, what came is not what it should be, the
            directory cannot be written, or another process is fetching it.
        MissingDependencyError: if it cannot be fetched, or only by a person; says what to do.
    """
    fetch_into = load_benchmark(name, data=data).requirements.fetch
    if fetch_into is None:
        raise InvalidInputError(
            f"{name} needs no data (benchmarks with data: {', '.join(_with_data())})"
        )
    folder = data_directory(data).path / name
    try:
        with lock_directory(folder):
            fetch_into(folder, progress)
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder


def _with_data() -> Iterator[str]:
    for name in benchmark_names():
        with suppress(AmpError):  # of another package, and broken
            if load_benchmark(name).requirements.fetch is not None:
                yield name


@dataclass(frozen=True, slots=True)
class Survey:
    """What of one benchmark is here.

    Attributes:
        name: one of `amp.benchmarks.benchmark_names`.
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
        name: one of `amp.benchmarks.benchmark_names`.
        data: directory of the benchmarks' data; None to look in the usual places.

    Raises:
        InvalidInputError: if there is no such benchmark, or it is broken.
        MissingDependencyError: if it is of another package, which cannot be imported.
    """
    benchmark = load_benchmark(name, data=data)
    needs, scale = benchmark.requirements, benchmark.difficulty_scale
    sizes: dict[str, int | None] = dict.fromkeys(benchmark.splits)
    problem: str | None = None
    for split in sizes:
        try:
            sizes[split] = benchmark.size(split)
        except MissingDependencyError:
            pass
        except AmpError as error:
            problem = problem or str(error)
        except Exception as error:
            if name in BENCHMARKS:
                raise
            problem = problem or f"{name} cannot tell its size: {type(error).__name__}: {error}"
    return Survey(
        name=name,
        about=benchmark.about,
        install=needs.install if needs.missing else None,
        needs_data=needs.find is not None,
        data=_folder(needs, data),
        get=None if needs.fetch is None else f"amp data get {name}",
        problem=problem,
        sizes=sizes,
        levels=benchmark.levels,
        counts=scale.counts,
        boundaries=scale.boundaries,
        tools=(*benchmark.tools, *benchmark.environment_tools),
        max_steps=benchmark.max_steps,
    )


def _folder(needs: Requirements, data: Path | None) -> Path | None:
    if needs.find is None:
        return None
    try:
        return needs.find(data)
    except MissingDependencyError:
        return None
