"""Every program in examples/ runs, in seconds and without a model, and shows what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from tests.fakes.files import ROOT

SHOWN = {
    "own_environment": r"boil the water +complexity 0\.\d+: rounds 2, depth 2.*solved for \d+",
    "own_tool": r"tools \[\]: talc \(wrong\).*\ntools \['handbook'\]: quartz \(right\)",
    "own_benchmark": r"easy   sun        right, 2 samples",
    "own_allocator": r"vote of six   20/20 +18\.0  18\.0\nown           20/20           6\.0",
    "replay_a_recording": r"path finder +20/20 missions.*1,523 tokens each\n.*16/20.*4,704 tokens",
    "learn_on_a_lattice": r"adaptive 24 of 24 +122 tokens.*plan_left above 0\.\d+: follow",
    "train_policy": r"trade-off 0\.50: \d+ tokens a task, \d+% right\n.*trade-off 1\.00",
}
"""What each prints, as a pattern."""
SERVED = {"agent_through_gateway"}
"""Examples that need a server (`tests/experiments/test_agent.py`)."""
NEEDED = {"replay_a_recording": "minigrid", "train_policy": "torch"}


def test_every_example_is_tested() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == SHOWN.keys() | SERVED


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHOWN))
def test_an_example_shows_what_it_promises(name: str) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SHOWN[name], done.stdout, re.DOTALL), done.stdout
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), NEEDED.items())
def test_an_example_without_its_packages_names_their_extra(name: str, package: str) -> None:
    path = str(ROOT / "examples" / f"{name}.py")
    begin = (
        f"import runpy, sys; sys.modules[{package!r}] = None;"
        f" runpy.run_path({path!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert re.search(rf"needs {package}.*pip install 'adaptive-meta-planning\[\w+\]'", line)
