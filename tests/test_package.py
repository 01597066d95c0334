"""What the package promises as a whole: light imports, honest exports, a README that works."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

import amp
from amp.cli.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
HEAVY = (
    *("torch", "ray", "fastapi", "openai", "anthropic", "minigrid", "gymnasium", "numpy", "spacy"),
    "opentelemetry",
)


def python(code: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["amp", "amp.cli", "amp.benchmarks.babyai"])
def test_nothing_heavy_is_imported(module: str) -> None:
    loaded = python(f"import sys, {module}; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_the_public_names_exist_and_are_sorted() -> None:
    assert all(hasattr(amp, name) for name in amp.__all__)
    constants_first = sorted(
        amp.__all__, key=lambda name: (not name.isupper(), name.islower(), name)
    )
    assert constants_first == amp.__all__


def test_all_that_a_package_exports_is_there() -> None:
    for path in (ROOT / "src" / "amp").rglob("__init__.py"):
        package = import_module(".".join(path.parent.relative_to(ROOT / "src").parts))
        exported = getattr(package, "__all__", ())
        assert [name for name in exported if not hasattr(package, name)] == [], path


def test_no_module_hides_what_its_package_exports_later() -> None:
    for path in (ROOT / "src" / "amp").rglob("__init__.py"):
        package = import_module(".".join(path.parent.relative_to(ROOT / "src").parts))
        modules = {each.stem for each in path.parent.iterdir()}
        if hasattr(package, "__getattr__"):
            assert modules.isdisjoint(package.__all__), path


@pytest.mark.parametrize(
    "package", ["allocate", "assess", "execute", "learn", "models", "report", "simulate"]
)
def test_a_package_says_what_each_of_its_modules_is_about(package: str) -> None:
    told = import_module(f"amp.{package}").__doc__ or ""
    names = re.findall(r"`([a-z]\w*)`", told)
    families = [name.removesuffix("*") for name in re.findall(r"``(\w+\*)``", told)]
    modules = {path.stem for path in (ROOT / "src" / "amp" / package).glob("[a-z]*.py")}
    assert {m for m in modules if not m.startswith(tuple(families)) and m not in names} == set()


def test_the_readmes_python_succeeds_on_a_real_model(smollm2: str, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    out = python(code.replace("qwen2.5-coder-1.5b", smollm2), tmp_path)
    steps, end = out.strip().rsplit("\n", 1)
    costs = re.findall(r"complexity 0\.\d\d (\d+) tokens$", steps, re.MULTILINE)
    assert len(costs) == len(steps.splitlines())
    assert end == f"success: True, ended: done, {sum(map(int, costs))} tokens in all"


def test_the_readmes_commands_exist_with_their_options() -> None:
    commands = re.findall(r"^amp (.+?)(?:\s+#.*)?$", README, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        words = re.match(
            r"((?:models|trace|assess|annotations|record|policy|pools) \w+|\w+)", command
        )
        assert words is not None
        arguments = [*words.group(1).split(), "--help"]
        text = CliRunner().invoke(app, [*arguments]).output
        for option in re.findall(r"--[\w-]+", command):
            assert option in text, command


def test_the_readmes_tree_is_the_tree() -> None:
    tree = README.split("src/amp/\n", 1)[1].split("```", 1)[0]
    named = set(re.findall(r"[\w]+(?:\.py|/)", tree))
    actual = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "src" / "amp").iterdir()
        if path.name not in ("__init__.py", "__main__.py", "__pycache__", "py.typed")
    }
    assert named == actual


def test_every_version_is_pinned_once() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = [line.split("==")[0] for line in lines]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    assert names == sorted(set(names), key=names.index)
    assert "torch==2.13.0" in lines


def test_pytest_says_why_tests_were_skipped() -> None:
    options = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["tool"]["pytest"]
    assert "-rs" in options["ini_options"]["addopts"].split()
