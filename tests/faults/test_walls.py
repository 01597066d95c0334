"""What a program finds out or leaves behind in spite of the sandbox: nothing, whoever is killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amp.execute.tools.python import PythonTool
from amp.types import ToolUse

LINUX = sys.platform.startswith("linux")


async def run(program: str) -> ToolUse:
    use = await PythonTool(wall_seconds=3).use(f"```python\n{program}\n```")
    assert use is not None
    return use


async def run_all(programs: list[str]) -> list[ToolUse]:
    slots = asyncio.Semaphore(3)

    async def one(program: str) -> ToolUse:
        async with slots:
            return await run(program)

    return await asyncio.gather(*(one(program) for program in programs))


async def test_a_program_that_ends_itself_by_any_signal_is_an_error_in_words() -> None:
    stops = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    numbers = [n for n in range(1, signal.SIGRTMAX + 1) if n not in stops]
    uses = await run_all(
        [f"import signal\nsignal.raise_signal({n})\nanswer = 'went on'" for n in numbers]
    )
    for number, use in zip(numbers, uses, strict=True):
        assert use.output == "went on" or (use.error or "").startswith(
            ("the program was killed by ", "KeyboardInterrupt", "OSError", "ValueError")
        ), number
    assert "the program was killed by signal 37" in {use.error for use in uses}


REPORTS = ["Aforged\\x1b[31m", "Atwo\\nlines", "A\\x00", "Eodd\\x07", "A\\x9b2J", "A\\u202e"]


@pytest.mark.parametrize("report", REPORTS)
async def test_a_report_of_the_programs_own_is_refused_or_one_clean_line(report: str) -> None:
    program = (
        f"import os\nreport = '{report}'.encode()\nfor pipe in range(3, 10):\n"
        "    try: os.write(pipe, report)\n    except OSError: pass\nos._exit(0)"
    )
    use = await run(program)
    assert use.output == ""
    assert use.error == "the program wrote a report of its own"
    assert use.walls.startswith("local: ")


async def test_a_forged_line_about_the_walls_comes_too_late() -> None:
    honest = await run("answer = 1")
    forged = await run("import os\nos.write(3, b'none|files network processes\\nAx'); os._exit(0)")
    assert forged.walls == honest.walls
    assert forged.output == ""


async def test_what_does_not_print_is_an_escape_in_an_answer() -> None:
    use = await run("answer = 'a\\x00b\\x1b]0;x\\x07c\\x9b\\u202ed \\u2028e zażółć 日本'")
    assert use.output == "a\\x00b\\x1b]0;x\\x07c\\x9b\\u202ed e zażółć 日本"


ASKED = ["/etc/passwd", "/proc/1", "/proc/self", "/home", "/srv", "/var/log", __file__]


async def test_nothing_tells_of_other_files_and_processes() -> None:
    use = await run(
        f"import os\nknown = []\nfor path in {[*ASKED, str(Path.home())]!r}:\n"
        "    if os.path.exists(path) and not os.__file__.startswith(path): known.append(path)\n"
        "    if os.access(path, 0) and not os.__file__.startswith(path): known.append(path)\n"
        "    try: known.append(os.readlink(path))\n    except OSError: pass\n"
        "answer = known or 'nothing'"
    )
    if "mounts" not in use.walls:
        pytest.skip("this machine lets nobody make namespaces")
    assert use.output == "nothing"


SLEEPER = """
import asyncio, sys
from amp.execute.sandbox import load_sandbox
from amp.execute.tools.python import PythonTool
program = "```python\\n" + {program!r} + "\\n```"
asyncio.run(PythonTool(wall_seconds=60, sandbox=load_sandbox({sandbox!r})).use(program))
"""


def started_by(process: int) -> list[int]:
    """The processes that a process started, and those that these started."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (child, *started_by(child))]


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not LINUX, reason="other kernels have no signal for a parent's death")
@pytest.mark.parametrize("sandbox", ["local", "bwrap"])
@pytest.mark.parametrize("after", [0.0, 0.01, 0.3])
def test_a_program_ends_with_amp_however_amp_ends(
    sandbox: str, after: float, tmp_path: Path
) -> None:
    if sandbox != "local" and shutil.which(sandbox) is None:
        pytest.skip(f"{sandbox} is not installed")
    program = "import signal, time\nsignal.signal(14, signal.SIG_IGN)\ntime.sleep(50)"
    amp = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(program=program, sandbox=sandbox)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    while not started_by(amp.pid):
        assert amp.poll() is None
        time.sleep(0.001)
    time.sleep(after)
    left = started_by(amp.pid)
    amp.kill()
    amp.wait()
    deadline = time.monotonic() + 30
    while not all(map(gone, left)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(map(gone, left))
    assert not os.listdir(tmp_path)
