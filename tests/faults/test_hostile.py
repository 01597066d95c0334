"""Programs that mean harm. None gets through, and none holds up what comes after it.

All run once, some at a time, in a process that inherits whatever they leave running. A program that
got what it wanted answers HARM; one that was let do something that hurts nobody may answer.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.faults.hostile_programs import (
    BY_THE_KERNEL_ALONE,
    EVENTS,
    EXHAUSTING,
    REACHING_OUT,
    REFUSED_CALL,
    REFUSED_CALLS,
    UNHOOK,
)

from amp.errors import MissingDependencyError
from amp.execute.sandbox import Sandbox, ask_walls, load_sandbox
from amp.execute.tools.python import PythonTool
from amp.types import ToolUse

WALL_SECONDS = {"local": 0.8, "bwrap": 0.8, "docker": 4.0}  # a container takes a second to start
AT_A_TIME = 4
SECRET = "no-program-may-read-this"
LINUX = sys.platform.startswith("linux")
# Where the whole kernel sandbox is: Landlock tells its version (system call 444).
SANDBOXED = (
    LINUX and platform.machine() == "x86_64" and ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1
)
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Outcome:
    """What came of one program, how long it took, and how long it might have."""

    use: ToolUse
    seconds: float
    limit: float


@dataclass(frozen=True)
class Aftermath:
    """What is there after all programs have run."""

    outcomes: dict[str, Outcome]
    left_running: set[str]
    files: dict[str, str]
    left_in_temporary: list[str]
    connected: bool


def programs() -> dict[str, str]:
    unhooked = BY_THE_KERNEL_ALONE | {
        f"call: {name}": REFUSED_CALL.replace("NUMBER_AND_ARGUMENTS", call)
        for name, call in REFUSED_CALLS.items()
    }
    walled = {
        f"unhooked: {name}": f"{UNHOOK}{program}\nanswer = 'harmless'"
        if "assert" in program
        else f"{UNHOOK}{program}"
        for name, program in unhooked.items()
    }
    return EXHAUSTING | REACHING_OUT | (walled if SANDBOXED else {})


def children() -> set[str]:
    """Command lines of the processes whose parent this one is, those that are dead left out."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat") if LINUX else ():
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            command = stat.with_name("cmdline").read_text()
        except OSError:
            continue  # it ended meanwhile
        if int(parent) == os.getpid() and state != "Z":
            found.add(command)
    return found


async def run_all(names: dict[str, str], sandbox: Sandbox) -> dict[str, Outcome]:
    slots = asyncio.Semaphore(AT_A_TIME)
    tool = PythonTool(wall_seconds=WALL_SECONDS[sandbox.name], sandbox=sandbox)

    async def run(program: str) -> Outcome:
        async with slots:
            started = time.monotonic()
            use = await tool.use(f"```python\n{program}\n```")
            assert use is not None
            return Outcome(use, time.monotonic() - started, tool.limits.seconds)

    outcomes = await asyncio.gather(*(run(program) for program in names.values()))
    return dict(zip(names, outcomes, strict=True))


def unleash(sandbox: Sandbox, home: Path, temporary: Path) -> Aftermath:
    """Runs all programs in a sandbox."""
    (home / "precious").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.setenv("SOME_API_KEY", SECRET)
        known = (
            f"HOME, PORT = {json.dumps(str(home))}, {server.getsockname()[1]}\nEVENTS = {EVENTS}\n"
        )
        if LINUX:  # what the programs leave running becomes a child of this process
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        before = children()
        named = {name: known + program for name, program in programs().items()}
        outcomes = asyncio.run(run_all(named, sandbox))
        deadline = time.monotonic() + 30  # a name space of processes takes its time to end
        while (left_running := children() - before) and time.monotonic() < deadline:
            time.sleep(0.05)
        if LINUX:
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        server.settimeout(0)
        try:
            server.accept()[0].close()
            connected = True
        except BlockingIOError:
            connected = False
    files = {p.name: p.read_text() if p.is_file() else "no file" for p in home.iterdir()}
    return Aftermath(outcomes, left_running, files, os.listdir(temporary), connected)


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    home, temporary = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("temporary")
    return unleash(load_sandbox("local"), home, temporary)


def is_contained(outcome: Outcome) -> bool:
    """Whether a program ended in time, with an error or a harmless answer."""
    use = outcome.use
    return (
        outcome.seconds < outcome.limit + 3
        and (use.error is not None or use.output == "harmless")
        and SECRET not in use.output + (use.error or "")
        and f"{use.output}{use.error or ''}".isprintable()
    )


@pytest.mark.parametrize("name", programs())
def test_it_ends_in_time_with_an_error_or_a_harmless_answer(
    name: str, aftermath: Aftermath
) -> None:
    assert is_contained(aftermath.outcomes[name]), aftermath.outcomes[name]


@pytest.mark.skipif(not SANDBOXED, reason="this system lacks a part of the kernel's sandbox")
@pytest.mark.parametrize("name", [name for name in programs() if name.startswith("unhooked: ")])
def test_the_kernel_refuses_what_the_hook_let_pass(name: str, aftermath: Aftermath) -> None:
    use = aftermath.outcomes[name].use
    refusals = ("Errno", "maximum limit", "killed by SIGSYS")
    assert use.output == "harmless" or any(words in str(use.error) for words in refusals), use


def test_nothing_is_left(aftermath: Aftermath) -> None:
    assert aftermath.left_running == set()
    assert aftermath.files == {"precious": SECRET}
    assert aftermath.left_in_temporary == []
    assert not aftermath.connected


def test_there_are_programs_of_many_kinds() -> None:
    assert len(EXHAUSTING | REACHING_OUT) >= 130
    assert len(BY_THE_KERNEL_ALONE) + len(REFUSED_CALLS) >= 100


@pytest.mark.parametrize("name", ["bwrap", "docker"])
def test_other_sandboxes_contain_them_likewise(name: str, thorough: bool, tmp_path: Path) -> None:
    if not thorough:
        pytest.skip("runs with --thorough")
    sandbox = load_sandbox(name)
    try:
        ask_walls(sandbox)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    left = unleash(sandbox, home, temporary)
    assert {n: o for n, o in left.outcomes.items() if not is_contained(o)} == {}
    assert left.left_running == set()
    assert left.files == {"precious": SECRET}
    assert left.left_in_temporary == []
    assert not left.connected
