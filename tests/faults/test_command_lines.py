"""The command line under fire: any arguments, any file in any place, traces that others spoilt.

Whatever is given, a command ends by itself within seconds, with an exit code that has a meaning, in
words and not in a traceback, and shows neither the key nor what steers a terminal.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.faults import foreign, forks

from amp.cli import app
from amp.trace import EPISODES, MANIFEST

POLICY = Path(__file__).parents[2] / "recordings" / "policies" / "learned-0.safetensors"

Place = Callable[[], Path]


@pytest.fixture(scope="module", autouse=True)
def imports() -> None:
    forks.load()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what commands expect."""
    folder = tmp_path_factory.mktemp("good") / "all"
    foreign.make_good(folder)
    shutil.copy(POLICY, folder / "policy.safetensors")
    return folder


@pytest.fixture
def place(good: Path, tmp_path: Path) -> Place:
    """Makes a new copy of that folder, with the foreign files below ``k``, and forgets the last."""
    folder = tmp_path / "all"

    def make() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        foreign.make_foreign(folder / "k")
        return folder

    return make


# --------------------------------------------------------------------------- any arguments

WORDS = (
    *("gsm8k", "babyai", "demo", "test", "random", "fixed", "heuristic", "auto", "react"),
    *("run", "pool.sqlite", "policy.safetensors", "sweep.toml", "notes.jsonl", "new", "a=run"),
    *("openai:any", "anthropic:any", "transformers:any", "nowhere.gguf", "python", "calculator"),
    *("BabyAI-GoToLocal-v0", "hidden", "options", "neural", "weighted", "settling", "program"),
    *("", " ", "-", "--", "-x", "--help", "[/red]", foreign.STEERS, "\ud800", "x" * 300, "k/pipe"),
    *("k/empty", "k/deep.toml", "k/foreign.sqlite", "k/noise", "k", "/dev/zero", "1/2", "0/0"),
)
NUMBERS = (
    *("0", "1", "2", "-1", "0.5", "1e3", "nan", "inf", "-inf", "1e400", "9" * 30, "0x10", "\u0663"),
    *("1_000", "9" * 5000, "1.0", "", " 1"),
)
SLOW = {("models", "pull"), ("profile",), ("demo",), ("data", "get"), ("train",)}
"""Commands that a test gives no words by which they would begin long work."""


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its path."""

    def below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        for name, one in (inner or {}).items():
            yield from below(one, (*path, name))

    return below(typer.main.get_command(app), ())


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with some of its options, each with a word that may fit or not."""
    path, command = draw(st.sampled_from([c for c in commands() if c[0] not in SLOW]))
    value = st.sampled_from(WORDS) | st.sampled_from(NUMBERS) | st.text(max_size=8)
    line = list(path)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            if draw(st.integers(0, 9)):
                line.append(draw(value))
        elif parameter.name == "limit":
            line += ["--limit", draw(st.sampled_from(("1", "2", "0", "x")))]
        elif draw(st.integers(0, 5)) == 0:
            line.append(draw(st.sampled_from(parameter.opts)))
            if not parameter.is_flag:
                line.append(draw(value))
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(value))
    return [word.replace("\0", "\ufffd") for word in line]  # the system passes no NUL


def campaign(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # what fails is one line already
    )


def test_no_arguments_break_the_command_line(place: Place, thorough: bool) -> None:
    broken: list[forks.Outcome] = []

    @campaign(600 if thorough else 20)
    @given(command_lines())
    def check(line: list[str]) -> None:
        # Without data: ALFWorld's takes a minute to be packed anew in the empty cache of each try.
        outcome = forks.run(line, place(), {"AMP_DATA": "data"})
        if outcome.faults:
            broken.append(outcome)

    check()
    assert not broken, "\n".join(map(str, broken))


@pytest.mark.parametrize(
    "line", ["demo --model random --json", "demo --model openai:x", "models rm smollm2-135m"]
)
def test_commands_that_need_a_model_end_in_words_without_one(place: Place, line: str) -> None:
    outcome = forks.run(line.split(), place())
    assert not outcome.faults, outcome


# --------------------------------------------------------------------------- any file

ONE = "run gsm8k --split demo --limit 1"
TAKE_FILES = (
    *("report F", "report x=F run", "report run --html F", "report run --csv F"),
    *("report run --markdown F", "trace show F", "trace show F --full", "trace show F --json"),
    *("trace compare F run", "trace compare run F", "assess train F --out o", "assess report F"),
    *("assess report run --train F", "assess train run --annotations F --out o"),
    *("assess report run --assessor F", "annotations agreement F", "annotations import F"),
    *("annotations outcomes F --out o", "annotations outcomes run --out F", "annotate F --by x"),
    *("annotate run --by x --out F", "policy show F", "policy show policy.safetensors --svg F"),
    *("record info F", "record info F --benchmark gsm8k --split demo", "sweep F", "sweep F --list"),
    *("record gsm8k --split demo --limit 1 --to F --model random", "sweep sweep.toml --out F"),
    *(f"{ONE} --replay F", f"{ONE} --allocator F", f"{ONE} --assessor F", f"{ONE} --out F"),
    *(f"{ONE} --out F --resume", f"{ONE} --record F", f"{ONE} --data F", f"{ONE} --model F"),
    *(f"{ONE} --allocator shuffled --source-run F", "solve x --model F", "solve x --replay F"),
    *("train F --out o", "simulate F --train pool.sqlite", "simulate pool.sqlite --train F"),
    *("simulate pool.sqlite --train pool.sqlite --policy F", "benchmarks --data F", "profile F"),
    *("models pull F", "models rm F", "data get F", "data get gsm8k --data F"),
)


def test_no_file_breaks_a_command_that_takes_one(
    place: Place, tmp_path: Path, thorough: bool
) -> None:
    names = [f"k/{name}" for name in foreign.make_foreign(tmp_path / "names")]
    pairs = [(c, name) for c in TAKE_FILES for name in (*names, *foreign.ELSEWHERE)]
    random.Random(0).shuffle(pairs)
    broken = []
    for command, name in pairs[: 300 if thorough else 15]:
        line = [w.replace("F", name) if w in ("F", "x=F") else w for w in command.split()]
        outcome = forks.run(line, place())
        if outcome.faults:
            broken.append(outcome)
    assert not broken, "\n".join(map(str, broken))


READ_RUNS = (
    *("report run", "report run --html o.html", "report run --json", "trace show run --full"),
    *("trace show run --json", "trace compare run run", "assess train run --out o", "sweep run"),
    *("annotations outcomes run --out o", "annotate run --by x", f"{ONE} --out run --resume"),
    *("report run --markdown o.md --csv o", f"{ONE} --allocator shuffled --source-run run"),
)


@pytest.mark.parametrize("name", [EPISODES, MANIFEST])
def test_no_run_of_others_breaks_a_command_that_reads_runs(
    place: Place, good: Path, thorough: bool, name: str
) -> None:
    text = (good / "run" / name).read_text("utf-8")
    lines = text.splitlines() if name == EPISODES else [text]

    broken: list[forks.Outcome] = []

    @campaign(150 if thorough else 5)
    @given(foreign.spoilt(lines[0]), st.sampled_from(READ_RUNS))
    def check(spoilt: str, command: str) -> None:
        folder = place()
        content = "\n".join([spoilt, *lines[1:], ""])
        (folder / "run" / name).write_text(content, "utf-8", "surrogatepass")
        outcome = forks.run(command.split(), folder)
        if outcome.faults:
            broken.append(outcome)

    check()
    assert not broken, "\n".join(map(str, broken))


def test_settings_files_of_all_kinds_are_refused_in_words(place: Place) -> None:
    kinds = [name for name in foreign.make_foreign(place() / "more") if name.endswith("toml")]
    for name in kinds:
        folder = place()
        shutil.copy(folder / "k" / name, folder / "amp.toml")
        outcome = forks.run(["run", "gsm8k", "--split", "demo", "--limit", "1"], folder)
        assert not outcome.faults, outcome


@pytest.mark.parametrize("line", ["trace show run --json", "trace show run", "--help"])
def test_a_reader_that_goes_away_is_no_traceback(place: Place, line: str) -> None:
    command = f"{sys.executable} -m amp {line} | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=place(), capture_output=True, text=True, check=False
    )
    assert ended.returncode in (0, 1)
    assert ended.stderr == ""


# --------------------------------------------------------------------------- packages that lack


@pytest.mark.parametrize(
    ("package", "extra", "line"),
    [
        ("torch", "train", "train train.toml --out new"),
        ("torch", "train", "assess train run --out new"),
        ("scipy", "report", "trace compare run run"),
        ("plotly", "report", "report run --html new.html"),
        ("jinja2", "report", "report run --html new.html"),
        ("minigrid", "babyai", "run babyai --limit 1"),
        ("openai", "openai", "solve x --model openai:any"),
        ("anthropic", "anthropic", "solve x --model anthropic:any"),
    ],
)
def test_a_missing_package_is_a_line_that_names_its_extra(
    place: Place, package: str, extra: str, line: str
) -> None:
    folder = place()
    folder.joinpath("train.toml").write_text(
        'benchmark = "gsm8k"\nsplit = "demo"\nrecording = "pool.sqlite"\n'
    )
    begin = (
        "import importlib.abc, sys\n"
        "class Without(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from amp.cli import main\n"
        "main()\n"
    )
    environment = os.environ | {"AMP_MODEL": "random", "HOME": str(folder)}
    ended = subprocess.run(
        [sys.executable, "-c", begin, *line.split()],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, "Traceback" in ended.stderr) == (3, False), ended.stderr
    assert f"pip install 'adaptive-meta-planning[{extra}" in ended.stderr.splitlines()[-1]
