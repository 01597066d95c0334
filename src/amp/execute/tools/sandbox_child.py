"""The child's side of the Python tool: limits itself, runs one program, reports one value.

Run as a script by `amp.execute.tools.python`, never imported by amp: a program comes in on standard
input, and one line goes out on standard output, ``A`` and the value of `answer`, ``O`` and the last
line printed, or ``E`` and the error. Only the standard library, and little of it, because start-up
time is paid at every call.

Four layers, because none is enough alone: the kernel's sandbox (`sandbox_kernel.py`: no
network, no file but the standard library's and the system's libraries to read, no system call but
those that computing takes; on Linux, each where the kernel has it); limits that the kernel holds
(memory, CPU, file size, processes); an audit hook that lets through only what arithmetic needs (on
every system, and the one that gives errors in words); an empty environment.

What this does not hold off: a flaw of the kernel itself; the use of a processor and of memory up
to the limits; reading the files named above. Where a part of the kernel's sandbox is missing (all
of it on macOS, files on Linux before 5.13, system calls on any machine but x86-64, the network
where users may not make namespaces), the audit hook stands alone against a program that sets out to
break it, and an audit hook is no sandbox: run amp in a container there. A program can always lie
about its answer, since the answer is what it says.
"""

from __future__ import annotations

import builtins
import os
import resource
import sys

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


def install_kernel_sandbox() -> None:
    """Installs what of the kernel's sandbox this system has."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.append(here)
    import sandbox_kernel  # type: ignore[import-not-found]  # beside this script, as long as it is here

    sys.path.remove(here)
    del sys.modules["sandbox_kernel"]
    sandbox_kernel.install_network_namespace()
    libraries = (os.path.join(sys.base_prefix, "lib"), *LIBRARIES)
    sandbox_kernel.install_landlock([*sys.path, *libraries])
    sandbox_kernel.install_seccomp_filter()


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
    """Line breaks would end the report, and odd ones would break logs."""
    return " ".join(text.split())


def run(source: str, printed: Tail) -> str:
    """Runs the program and returns the report: a letter and one line."""
    space: dict[str, object] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        try:
            exec(compile(source, "<program>", "exec", dont_inherit=True), space)
        except SystemExit:
            printed.flush()  # an early end is an end; what counts is whether there is an answer
        answer = space.get("answer")
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
    memory_bytes, cpu_seconds, output_bytes = (int(value) for value in sys.argv[1:4])
    source = sys.stdin.buffer.read().decode("utf-8", "replace")
    # The program gets neither the pipe of the report nor anything else to write to.
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
    sys.argv = [""]
    for name in ("exit", "quit"):  # the interactive names that models use in programs, too
        setattr(builtins, name, sys.exit)
    limit(memory_bytes, cpu_seconds)
    install_kernel_sandbox()
    install_audit_hook()
    text = run(source, printed)
    os.write(report, text.encode("utf-8", "replace")[: output_bytes + 1])
    os._exit(0)  # no finalizers, no waiting for threads


if __name__ == "__main__":
    main()
