"""The command line: one thin function a command, in files by what they are about.

Exit codes: 0 done; 1 no answer was found, or nobody reads it any more (a closed pipe); 2 bad
input; 3 a package, model or data set is missing; 4 the model failed; 5 the recording does not fit;
130 interrupted (a run can be resumed).
"""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from typing import NoReturn

from typer.exceptions import Abort, TyperException

from amp.cli import (
    annotate,
    assess,
    demo,
    export,
    info,
    keys,
    lattices,
    pools,
    ratings,
    record,
    report,
    run,
    serve,
    terminal,
    train,
)
from amp.cli.app import INTERRUPTED, app
from amp.errors import (
    AmpError,
    EnvironmentFailedError,
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
    "demo",
    "export",
    "info",
    "keys",
    "lattices",
    "main",
    "pools",
    "ratings",
    "record",
    "report",
    "run",
    "serve",
    "terminal",
    "train",
]

EXIT_CODES: dict[type[Exception], int] = {
    InvalidInputError: 2,
    EnvironmentFailedError: 2,
    LimitReachedError: 2,
    MissingDependencyError: 3,
    ModelError: 4,
    RecordingError: 5,
}


def main() -> None:
    """Runs the command line; an error that a person can put right is one line, no traceback."""
    terminal.prepare()
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = app(args=arguments, prog_name="amp", standalone_mode=False)
        sys.stdout.flush()
    except (AmpError, TyperException, OSError, RecursionError) as error:
        if debug:
            raise
        _fail(error)
    except ModuleNotFoundError as error:
        if debug or not (extras := _extras_of(error.name or "")):
            raise
        command = " or ".join(f"'adaptive-meta-planning[{extra}]'" for extra in extras)
        _fail(MissingDependencyError(f"this needs {error.name}; run: pip install {command}"))
    except Abort:
        sys.exit(INTERRUPTED)
    if code:
        sys.exit(code)


def _fail(error: Exception) -> NoReturn:
    """Says in one line what went wrong, and ends with the code of its kind."""
    if isinstance(error, BrokenPipeError):
        # Python would try to write what is left at its end, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    message, code = str(error), EXIT_CODES.get(type(error), 2)
    if isinstance(error, TyperException):
        message, code = _usage(error), error.exit_code
    elif isinstance(error, OSError):
        place = "" if error.filename is None else f"{error.filename}: "
        message = f"{place}{error.strerror or error}"
    elif isinstance(error, RecursionError):
        message = "what was given is nested too deeply to be read"
    if message:
        terminal.say(f"amp: {terminal.shown_in_line(message)}", error=True)
    sys.exit(code)


def _extras_of(module: str) -> list[str]:
    """The extras that bring a module, by what the installed amp says of itself."""
    package = module.partition(".")[0]
    found = set()
    for line in metadata.requires("adaptive-meta-planning") or ():
        named = re.match(r"""([\w.-]+).*extra == ["'](\w+)["']""", line)
        if named and named[1].lower().replace("-", "_") == package.lower():
            found.add(named[2])
    return sorted(found - {"dev", "docs"})


def _usage(error: TyperException) -> str:
    """What is wrong with a command line, and where to read what is right."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    if not message or context is None:
        return message
    return f"{message[0].lower()}{message[1:]}; see {context.command_path} --help"
