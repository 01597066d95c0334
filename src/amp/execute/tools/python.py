"""The Python tool: runs the program that a model wrote in a sandbox."""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Mapping
from typing import Any

from amp.errors import InvalidInputError
from amp.execute.base import Tool, ToolLimits
from amp.execute.program import find_program
from amp.execute.sandbox import (
    HEAD_BYTES,
    Finished,
    LocalSandbox,
    ProgramLimits,
    Sandbox,
    not_there,
    run_limited,
    walls_of,
)
from amp.types import ToolUse, Usage

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+>")


class PythonTool(Tool):
    """Runs the Python program in a text and gives back the value of its variable `answer`.

    `find_program` says which block of a text is its program.
    The program is never run or evaluated in this process. It runs in an isolated interpreter
    (``python -I -S``) in a sandbox (`amp.execute.sandbox`), under limits of time, memory, processes
    and output; it can't write files, read any but the standard library's, start processes or reach
    a network. `sandbox_child.py` says by which means, and what they do not hold off. The whole
    process group is killed at the end, at the time limit, and when the caller is cancelled; the
    kernel ends the program where amp itself is killed. Nothing is written to disk.

    The output is ``str(answer)``, or the last line that the program printed where it sets no
    `answer`. An error is the last line of Python's traceback. A function, an iterator or any other
    object that Python writes with its address is an error, too: it is no value.

    Args:
        wall_seconds: time limit of one run, start-up (about 20 ms) included.
        memory_bytes: limit of the address space.
        output_bytes: longest result, and how much printed text is kept.
        sandbox: what stands around the program; the kernel's walls if left out.

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
    sandbox: Sandbox

    def __init__(
        self,
        wall_seconds: float = 5.0,
        memory_bytes: int = 512 * 1024 * 1024,
        output_bytes: int = 10_000,
        sandbox: Sandbox | None = None,
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
        self.sandbox = sandbox or LocalSandbox()
        self._programs = ProgramLimits(wall_seconds, memory_bytes, output_bytes)

    def within(self, sandbox: Sandbox) -> PythonTool:
        limits = self._programs
        return PythonTool(limits.seconds, limits.memory_bytes, limits.output_bytes, sandbox)

    async def use(self, text: str) -> ToolUse | None:
        """Runs the program in the text; None if there is none.

        Raises:
            MissingDependencyError: if the sandbox lacks a wall, so that the program was not run.
        """
        program = find_program(text)
        if program is None:
            return None
        started = time.perf_counter()
        try:
            finished = await run_limited(
                self.sandbox.command(self._programs),
                stdin=program.encode("utf-8", "replace"),
                directory="/",
                wall_seconds=self.limits.seconds,
                output_bytes=HEAD_BYTES + self.limits.output_bytes + 1,
                environment=self.sandbox.environment,
            )
        except OSError as problem:
            raise not_there(self.sandbox, str(problem)) from None
        head, line, report = finished.output.partition(b"\n")
        walls = walls_of(self.sandbox, head) if line else ""
        output, error = self._outcome(finished, report)
        seconds = time.perf_counter() - started
        return ToolUse("python", program, output, error, seconds, walls=walls)

    def _outcome(self, finished: Finished, report: bytes) -> tuple[str, str | None]:
        """The output and the error of a run; exactly one of them says something."""
        if finished.timed_out:
            return "", f"TimeoutError: no result within {self.limits.seconds:g} seconds"
        if finished.overflowed or len(report) > self.limits.output_bytes:
            return "", f"OverflowError: the result has more than {self.limits.output_bytes} bytes"
        if finished.returncode < 0:
            return "", f"the program was killed by {_signal_name(-finished.returncode)}"
        text = report.decode("utf-8", "replace")
        if finished.returncode > 0 or text[:1] not in ("A", "E", "O"):
            return "", f"the program ended without a result (exit status {finished.returncode})"
        if not text.isprintable():  # the child's own report always is
            return "", "the program wrote a report of its own"
        if text[:1] == "E":
            return "", text[1:]
        if _ADDRESS.search(text):
            return "", f"the result is an object, not its value: {text[1:]}"
        return (text[1:], None) if text[1:] else ("", "the result is empty")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals in between have none
        return f"signal {number}"
