"""Where the kernel has no walls, a program of the model's is refused in words, or runs by consent.

The walls are taken away by the kernel itself (`denied.py`), so what is asked here is what a machine
without them answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.denied import CAN_DENY

from amp.errors import MissingDependencyError
from amp.execute.sandbox import ask_walls, load_sandbox

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not CAN_DENY, reason="only Linux on x86-64 can take walls away")


@pytest.fixture(autouse=True, scope="module")
def all_walls() -> None:
    """What is taken away has to be there."""
    try:
        walls = ask_walls(load_sandbox("local"))
    except MissingDependencyError as error:
        walls = str(error)
    if walls != "local: landlock, mounts, network, seccomp":
        pytest.skip(f"this machine lacks walls itself: {walls}")


TRY = """
import asyncio, json, sys
from amp.errors import AmpError
from amp.execute.sandbox import load_sandbox
from amp.execute.tools.python import PythonTool

async def main():
    tool = PythonTool(sandbox=load_sandbox(sys.argv[1]))
    use = await tool.use("```python\\n" + sys.argv[2] + "\\n```")
    print(json.dumps([use.output, use.error, use.walls]))

try:
    asyncio.run(main())
except AmpError as error:
    print(json.dumps([type(error).__name__, str(error), ""]))
"""


def without(walls: str, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command where these walls are missing."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.denied", walls, *command],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )


def tried(walls: str, sandbox: str, program: str) -> tuple[str, str | None, str]:
    output, error, standing = json.loads(
        without(walls, sys.executable, "-c", TRY, sandbox, program).stdout
    )
    return output, error, standing


@pytest.mark.parametrize(
    ("denied", "open_ways"),
    [
        ("seccomp", "processes"),
        ("landlock,namespaces", "files"),
        ("namespaces,seccomp", "network, processes"),
        ("landlock,namespaces,seccomp", "files, network, processes"),
    ],
)
def test_nothing_is_run_where_a_wall_is_missing(
    denied: str, open_ways: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("no-program-may-read-this")
    program = f"answer = open({str(tmp_path / 'secret')!r}).read()"
    kind, message, _ = tried(denied, "local", program)
    assert kind == "MissingDependencyError"
    assert message is not None
    assert "\n" not in message
    assert "no-program-may-read-this" not in message
    assert f"nothing here keeps a program from {open_ways} (Linux on x86_64" in message
    assert "--sandbox" in message
    assert "unsafe" in message


@pytest.mark.parametrize(
    ("denied", "left"),
    [
        ("landlock", "local: mounts, network, seccomp"),
        ("namespaces", "local: landlock, seccomp"),
    ],
)
@pytest.mark.parametrize(
    "program",
    [
        "import os\nanswer = os.open('SECRET', 0)",
        "answer = open('SECRET').read()",
        "import os\nanswer = os.listdir('/proc')",
        "import _socket\nanswer = _socket.socket()",
    ],
)
def test_one_wall_of_two_is_enough_and_is_named(
    denied: str, left: str, program: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("no-program-may-read-this")
    output, error, walls = tried(denied, "local", program.replace("SECRET", str(secret)))
    assert (output, walls) == ("", left)
    assert error is not None
    assert error.startswith(("PermissionError", "FileNotFoundError"))


@pytest.mark.parametrize("denied", ["", "landlock", "namespaces", "mounts", "pivot"])
def test_where_enough_walls_are_left_programs_compute(denied: str) -> None:
    program = "import statistics, decimal\nanswer = statistics.mean([decimal.Decimal(4), 8])"
    output, error, walls = tried(denied, "local", program)
    assert (output, error) == ("6", None)
    assert ("mounts" in walls) == (denied in ("", "landlock"))


def test_unsafe_runs_programs_and_says_once_what_is_missing() -> None:
    program = "answer = 6 * 7"
    assert tried("landlock,namespaces,seccomp", "unsafe", program) == ("42", None, "unsafe: none")
    twice = TRY.replace("    asyncio.run(main())", "    asyncio.run(main()); asyncio.run(main())")
    said = without("seccomp", sys.executable, "-c", twice, "unsafe", program).stderr
    assert said == "sandbox unsafe: nothing keeps the model's programs from processes\n"


def test_a_run_is_refused_before_it_begins(tmp_path: Path) -> None:
    amp = [sys.executable, "-m", "amp", "run", "gsm8k", "--split", "demo", "--limit", "1"]
    options = ["--model", "random", "--allocator", "fixed", "--out"]
    all_walls = "landlock,namespaces,seccomp"
    refused = without(all_walls, *amp, *options, str(tmp_path / "refused"))
    assert refused.returncode == 3
    assert refused.stderr.startswith("amp: no program of the model's is run")
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""
    assert not (tmp_path / "refused").exists()
    # Who needs no programs is not asked about walls, and who takes the risk may.
    plain = without(all_walls, *amp, *options, str(tmp_path / "plain"), "--no-tools")
    assert plain.returncode == 0
    assert json.loads((tmp_path / "plain/run.json").read_text())["sandbox"] == ""
    out = str(tmp_path / "unsafe")
    unsafe = without(all_walls, *amp, *options, out, AMP_SANDBOX="unsafe")
    assert unsafe.returncode == 0
    assert json.loads((tmp_path / "unsafe/run.json").read_text())["sandbox"] == "unsafe: none"
    walled = without("", *amp, *options, out, "--resume")
    assert walled.returncode == 0  # walls are no part of what was run


@pytest.mark.parametrize("command", [["demo"], ["solve", "How many eggs are in 7 boxes of 12?"]])
def test_a_refusal_comes_before_a_model_is_fetched_or_loaded(
    command: list[str], tmp_path: Path
) -> None:
    amp = [sys.executable, "-m", "amp", *command]
    refused = without("landlock,namespaces", *amp, XDG_CACHE_HOME=str(tmp_path))
    assert refused.returncode == 3
    assert refused.stderr.startswith("amp: no program of the model's is run")
    assert refused.stdout == ""
    assert not list(tmp_path.iterdir())
