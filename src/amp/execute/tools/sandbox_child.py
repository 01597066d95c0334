"""The child's side of the Python tool: limits itself, runs one program, reports one value.

Run by `amp.execute.sandbox` in a process of its own, never imported by amp: a program comes in on
standard input, and two lines go out on standard output. The first one is written before the program
runs, so that no program can forge it: the walls that stand, a bar, and what none of them keeps. The
second is the report: ``A`` and the value of `answer`, ``O`` and the last line printed, or ``E`` and
the error. Only the standard library, and little of it, because start-up time is paid at every call.

Four layers, because none is enough alone: the kernel's sandbox (`sandbox_kernel.py`: no
network, no file but the standard library's and the system's libraries to read, no system call but
those that computing takes; on Linux, each where the kernel has it); limits that the kernel holds
(memory, CPU, time, file size, processes); an audit hook that lets through only what arithmetic
needs (on every system, and the one that gives errors in words); an empty environment.

A program runs only where files, the network and other processes are each kept from it by the kernel
or by a container around this process (`KEEPERS`): the audit hook alone is no sandbox. Who asks for
``unsafe`` gets what there is.

What this does not hold off: a flaw of the kernel itself; the use of a processor and of memory up
to the limits; reading the files named above. A program can always lie about its answer, since the
answer is what it says.
"""

from __future__ import annotations

# Typing knows neither the core of `signal` (which itself is slow to import) nor the file beside.
import _signal  # type: ignore[import-not-found]
import builtins
import os
import resource
import sys

import sandbox_kernel  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:  # at run time, typing would take longer than all else here
    from typing import Any

# Events of the audit hook that computing and importing raise; every other event is refused, the
# ones that future versions of Python add among them.
HARMLESS = frozenset(
    {
        "array.__new__",
        "builtins.id",
        "builtins.input",
        "builtins.input/result",
        "compile",
        "exec",
        "import",
        "marshal.loads",
        "object.__delattr__",
        "object.__getattr__",
        "object.__setattr__",
        "open",
        "os.listdir",
        "os.scandir",
        "pickle.find_class",
        "sys._getframe",
        "sys._getframemodulename",
        "sys.unraisablehook",
        "time.sleep",
    }
)
# Modules that reach the system below the audit hook or start something outside of it.
REFUSED_MODULES = frozenset(
    {
        "_ctypes",
        "_interpreters",
        "_multiprocessing",
        "_posixsubprocess",
        "_socket",
        "_ssl",
        "_testcapi",
        "_testinternalcapi",
        "_xxsubinterpreters",
        "ctypes",
        "fcntl",
        "mmap",
        "multiprocessing",
        "pty",
        "socket",
        "ssl",
        "subprocess",
    }
)
# Where extension modules of the standard library find what they are linked with.
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")

CONTAINERS = frozenset({"bwrap", "docker"})
KEEPERS = {
    "files": CONTAINERS | {"landlock", "mounts"},
    "network": CONTAINERS | {"network", "seccomp"},
    "processes": CONTAINERS | {"seccomp"},
}
"""What has to be kept from a program, and the walls that do, each of them alone."""


def limit(memory_bytes: int, cpu_seconds: int) -> None:
    """Sets the limits that the kernel holds; a limit that is lower already stays as it is."""
    for kind, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):
            # Some systems know a limit but do not set it (macOS: address space). The wall clock,
            # the audit hook and the other limits hold there.
            continue


def build_walls(sandbox: str, parent: int) -> list[str]:
    """Builds what this system has of the kernel's sandbox, and returns which walls stand.

    Args:
        sandbox: what this process was started in; a container has namespaces of its own.
        parent: the process that this one ends with; 0 where a container sees to that.
    """
    readable = [*sys.path, os.path.join(sys.base_prefix, "lib"), *LIBRARIES]
    walls = [sandbox] if sandbox in CONTAINERS else sandbox_kernel.enter_namespaces(readable)
    if parent:
        sandbox_kernel.die_with_parent()
        if os.getppid() != parent:
            os._exit(1)  # it ended before the kernel was asked to tell
    if sandbox_kernel.install_landlock(readable):
        walls.append("landlock")
    if sandbox_kernel.install_seccomp_filter():
        walls.append("seccomp")
    return sorted(walls)


def install_audit_hook() -> None:
    """Installs the audit hook. It can't be taken off again."""
    readable = tuple(os.path.join(path, "") for path in sys.path)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    harmless, refused_modules = HARMLESS, REFUSED_MODULES
    # The program can replace every builtin, and have methods of its own in a subclass of str: the
    # hook takes nothing from builtins when it runs, and no text but a plain one.
    refused, text, number, kind = PermissionError, str, int, type

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in harmless:
            raise refused(f"{event} is not allowed here")
        if event == "import":
            module = arguments[0]
            if kind(module) is not text or module.partition(".")[0] in refused_modules:
                raise refused(f"module {text(module)} is not allowed here")
        elif event in ("open", "os.listdir", "os.scandir"):
            path = arguments[0]
            if event == "open":
                flags = arguments[2]
                if kind(flags) is not number or flags & writing:
                    raise refused("writing files is not allowed here")
            if kind(path) is not text or ".." in path or not f"{path}/".startswith(readable):
                raise refused("reading files is not allowed here")

    for name in [m for m in sys.modules if m.partition(".")[0] in refused_modules]:
        del sys.modules[name]
    sys.addaudithook(hook)


class Tail:
    """A standard output in memory that keeps the last `size` characters."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, size: int) -> None:
        self.size = size
        self.pieces: list[str] = []
        self.length = 0

    def write(self, text: str) -> int:
        self.pieces.append(text[-self.size :])
        self.length += len(self.pieces[-1])
        if self.length > 4 * self.size:
            self.pieces = [self.value()]
            self.length = len(self.pieces[0])
        return len(text)

    def value(self) -> str:
        return "".join(self.pieces)[-self.size :]

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def one_line(text: str) -> str:
    """The text without line breaks, what does not print written as an escape."""
    line = " ".join(text.split()).encode("utf-8", "replace").decode()
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def run(source: str, printed: Tail) -> str:
    """Runs the program and returns the report: a letter and one line."""
    space: dict[str, object] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        try:
            exec(compile(source, "<program>", "exec", dont_inherit=True), space)
        except SystemExit:
            printed.flush()  # an early end is an end; what counts is whether there is an answer
        answer = space.get("answer")
        if callable(answer) or hasattr(type(answer), "__next__"):
            return "E" + one_line(f"`answer` is of type {type(answer).__name__}, which is no value")
        if answer is not None:
            return "A" + one_line(str(answer))
    except BaseException as error:
        space.clear()  # after a MemoryError the report needs some memory
        return "E" + one_line(f"{type(error).__name__}: {error}").removesuffix(":")
    lines = [line for line in printed.value().splitlines() if line.strip()]
    if lines:
        return "O" + one_line(lines[-1])
    return "Ethe program neither set `answer` nor printed anything"


def main() -> None:
    folder, *numbers, sandbox, parent = sys.argv[1:]
    memory_bytes, seconds, output_bytes = map(int, numbers)
    sys.path.remove(folder)
    del sys.modules["sandbox_child"], sys.modules["sandbox_kernel"]
    _signal.alarm(seconds)  # where nobody is left to end it, it ends itself
    source = sys.stdin.buffer.read().decode("utf-8", "replace")
    # The program is given neither the pipe of the report nor anything else to write to.
    report = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.environ.clear()
    printed = Tail(output_bytes + 1)  # one more, so that the reader sees a line that was cut
    for name in ("stdout", "__stdout__"):
        setattr(sys, name, printed)
    for name in ("stderr", "__stderr__"):
        setattr(sys, name, Tail(output_bytes))
    sys.dont_write_bytecode = True
    sys.argv = sys.orig_argv = [""]
    for name in ("exit", "quit"):  # the interactive names that models use in programs, too
        setattr(builtins, name, sys.exit)
    limit(memory_bytes, seconds)
    walls = build_walls(sandbox, int(parent))
    open_ways = [name for name, keepers in KEEPERS.items() if keepers.isdisjoint(walls)]
    os.write(report, f"{' '.join(walls)}|{' '.join(open_ways)}\n".encode())
    if open_ways and sandbox != "unsafe":
        os._exit(0)
    install_audit_hook()
    text = run(source, printed)
    os.write(report, text.encode()[: output_bytes + 1])
    os._exit(0)  # no finalizers, no waiting for threads
