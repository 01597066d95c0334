"""The command line: one thin function a command, in files by what they are about.

Exit codes: 0 done; 1 no answer was found; 2 bad input; 3 a package, model or data set is missing;
4 the model failed; 5 the recording does not fit; 130 interrupted (a run can be resumed).
"""

from __future__ import annotations

import sys
from typing import NoReturn

from amp.cli import annotate, assess, info, record, report, run, sweep, train
from amp.cli.app import INTERRUPTED, app
from amp.errors import (
    AmpError,
    InvalidInputError,
    LimitReachedError,
    MissingDependencyError,
    ModelError,
    RecordingError,
)

__all__ = [
    "EXIT_CODES",
    "INTERRUPTED",
    "annotate",
    "app",
    "assess",
    "info",
    "main",
    "record",
    "report",
    "run",
    "sweep",
    "train",
]

EXIT_CODES: dict[type[AmpError], int] = {
    InvalidInputError: 2,
    LimitReachedError: 2,
    MissingDependencyError: 3,
    ModelError: 4,
    RecordingError: 5,
}


def main() -> None:
    """Runs the command line; an error that a person can put right is one line, no traceback."""
    debug = "--debug" in sys.argv
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
    except AmpError as error:
        if debug:
            raise
        _fail(str(error), EXIT_CODES.get(type(error), 2))


def _fail(message: str, code: int) -> NoReturn:
    print(f"amp: {message}", file=sys.stderr)
    sys.exit(code)
