"""Runs one child process under a time and an output limit and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

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
