"""Sandboxes: what stands around a program that a model wrote, and how it is run inside.

Every sandbox starts the same child (`tools/sandbox_child.py`), which builds what walls the kernel
has, says which ones stand, and runs nothing where one is missing. So each implementation is a
command, and the answer to "which walls hold?" is the child's own, at the start and in every run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean

CHILD = Path(__file__).parent / "tools" / "sandbox_child.py"
KERNEL = CHILD.with_name("sandbox_kernel.py")

HEAD_BYTES = 200
"""What the line about the walls takes at most."""

_CHUNK_BYTES = 65_536
_SECONDS_TO_ASK = 20.0
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")

_START = "import sys; sys.path.append(sys.argv[1]); import sandbox_child; sandbox_child.main()"
_OF_DOCKER = ("DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST", "CONTAINER_HOST")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """What one program may take.

    Attributes:
        seconds: wall time.
        memory_bytes: address space.
        output_bytes: longest result.
    """

    seconds: float
    memory_bytes: int
    output_bytes: int


@runtime_checkable
class Sandbox(Protocol):
    """Runs a program so that it reaches no file, no network and no other process.

    Attributes:
        name: what `load_sandbox` and the setting ``sandbox`` call it.
        environment: of the command; the program has none.
    """

    @property
    def name(self) -> str: ...

    @property
    def environment(self) -> dict[str, str]: ...

    def __hash__(self) -> int: ...

    def command(self, limits: ProgramLimits) -> list[str]:
        """The command that reads a program from its standard input and reports as the child does.

        What it starts ends when its process group is killed, or soon after by itself.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalSandbox:
    """A process behind the kernel's own walls: Landlock, seccomp, and namespaces (Linux).

    Attributes:
        unsafe: whether it runs programs even where walls are missing.
    """

    unsafe: bool = False

    @property
    def name(self) -> str:
        return "unsafe" if self.unsafe else "local"

    @property
    def environment(self) -> dict[str, str]:
        return {}

    def command(self, limits: ProgramLimits) -> list[str]:
        return [sys.executable, *_child(CHILD.parent, limits, self.name, os.getpid())]


@dataclass(frozen=True, slots=True)
class BwrapSandbox:
    """A process in bubblewrap: for systems that let users make namespaces by this program alone."""

    @property
    def name(self) -> str:
        return "bwrap"

    @property
    def environment(self) -> dict[str, str]:
        return _inherited("PATH")

    def command(self, limits: ProgramLimits) -> list[str]:
        python = os.path.realpath(sys.executable)
        library = os.path.join(sys.base_prefix, "lib")
        binds = [python, library, *_LIBRARIES, str(CHILD), str(KERNEL)]
        return [
            *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            "--clearenv",
            *(part for path in binds for part in ("--ro-bind-try", path, path)),
            *("--dev", "/dev", "--chdir", "/"),
            *(python, *_child(CHILD.parent, limits, self.name)),
        ]


@dataclass(frozen=True, slots=True)
class DockerSandbox:
    """A process in a container of Docker's, or of Podman's by its ``docker`` command.

    Attributes:
        image: has Python as ``python`` and ``timeout``; it is never pulled in passing.
    """

    image: str = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"

    @property
    def name(self) -> str:
        return "docker"

    @property
    def environment(self) -> dict[str, str]:
        return _inherited("PATH", "HOME", "XDG_RUNTIME_DIR", *_OF_DOCKER)

    def command(self, limits: ProgramLimits) -> list[str]:
        mounts = (
            f"type=bind,source={file},target=/amp/{file.name},readonly" for file in (CHILD, KERNEL)
        )
        return [
            *("docker", "run", "--rm", "--interactive", "--pull", "never", "--network", "none"),
            *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--user", "65534:65534", "--workdir", "/", "--pids-limit", "32"),
            *("--memory", f"{limits.memory_bytes}b", "--memory-swap", f"{limits.memory_bytes}b"),
            *(part for mount in mounts for part in ("--mount", mount)),
            # A container outlives a client that is killed: its first process sees to the end.
            *(self.image, "timeout", "-s", "KILL", str(_last_second(limits))),
            *("python", *_child(Path("/amp"), limits, self.name)),
        ]


def _child(folder: Path, limits: ProgramLimits, name: str, parent: int = 0) -> list[str]:
    """How Python is told to run the child; imported, since an import is compiled only once."""
    numbers = (limits.memory_bytes, _last_second(limits), limits.output_bytes)
    return ["-I", "-S", "-c", _START, str(folder), *map(str, numbers), name, str(parent)]


def _last_second(limits: ProgramLimits) -> int:
    return math.ceil(limits.seconds) + 1


NAMES = ("local", "bwrap", "docker", "unsafe")


def load_sandbox(name: str) -> Sandbox:
    """Makes a sandbox by its name.

    Args:
        name: ``local``, ``bwrap``, ``docker``, ``docker:IMAGE``, or ``unsafe``: as local, and
            programs run even where walls are missing.

    Raises:
        InvalidInputError: if there is none.
    """
    kind, _, image = name.partition(":")
    if name == "unsafe":
        return LocalSandbox(unsafe=True)
    if name == "local":
        return LocalSandbox()
    if name == "bwrap":
        return BwrapSandbox()
    if kind == "docker" and (image or name == kind) and not image.startswith("-"):
        return DockerSandbox(image) if image else DockerSandbox()
    raise InvalidInputError(
        f"unknown sandbox {name!r}{did_you_mean(name, NAMES)}"
        f" (sandboxes: {', '.join(NAMES)}, docker:IMAGE)"
    )


@cache
def ask_walls(sandbox: Sandbox) -> str:
    """Says which walls hold in a sandbox, as `ToolUse.walls` does; asked once, by running nothing.

    Raises:
        MissingDependencyError: if it does not start, or walls are missing; says what to do.
    """
    command = sandbox.command(ProgramLimits(_SECONDS_TO_ASK, 2**29, 1000))
    try:
        asked = subprocess.run(
            command,
            input=b"",
            capture_output=True,
            cwd="/",
            env=sandbox.environment,
            timeout=_SECONDS_TO_ASK,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise not_there(sandbox, f"{command[0]} cannot be run: {error}") from None
    head, line, _ = asked.stdout.partition(b"\n")
    if not line:
        said = asked.stderr.decode("utf-8", "replace").strip().splitlines() or ["it says nothing"]
        raise not_there(sandbox, said[0])
    return walls_of(sandbox, head)


def walls_of(sandbox: Sandbox, head: bytes) -> str:
    """Reads the line about the walls.

    Returns:
        The sandbox and its walls, such as ``local: landlock, mounts, network, seccomp``.

    Raises:
        MissingDependencyError: if something is kept by no wall, so that nothing was run, or this is
            no such line.
    """
    text = head.decode("ascii", "replace")
    if "|" not in text or not text.isprintable():  # another program's words
        raise not_there(sandbox, f"it says {text[:80]!r}")
    standing, missing = (", ".join(names.split()) for names in text.split("|", 1))
    walls = f"{sandbox.name}: {standing or 'none'}"
    if missing and sandbox.name == "unsafe":
        _warn(missing)
    elif missing:
        raise not_there(
            sandbox,
            f"nothing here keeps a program from {missing}"
            f" ({platform.system()} on {platform.machine()}; walls: {standing or 'none'})",
        )
    return walls


def not_there(sandbox: Sandbox, reason: str) -> MissingDependencyError:
    others = [name for name in ("bwrap", "docker") if name != sandbox.name and shutil.which(name)]
    return MissingDependencyError(
        f"no program of the model's is run, as sandbox {sandbox.name} does not hold: {reason};"
        f" set AMP_SANDBOX (or --sandbox of run and solve) to {', '.join((*others, 'unsafe'))},"
        " or use no such tool"
    )


@cache
def _warn(missing: str) -> None:
    _log.warning("sandbox unsafe: nothing keeps the model's programs from %s", missing)


def _inherited(*names: str) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


# --------------------------------------------------------------------------- running a command


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child process ended.

    Attributes:
        output: its standard output, at most the limit.
        returncode: exit status, or minus the number of the signal that ended it.
        timed_out: whether it was killed at the time limit.
        overflowed: whether it was killed for writing more than the output limit.
    """

    output: bytes
    returncode: int
    timed_out: bool
    overflowed: bool


async def run_limited(
    command: Sequence[str],
    *,
    stdin: bytes,
    directory: str,
    wall_seconds: float,
    output_bytes: int,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Finished:
    """Runs a command in a session of its own.

    Whatever way it ends (by itself, at a limit, by cancellation of the caller), the whole process
    group is killed before this returns, so that no grandchild outlives the call.

    Args:
        command: program and arguments; no shell is involved.
        stdin: what it reads; then its input ends.
        directory: its working directory.
        wall_seconds: time limit; a grandchild that keeps the output open counts as running.
        output_bytes: how much standard output is taken; more ends it. Standard error is discarded.
        environment: its environment.

    Raises:
        OSError: if the command cannot be started.
    """
    process = await _start(command, directory, environment)
    output = bytearray()
    timed_out = False
    feeding = asyncio.create_task(_feed(process, stdin))
    try:
        async with asyncio.timeout(wall_seconds):
            await _collect(process, output, output_bytes)
            if len(output) <= output_bytes:  # else it ends now, whether or not it reads its input
                await feeding
                await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        feeding.cancel()
        await _end(process)
    return Finished(
        bytes(output[:output_bytes]),
        process.returncode if process.returncode is not None else -signal.SIGKILL,
        timed_out,
        len(output) > output_bytes,
    )


async def _start(
    command: Sequence[str], directory: str, environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # asyncio itself would kill the child alone, and wait for grandchildren to close its pipes.
        with contextlib.suppress(OSError):
            await _end(await starting)
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    # The child leads its own session, so its process id is the id of the group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.stdout is not None
    # asyncio waits for the pipes, too, and stops to watch one whose output nobody takes.
    while await process.stdout.read(_CHUNK_BYTES):
        pass
    await process.wait()


async def _feed(process: asyncio.subprocess.Process, stdin: bytes) -> None:
    assert process.stdin is not None
    # A child that dies before it has read everything shows in its exit status, not here.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(stdin)
        await process.stdin.drain()
    process.stdin.close()


async def _collect(
    process: asyncio.subprocess.Process, output: bytearray, output_bytes: int
) -> None:
    assert process.stdout is not None
    while len(output) <= output_bytes and (chunk := await process.stdout.read(_CHUNK_BYTES)):
        output += chunk
