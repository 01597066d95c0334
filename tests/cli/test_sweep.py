"""The command that runs a sweep, and the studies that ship."""

from __future__ import annotations

import json
import shutil
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.evaluate.test_sweep import SWEEP
from tests.fakes.files import DATA, ROOT
from tests.fakes.recorded import PROGRAM, record
from typer.testing import CliRunner, Result

from amp.cli import app
from amp.errors import InvalidInputError
from amp.report.runs import comparable, read_runs

CONFIGS = [
    path
    for path in sorted((ROOT / "configs").glob("*.toml"))
    if "benchmarks" in tomllib.loads(path.read_text())  # others are of other commands
]


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here, and a busy disk takes its time over every episode."""
    monkeypatch.setattr("amp.files.os.fsync", lambda file: None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    record(tmp_path / "pool.sqlite", [PROGRAM])
    (tmp_path / "sweep.toml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def amp(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sweep", *arguments])


def test_a_sweep_ends_in_a_table_and_the_report_that_goes_with_it(folder: Path) -> None:
    done = amp("sweep.toml")
    assert done.exit_code == 0, done.output
    assert "gsm8k, scripted" in done.output
    (line,) = (line for line in done.output.splitlines() if line.startswith("amp report "))
    rules = "rules=runs/sweep/gsm8k/scripted/rules/{seed-0,seed-1,seed-2}"
    assert rules in line.split()
    runs = [  # as a shell expands it
        f"{word.partition('{')[0]}{seed}"
        for word in line.split()[2:-2]
        for seed in ("seed-0", "seed-1", "seed-2")
    ]
    read = comparable(read_runs(runs))
    assert [(one.name, one.seeds) for one in read] == [
        (name, (0, 1, 2)) for name in ("one", "rules", "shuffled")
    ]


def test_the_report_of_a_sweep_compares_by_its_cost(folder: Path) -> None:
    config = folder / "sweep.toml"
    config.write_text('cost = "flops"\n' + config.read_text())
    done = amp("sweep.toml", "--only", "*/one/seed-0")
    assert " --cost flops --html " in done.output


def test_only_some_trials_are_run_and_the_rest_later(folder: Path) -> None:
    some = json.loads(amp("sweep.toml", "--only", "*/one/*", "--out", "o", "--json").stdout)
    assert [(row["allocator"], row["summary"]["episodes"]) for row in some["rows"]] == [("one", 9)]
    rest = json.loads(amp("sweep.toml", "--out", "o", "--json").stdout)
    assert [row["allocator"] for row in rest["rows"]] == ["one", "rules", "shuffled"]
    with pytest.raises(InvalidInputError, match=r"matches no trial; they are called as gsm8k/scri"):
        CliRunner().invoke(app, ["sweep", "sweep.toml", "--only", "nope"], catch_exceptions=False)


def test_the_list_runs_nothing(folder: Path) -> None:
    listed = amp("sweep.toml", "--list").output.split()
    assert len(listed) == 9
    assert listed[0] == "gsm8k/scripted/one/seed-0"
    assert json.loads(amp("sweep.toml", "--list", "--json").output) == listed
    assert not (folder / "runs").exists()


def test_a_failed_trial_is_told_at_the_end_and_loses_no_other(folder: Path) -> None:
    (folder / "sweep.toml").write_text(SWEEP.replace("max_samples = 4", "max_samples = 9"))
    done = amp("sweep.toml", "--limit", "2", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [row["allocator"] for row in told["rows"]] == ["one"]
    assert {one["trial"].split("/")[2] for one in told["failures"]} == {"rules", "shuffled"}
    assert "failed: gsm8k/scripted/rules/seed-0" in amp("sweep.toml", "--limit", "2").output


def missing(config: Path) -> str:
    """What a shipped sweep needs and is not here."""
    names = {
        table.get("benchmark", name)
        for name, table in tomllib.loads(config.read_text())["benchmarks"].items()
    }
    for name in names & {"gsm8k", "webshop", "alfworld"}:
        if not (DATA / name).is_dir():
            return f"the data of {name}"
    packages = {"babyai": "minigrid", "webshop": "rapidfuzz", "alfworld": "textworld"}
    for name in names & packages.keys():
        if not find_spec(packages[name]):
            return packages[name]
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_sweep_runs_from_the_shipped_recordings(config: Path, tmp_path: Path) -> None:
    if needed := missing(config):
        pytest.skip(f"needs {needed}")
    for name in ("configs", "recordings"):
        shutil.copytree(ROOT / name, tmp_path / name)
    sweep = str(tmp_path / "configs" / config.name)
    options = ("--out", str(tmp_path / "out"), "--limit", "4", "--data", str(DATA), "--json")
    done = amp(sweep, *options)
    assert done.exit_code == 0, done.output
    wanted = tomllib.loads(config.read_text())
    told = json.loads(done.stdout)
    assert len(told["rows"]) == len(wanted["allocators"]) * len(wanted["benchmarks"])
