"""A command is ended at its limits, with all that it has begun."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from amp.execute.sandbox import Finished, run_limited

PATIENCE_SECONDS = 30
"""With a busy machine; what is not ended takes a minute."""


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie that nobody has reaped yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return True
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_dead(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


async def shell(
    script: str, directory: Path, wall_seconds: float = 5.0, output_bytes: int = 1000
) -> Finished:
    return await run_limited(
        ["/bin/sh", "-c", script],
        stdin=b"",
        directory=str(directory),
        wall_seconds=wall_seconds,
        output_bytes=output_bytes,
    )


async def test_a_command_that_ends_by_itself(tmp_path: Path) -> None:
    finished = await shell("echo out; echo err >&2; exit 3", tmp_path)
    assert finished == Finished(b"out\n", 3, timed_out=False, overflowed=False)


async def test_standard_input_arrives_and_ends(tmp_path: Path) -> None:
    sent = os.urandom(300_000)
    finished = await run_limited(
        [sys.executable, "-c", "import sys; print(len(sys.stdin.buffer.read()))"],
        stdin=sent,
        directory=str(tmp_path),
        wall_seconds=10,
        output_bytes=100,
    )
    assert finished.output.strip() == b"300000"


async def test_a_command_that_reads_nothing_is_no_error(tmp_path: Path) -> None:
    finished = await run_limited(
        ["/bin/sh", "-c", "exit 0"],
        stdin=b"x" * 1_000_000,
        directory=str(tmp_path),
        wall_seconds=5,
        output_bytes=10,
    )
    assert finished.returncode == 0


async def test_the_environment_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    finished = await shell("/usr/bin/env", tmp_path)
    assert b"secret" not in finished.output
    assert b"HOME" not in finished.output


@pytest.mark.slow
async def test_a_grandchild_dies_with_its_group_at_the_time_limit(tmp_path: Path) -> None:
    started = time.monotonic()
    finished = await shell("sleep 60 & echo $!; wait", tmp_path, wall_seconds=2.0)
    assert finished.timed_out
    assert time.monotonic() - started < PATIENCE_SECONDS
    assert wait_until_dead(int(finished.output))


async def test_a_grandchild_dies_with_its_group_at_a_regular_end(tmp_path: Path) -> None:
    finished = await shell("sleep 60 >/dev/null 2>&1 & echo $!", tmp_path)
    assert not finished.timed_out
    assert wait_until_dead(int(finished.output))


async def test_cancelling_the_caller_kills_the_group(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    task = asyncio.create_task(
        shell("sleep 60 & echo $$ $! > pids.part; mv pids.part pids; wait", tmp_path, 60)
    )
    for _ in range(1000):
        if note.exists():
            break
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(wait_until_dead(int(pid)) for pid in note.read_text().split())


async def test_cancelling_at_any_moment_of_the_start_does_not_wait(tmp_path: Path) -> None:
    for delay in (0.0, 0.001, 0.002, 0.004, 0.008):
        started = time.monotonic()
        task = asyncio.create_task(shell("sleep 60 & wait", tmp_path, 60))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < PATIENCE_SECONDS


async def test_endless_output_ends_it_and_is_cut(tmp_path: Path) -> None:
    finished = await shell("while :; do echo yyyyyyyyyyyyyyyy; done", tmp_path, 60, 5000)
    assert finished.overflowed
    assert not finished.timed_out
    assert len(finished.output) == 5000


async def test_a_command_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run_limited(
            ["/no/such/program"],
            stdin=b"",
            directory=str(tmp_path),
            wall_seconds=1,
            output_bytes=1,
        )
