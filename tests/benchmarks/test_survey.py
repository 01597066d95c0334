"""What is missing is a part of the answer, never an error."""

from __future__ import annotations

import importlib.util
import re
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from tests.benchmarks.webshop.catalogue import write_data

from amp.benchmarks import BENCHMARKS, load_benchmark
from amp.benchmarks.download import Survey, survey
from amp.errors import InvalidInputError, MissingDependencyError

MODULES = {
    "alfworld": ("alfworld", "textworld", "fast_downward"),
    "babyai": ("gymnasium", "minigrid"),
    "webshop": ("ijson", "rapidfuzz"),
}


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data in any of the usual places."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    monkeypatch.delenv("AMP_DATA", raising=False)


def write_problems(data: Path, count: int = 30) -> None:
    (data / "gsm8k").mkdir(parents=True)
    row = '{"question": "1 + 1?", "answer": "#### 2"}\n'
    (data / "gsm8k" / "train.jsonl").write_text(row * count)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_without_any_data_it_says_how_to_get_it(name: str) -> None:
    found = survey(name)
    assert found.data is None
    assert found.problem is None
    assert found.get == (None if name == "babyai" else f"amp data get {name}")
    known = {split for split, size in found.sizes.items() if size is not None}
    assert known == {"babyai": {"test", "dev", "train"}, "gsm8k": {"demo"}}.get(name, set())


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_without_any_package_it_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_simulator(module: str) -> ModuleSpec | None:
        assert module in {name for needed in MODULES.values() for name in needed}
        return None

    monkeypatch.setattr(importlib.util, "find_spec", no_simulator)
    extra = f"pip install 'adaptive-meta-planning[{name}]'"
    assert survey(name).install == (extra if name in MODULES else None)
    assert survey("babyai").sizes == {"test": 1_000, "dev": 1_000, "train": 10_000}
    benchmark = load_benchmark(name)
    assert benchmark.requirements.missing == MODULES.get(name, ())
    if name in ("alfworld", "webshop"):
        with pytest.raises(
            MissingDependencyError, match=f"{name} needs the package .*{re.escape(extra)}"
        ):
            benchmark.tasks(benchmark.splits[0])


def test_splits_are_counted_where_they_are(tmp_path: Path) -> None:
    write_problems(tmp_path)
    found = survey("gsm8k", tmp_path)
    assert found.data == tmp_path / "gsm8k"
    assert found.sizes == {"test": None, "train": 27, "dev": 3, "demo": 6}


def test_damaged_data_is_told_with_the_rest(tmp_path: Path) -> None:
    write_problems(tmp_path)
    (tmp_path / "gsm8k" / "test.jsonl").write_text("{")
    found = survey("gsm8k", tmp_path)
    assert found.problem is not None
    assert "test.jsonl:1" in found.problem
    assert found.sizes["train"] == 27


def test_the_games_are_counted_without_textworld(tmp_path: Path) -> None:
    for trial in ("one", "two"):
        folder = tmp_path / "json_2.1.1/train/pick_and_place_simple-Mug-None-Desk-1" / trial
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").touch()
    found = survey("alfworld", tmp_path)
    assert found.data == tmp_path
    assert found.sizes == {
        "valid_seen": None,
        "train": 2,
        "valid_train": None,
        "valid_unseen": None,
    }


def test_the_goals_of_webshop_are_counted(tmp_path: Path) -> None:
    write_data(tmp_path)
    assert survey("webshop", tmp_path).sizes == {"test": 66, "dev": 0, "train": 0}


def test_the_rest_is_what_the_benchmark_says() -> None:
    found: Survey = survey("babyai")
    assert len(found.levels) == 96
    assert found.tools == ("memory", "path_finder")
    assert found.max_steps == 64
    assert found.boundaries[0] < found.boundaries[1]


def test_an_unknown_benchmark_gets_a_hint() -> None:
    with pytest.raises(InvalidInputError, match="'babyia'; did you mean 'babyai'"):
        survey("babyia")
