"""A package of somebody else's brings benchmarks and a model; amp itself is not touched."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import amp

pytestmark = pytest.mark.slow  # every command is a process of its own

HERE = Path(__file__).parent
TRAINING = """
benchmark = "sums"
recording = "pool.sqlite"
arms = ["head", "abacus"]
samples = 2
demonstrations = 60
epochs = 2
[ppo]
decisions = 200
episodes = 64
reference_tokens = 40
curriculum = false
"""


class Shell:
    """The real command line in an environment where packages of others are installed.

    Attributes:
        folder: where commands run.
        site: where packages are installed to.
    """

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder, self.site = folder, site
        paths = (site, Path(amp.__file__).parents[1])
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AMP_")},
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "COLUMNS": "100",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "amp", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def amp(self, *arguments: str) -> str:
        """What a command that succeeds prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bring(self, package: str, module: str, **benchmarks: str) -> None:
        """What installing a package leaves behind: a module, and a directory of metadata."""
        (self.site / f"{package}.py").write_text(module)
        info = self.site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {package}:{value}\n" for name, value in benchmarks.items())
        (info / "entry_points.txt").write_text(f"[amp.benchmarks]\n{lines}")


def shell_in(folder: Path) -> Shell:
    """A shell in which the package beside this file is installed."""
    pytest.importorskip("hatchling")
    site = folder / "site"
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    install = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(site)]
    subprocess.run([*install, str(HERE)], check=True, timeout=120)
    return Shell(folder, site)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return shell_in(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """With packages that are broken beside the sound one."""
    shell = shell_in(tmp_path_factory.mktemp("crowded"))
    shell.bring("absent", "import no_such_module_here", absent="Benchmark")
    shell.bring("first", "class Twice: ...", twice="Twice")
    shell.bring("second", "class Twice: ...", twice="Twice")
    shell.bring(
        "hollow",
        "class Hollow:\n"
        "    name = 'hollow'\n"
        "    @classmethod\n"
        "    def load(cls, data, level, step):\n"
        "        return cls()\n",
        hollow="Hollow",
    )
    shell.bring("number", "FOUR = 4", number="FOUR")
    shell.bring(
        "abstract",
        "from amp.benchmarks.base import Benchmark\nclass Bare(Benchmark): ...",
        bare="Bare",
    )
    shell.bring(
        "misnamed",
        "from amp_sums.stairs import Stairs\nclass Steps(Stairs): ...",
        steps="Steps",
    )
    shell.bring("rival", "from amp_sums.sums import Sums as GSM8K", gsm8k="GSM8K")
    return shell


FAULTS = {
    "absent": "cannot be imported from absent .*no_such_module_here",
    "bare": "cannot be loaded from abstract:Bare: .*abstract method",
    "hollow": "of hollow:Hollow lacks .*defaults, difficulty",
    "number": "cannot be loaded from .*: AttributeError: 'int' object has no attribute 'load'",
    "steps": "of misnamed:Steps calls itself 'stairs'",
    "twice": r"brought by 2 packages \(first, second\)",
}


def test_benchmarks_from_outside_are_listed_with_the_others(shell: Shell) -> None:
    listed = {found["name"]: found for found in json.loads(shell.amp("benchmarks", "--json"))}
    assert list(listed) == ["alfworld", "babyai", "gsm8k", "webshop", "stairs", "sums"]
    assert listed["sums"]["sizes"] == {"test": 24, "train": 24}
    assert listed["sums"]["tools"] == ["abacus"]
    assert "digits of the larger number" in shell.amp("benchmarks", "sums")


def test_it_runs_is_recorded_learned_on_and_reported(shell: Shell) -> None:
    def success(allocator: str, out: str) -> float:
        run = ("run", "sums", "--model", "rote", "--allocator", allocator, "--out", out, "--json")
        return float(json.loads(shell.amp(*run))["success_rate"])

    assert success("fixed", "in-the-head") == pytest.approx(16 / 24)
    to = ("--split", "train", "--samples", "2", "--to", "pool.sqlite")
    shell.amp("record", "sums", "--model", "rote", *to)
    (shell.folder / "train.toml").write_text(TRAINING)
    learned = json.loads(shell.amp("train", "train.toml", "--out", "policy", "--json"))
    assert learned["benchmark"] == "sums"
    assert len(learned["tasks"]) == 24
    assert success("policy/policy.safetensors", "learned") == 1.0  # it takes the abacus
    report = shell.amp("report", "in-the-head", "learned", "--json")
    assert "digits of the larger number" in report


def test_tasks_of_several_steps_run_and_are_recorded(shell: Shell) -> None:
    done = json.loads(shell.amp("run", "stairs", "--model", "rote", "--out", "up", "--json"))
    assert done["success_rate"] == 1.0
    shell.amp("run", "stairs", "--model", "random", "--limit", "1", "--out", "anywhere")
    shell.amp("record", "stairs", "--model", "rote", "--to", "stairs.sqlite")
    held = shell.amp("record", "info", "stairs.sqlite", "--benchmark", "stairs", "--split", "test")
    assert held.count("3 of 3") == 3  # two corners of its space, and both


def test_what_it_does_not_have_is_refused_in_one_line(shell: Shell) -> None:
    for arguments, expected in (
        (("run", "sums", "--model", "rote", "--level", "hard"), "level is 'hard', but Sums has no"),
        (
            ("run", "sums", "--model", "rote", "--step", "digit"),
            "step is 'digit', but Sums has one",
        ),
        (("run", "sum", "--model", "rote"), "unknown benchmark 'sum'; did you mean 'sums'?"),
        (("record", "sums", "--model", "rote", "--to", "x", "--arm", "hed"), "mean 'head'?"),
        (("data", "get", "sums"), "sums needs no data"),
        (
            ("run", "sums", "--model", "tired"),
            "'tired' of amp.models cannot be made: RuntimeError: out",
        ),
    ):
        done = shell.run(*arguments)
        assert done.returncode == 2
        assert expected in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_broken_packages_are_named_in_one_line_each_and_the_rest_goes_on(crowded: Shell) -> None:
    done = crowded.run("benchmarks")
    assert done.returncode == 0
    assert "digits of the larger" in done.stdout
    *lines, shadowed = done.stderr.splitlines()
    assert shadowed == "'gsm8k' of another package is not used: amp has its own"
    assert len(lines) == len(FAULTS)
    listed = {one["name"]: one for one in json.loads(crowded.amp("benchmarks", "--json"))}
    for (name, fault), line in zip(sorted(FAULTS.items()), lines, strict=True):
        assert repr(name) in line
        assert listed[name]["problem"] == line
        assert re.search(fault, line), line
    assert listed["sums"]["sizes"] == {"test": 24, "train": 24}


def test_asking_for_a_broken_one_is_one_line(crowded: Shell) -> None:
    for name in ("absent", "twice"):
        done = crowded.run("run", name, "--model", "rote")
        assert done.returncode == (3 if name == "absent" else 2)
        (line,) = done.stderr.splitlines()
        assert re.search(FAULTS[name], line), line
    assert crowded.run("run", "stairs", "--model", "rote", "--limit", "1").returncode == 0
