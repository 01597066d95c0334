"""The Python tool: runs the program that a model wrote, in a process that can do no harm.

The child process runs under a time and an output limit, and nothing of it is left behind.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import math
import os
import re
import signal
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amp.errors import InvalidInputError
from amp.execute.base import Tool, ToolLimits
from amp.types import ToolUse, Usage

_CHUNK_BYTES = 65_536


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
) -> Finished:
    """Runs a command with an empty environment in a session of its own.

    Whatever way it ends (by itself, at a limit, by cancellation of the caller), the whole process
    group is killed before this returns, so that no grandchild outlives the call.

    Args:
        command: program and arguments; no shell is involved.
        stdin: what it reads; then its input ends.
        directory: its working directory.
        wall_seconds: time limit; a grandchild that keeps the output open counts as running.
        output_bytes: how much standard output is taken; more ends it. Standard error is discarded.

    Raises:
        OSError: if the command cannot be started.
    """
    process = await _start(command, directory)
    output = bytearray()
    timed_out = False
    try:
        async with asyncio.timeout(wall_seconds):
            await asyncio.gather(_feed(process, stdin), _collect(process, output, output_bytes))
            if len(output) <= output_bytes:
                await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        await _end(process)
    return Finished(
        bytes(output[:output_bytes]),
        process.returncode if process.returncode is not None else -signal.SIGKILL,
        timed_out,
        len(output) > output_bytes,
    )


async def _start(command: Sequence[str], directory: str) -> asyncio.subprocess.Process:
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=directory,
            env={},
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


_SANDBOX = Path(__file__).with_name("sandbox_child.py")
_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*$", re.MULTILINE)
_LONGEST_PROGRAM = 100_000  # characters; more is no answer of a model and slow to parse
_PYTHON = frozenset({"", "py", "python", "python3"})


class PythonTool(Tool):
    """Runs the last Python program in a text and gives back the value of its variable `answer`.

    The program is never run or evaluated in this process. It runs in an isolated interpreter
    (``python -I -S``) in a session of its own with an empty environment and an empty temporary
    directory, under limits of time, memory, processes and output; it can't write files, read any
    but the standard library's, start processes or reach a network. `sandbox_child.py` says
    by which means, and what they do not hold off. The whole process group is killed at the end, at
    the time limit, and when the caller is cancelled.

    The output is ``str(answer)``, or the last line that the program printed where it sets no
    `answer`. An error is the last line of Python's traceback.

    Args:
        wall_seconds: time limit of one run, start-up (about 20 ms) included.
        memory_bytes: limit of the address space.
        output_bytes: longest result, and how much printed text is kept.

    Raises:
        InvalidInputError: if a limit is not positive, or the system is not POSIX.
    """

    name = "python"
    description = "runs a Python program and returns the value of its variable `answer`"
    schema: Mapping[str, Any] = {
        "type": "string",
        "description": "a Python program in a fenced block",
    }
    cost = Usage(seconds=0.05, tool_calls=1)

    def __init__(
        self,
        wall_seconds: float = 5.0,
        memory_bytes: int = 512 * 1024 * 1024,
        output_bytes: int = 10_000,
    ) -> None:
        for name, value in (
            ("wall_seconds", wall_seconds),
            ("memory_bytes", memory_bytes),
            ("output_bytes", output_bytes),
        ):
            if not (value > 0 and math.isfinite(value)):
                raise InvalidInputError(f"python tool: {name} is {value}, expected more than 0")
        if os.name != "posix":
            raise InvalidInputError("the python tool needs Linux or macOS: it relies on rlimits")
        self.limits = ToolLimits(wall_seconds, output_bytes)
        self._memory_bytes = memory_bytes

    async def use(self, text: str) -> ToolUse | None:
        """Runs the last program in the text; None if there is none."""
        program = find_program(text)
        if program is None:
            return None
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="amp-python-") as directory:
            finished = await run_limited(
                [
                    *(sys.executable, "-I", "-S", str(_SANDBOX)),
                    str(self._memory_bytes),
                    str(math.ceil(self.limits.seconds) + 1),
                    str(self.limits.output_bytes),
                ],
                stdin=program.encode("utf-8", "replace"),
                directory=directory,
                wall_seconds=self.limits.seconds,
                output_bytes=self.limits.output_bytes + 1,
            )
        output, error = self._outcome(finished)
        return ToolUse("python", program, output, error, time.perf_counter() - started)

    def _outcome(self, finished: Finished) -> tuple[str, str | None]:
        """The output and the error of a run; exactly one of them says something."""
        if finished.timed_out:
            return "", f"TimeoutError: no result within {self.limits.seconds:g} seconds"
        if finished.overflowed or len(finished.output) > self.limits.output_bytes:
            return "", f"OverflowError: the result has more than {self.limits.output_bytes} bytes"
        text = finished.output.decode("utf-8", "replace")
        if text[:1] in ("A", "O") and finished.returncode == 0:
            return (text[1:], None) if text[1:] else ("", "the result is empty")
        if text[:1] == "E" and finished.returncode == 0:
            return "", text[1:]
        if finished.returncode < 0:
            return "", f"the program was killed by {signal.Signals(-finished.returncode).name}"
        return "", f"the program ended without a result (exit status {finished.returncode})"


def find_program(text: str) -> str | None:
    """Returns the program in a text, or None.

    That is, in this order: the last closed fenced block that is marked as Python or not marked at
    all; the block that the end of the text leaves open (a stop string takes its closing fence
    away); the whole text, or all before a lone closing fence, since a prefix of the answer may have
    opened the block. All but the first count only if they are valid Python that assigns `answer` or
    prints something: a text may have been cut off there, or be no program at all.
    """
    blocks: list[str] = []
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            if not blocks and not fence[1] and _has_result(text[: fence.start()]):
                blocks.append(text[: fence.start()])
                continue
            opened = fence
        elif not fence[1]:
            if opened[1].lower() in _PYTHON:
                blocks.append(text[opened.end() : fence.start()])
            opened = None
        else:
            opened = fence  # a new block begins where the last one was never closed
    if blocks:
        return textwrap.dedent(blocks[-1]).strip("\n")
    rest = textwrap.dedent(text if opened is None else text[opened.end() :])
    if opened is not None and opened[1].lower() not in _PYTHON:
        return None
    return rest.strip("\n") if _has_result(rest) else None


def _has_result(source: str) -> bool:
    """Whether the source is Python that assigns `answer` or prints; parses, never runs."""
    if len(source) > _LONGEST_PROGRAM:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about the model's code, not ours
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="answer", ctx=ast.Store()) | ast.Call(func=ast.Name(id="print")):
                return True
    return False
