"""A Ray cluster of two nodes on this machine: the same results, also when one is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.files import ROOT
from tests.faults import ray_budget, ray_runs

from amp.trace import EPISODES, MANIFEST

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")

PATIENCE_SECONDS = 300
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A cluster in a process of its own: says its address, and kills a node for a line."""
    command = [sys.executable, "-m", "tests.faults.ray_cluster"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, text=True, cwd=ROOT, env=ENVIRONMENT, stdin=pipe, stdout=pipe
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


@pytest.fixture(scope="module")
def address(cluster: subprocess.Popen[str]) -> str:
    assert cluster.stdout is not None
    line = cluster.stdout.readline().strip()
    if not line:
        pytest.skip("Ray does not begin on this machine in time")
    return line


_begun: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _none_left_behind() -> Iterator[None]:
    """Ends what a test that failed has begun; it would slow the next one down."""
    yield
    while _begun:
        process = _begun.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def begin(*command: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, text=True, cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=pipe
    )
    _begun.append(process)
    return process


def amp(*arguments: object) -> subprocess.Popen[str]:
    return begin(sys.executable, "-m", "amp", *map(str, arguments))


def until(is_so: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def rows(path: Path) -> dict[str, list[str]]:
    """All that is in a recording, but for when it was made."""
    with sqlite3.connect(path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
        found = {
            name: sorted(map(repr, database.execute(f"SELECT * FROM {name}")))
            for name in names
            if not name.startswith("sqlite_")
        }
    database.close()
    found["meta"] = [row for row in found["meta"] if "created" not in row]
    return found


def test_a_recording_is_filled_as_by_one_machine(address: str, tmp_path: Path) -> None:
    told = "record", "babyai", "--level", "BabyAI-GoToLocal-v0", "--split", "test", "--limit", 4
    for name, where in (("here", ()), ("there", ("--on", "ray", "--address", address))):
        to = tmp_path / f"{name}.sqlite"
        done = amp(*told, "--model", "random", "--samples", 2, "--to", to, *where)
        assert done.wait(PATIENCE_SECONDS) == 0, done.communicate()
        done.communicate()
    assert rows(tmp_path / "there.sqlite") == rows(tmp_path / "here.sqlite")


def test_ctrl_c_and_resume(address: str, tmp_path: Path) -> None:
    there = ("--on", "ray", "--address", address)
    kept = ("--replay", ray_runs.RECORDING, "--out", tmp_path / "run")
    told = ("run", "gsm8k", "--limit", 60, "--allocator", "fixed", *kept)
    process = amp(*told, *there)
    until(lambda: lines(tmp_path / "run" / EPISODES) > 0, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    if process.returncode != 0:  # or it was faster than Ctrl-C
        assert process.returncode == 130
        assert "interrupted; go on with the same options" in error
    process = amp(*told, "--resume", *there)
    assert process.wait(PATIENCE_SECONDS) == 0, process.communicate()
    process.communicate()
    assert lines(tmp_path / "run" / EPISODES) == 60


def test_an_address_that_is_none_of_a_client_server_is_one_line() -> None:
    process = amp("run", "gsm8k", "--model", "random", "--on", "ray", "--address", "ray://here")
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2, error
    assert error.startswith("amp: no Ray cluster at ray://here (expected HOST:PORT)")
    assert error.count("\n") == 1


def test_agents_on_a_cluster_share_a_budget(address: str) -> None:
    process = begin(sys.executable, "-m", "tests.faults.ray_budget", address)
    said, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, error
    told, spent = json.loads(said)
    assert spent == told
    assert min(told.values()) > ray_budget.FLOOR - ray_budget.WANT
    assert ray_budget.TOTAL - 2 * ray_budget.WANT < sum(told.values()) <= ray_budget.TOTAL


def test_a_killed_node_changes_nothing(
    cluster: subprocess.Popen[str], address: str, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    asyncio.run(ray_runs.here(here))
    process = begin(sys.executable, "-m", "tests.faults.ray_runs", str(there), address)
    until(lambda: lines(there / EPISODES) >= 40, process)
    assert cluster.stdin is not None
    cluster.stdin.write("kill\n")
    cluster.stdin.flush()
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, error
    assert "is lost; its work is done again" in error
    assert lines(there / EPISODES) == 200
    for name in (EPISODES, MANIFEST):
        assert (there / name).read_bytes() == (here / name).read_bytes()


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    process = amp("run", "gsm8k", "--model", "random", "--on", "ray", "--address", "127.0.0.1:9")
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2, error
    assert error.startswith("amp: no Ray cluster at 127.0.0.1:9 (")
    assert error.count("\n") == 1
