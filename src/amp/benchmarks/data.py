"""Where benchmark data lies on disk. Nothing is downloaded and nothing is shipped with amp."""

from __future__ import annotations

import os
from pathlib import Path

from amp.errors import MissingDependencyError

ENVIRONMENT_VARIABLE = "AMP_DATA"


def find_data(name: str, explicit: Path | None = None) -> Path:
    """Returns the folder of one benchmark's data.

    The data directory is the first of these that is given: `explicit` (the option ``--data``), the
    environment variable ``AMP_DATA``, ``../shared/data`` relative to the current directory. A
    directory that is given but does not hold the folder is an error; no other place is tried then.

    Args:
        name: name of the folder inside the data directory, such as ``gsm8k``.
        explicit: the data directory itself, if the caller was told one.

    Raises:
        MissingDependencyError: if the folder is not there; says where it was looked for and what
            to do.
    """
    from_environment = os.environ.get(ENVIRONMENT_VARIABLE)
    if explicit is not None:
        directory, origin = explicit, "--data"
    elif from_environment:
        directory, origin = Path(from_environment), ENVIRONMENT_VARIABLE
    else:
        directory, origin = Path("..", "shared", "data"), "the default"
    folder = directory.expanduser() / name
    if not folder.is_dir():
        raise MissingDependencyError(
            f"no data of {name}: {folder.absolute()} ({origin}) is not a directory; "
            f"put the data there, or name its parent with --data or {ENVIRONMENT_VARIABLE}"
        )
    return folder
