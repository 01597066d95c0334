"""Where benchmark data lies on disk. None is shipped with amp; `amp data get` fetches it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from amp.errors import MissingDependencyError

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
