"""Runs command lines in forked children, so that hundreds of them pay for the imports once."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from amp import cli

SECONDS = 10.0
"""No command line of these tests may last longer, by the clock of a machine with nothing else to do
(`seconds_of`); none of them has much to do."""

FILE_BYTES = 64 << 20
"""That a file of a child can have; a lower limit is like a full disk."""

SECRET = "KEYMARK-9f31-c0ffee"
"""The key that every child has, and that nothing may show."""

_MODULES = (
    *("amp.evaluate.sweep", "amp.evaluate.record", "amp.evaluate.record", "amp.report.pages"),
    *("amp.simulate.compare", "amp.simulate.build", "amp.report.validity_report", "amp.latency"),
    *("amp.models.recorded", "amp.models.catalog", "amp.benchmarks.gsm8k", "amp.learn.pipeline"),
    *("scipy.stats", "pandas", "plotly.graph_objects", "plotly.offline", "jinja2"),
    *(
        "amp.annotations.collect",
        "amp.annotations.collect",
        "amp.learn.pretrain",
        "amp.cli.render",
    ),
)
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command line came to; no code if it had to be stopped.

    Its seconds are those of `seconds_of`; those that it worked are of all its threads.
    """

    arguments: tuple[str, ...]
    code: int | None
    out: str
    error: str
    seconds: float
    worked: float

    @property
    def faults(self) -> list[str]:
        """What must not be, whatever the command line was."""
        both = self.out + self.error
        found = [
            (self.code is None, f"lasted for more than {SECONDS:.0f} s"),
            (self.worked > SECONDS, f"worked for {self.worked:.0f} s"),
            (self.code is not None and self.code not in CODES, f"ended with {self.code}"),
            ("Traceback (most recent" in both, "traceback"),
            (SECRET in both, "shows the key"),
            (_STEERING.search(both) is not None, "steers the terminal"),
            (self.code not in (0, 1, None) and not self.error.strip(), "failed without a word"),
        ]
        return [fault for holds, fault in found if holds]

    def __str__(self) -> str:
        return (
            f"{', '.join(self.faults)}: {self.arguments}\n{self.out[-500:]}\n{self.error[-3000:]}"
        )


CODES = {0, 1, 2, 3, 4, 5}
"""Exit codes that the documentation names and that need no signal."""


def load() -> None:
    """Imports what commands import, so that the children need not."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # a forked child has none of its parent's threads
    for module in _MODULES:
        importlib.import_module(module)


def run(arguments: Sequence[str], folder: Path, variables: dict[str, str] | None = None) -> Outcome:
    """Runs a command line in a child of this process.

    Args:
        arguments: what follows ``amp``.
        folder: where it runs, and which becomes its home.
        variables: more of its environment.
    """
    child = start(arguments, folder, variables)
    status, seconds, worked = _wait(child)
    return Outcome(tuple(arguments), status, *said(folder), seconds, worked)


def start(
    arguments: Sequence[str],
    folder: Path,
    variables: dict[str, str] | None = None,
    *,
    name: str = "",
    main: Callable[[], object] = cli.main,
) -> int:
    """Starts what `run` waits for; returns the process.

    Args:
        arguments: as of `run`.
        folder: as of `run`.
        variables: as of `run`.
        name: tells the outputs of several in one folder apart. The input is ``.stdin`` and it, if
            there is such a file.
        main: what is run.
    """
    if child := os.fork():
        return child
    code = 70
    try:
        paths = [folder / f".std{kind}{name}" for kind in ("in", "out", "err")]
        code = _in_child(arguments, folder, paths, variables or {}, main)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        with suppress(OSError):  # a full disk, or the child would go on as its parent
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def said(folder: Path, name: str = "") -> tuple[str, str]:
    """What the child printed, and its errors."""
    out, error = (folder / f".std{kind}{name}" for kind in ("out", "err"))
    return out.read_bytes().decode("utf-8", "replace"), error.read_bytes().decode(
        "utf-8", "replace"
    )


def seconds_of(process: int) -> float:
    """A reading of the clock that stands still while a process is kept waiting for a processor.

    So the time between two readings is what would have passed on a machine with nothing else to
    do, whether the process worked, slept or hung. It goes by the process's main thread. Where the
    kernel does not tell (other than Linux), it is the clock.
    """
    queued = 0
    with suppress(OSError):
        queued = int(Path(f"/proc/{process}/schedstat").read_text().split()[1])
    return time.monotonic() - queued / 1e9


def _wait(child: int) -> tuple[int | None, float, float]:
    """The exit code of a child (None if it had to be stopped), how long it lasted and worked."""
    began = time.monotonic()  # it has not waited for a processor yet
    seconds, ended = 0.0, None
    while seconds <= SECONDS and ended is None:
        time.sleep(0.005)
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        seconds = seconds_of(child) - began
    if ended is None:
        os.killpg(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    code = None if ended is None else os.waitstatus_to_exitcode(status)
    return code, seconds, used.ru_utime + used.ru_stime


def _in_child(
    arguments: Sequence[str],
    folder: Path,
    paths: Sequence[Path],
    variables: dict[str, str],
    main: Callable[[], object],
) -> int:
    import resource

    os.setsid()
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    for number, path in enumerate(paths):
        if number == 0 and not path.exists():
            path = Path(os.devnull)
        flags = os.O_RDONLY if number == 0 else os.O_RDWR | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    nobody = "http://127.0.0.1:9"
    os.environ.update(
        {
            **{"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "100"},
            **{"AMP_MODELS": str(folder / "models"), "AMP_MODEL": "random", "TERM": "dumb"},
            **{"HF_ENDPOINT": nobody, "https_proxy": nobody, "http_proxy": nobody},
            **{"AMP_API_KEY": SECRET, "OPENAI_BASE_URL": f"{nobody}/v1"},
            **variables,
        }
    )
    sys.argv = ["amp", *arguments]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
