"""Data comes whole or not at all, and what is missing is a part of the answer."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from tests.fakes.server import Answer, Question, serving
from tests.fakes.shop_catalogue import write_data

from amp.benchmarks import BENCHMARKS, load_benchmark
from amp.benchmarks.alfworld import games as alfworld
from amp.benchmarks.alfworld.games import Games
from amp.benchmarks.download import (
    RemoteFile,
    Survey,
    data_directory,
    fetch,
    get_data,
    survey,
)
from amp.benchmarks.gsm8k import GSM8K, problems
from amp.benchmarks.webshop import shop
from amp.errors import InvalidInputError, MissingDependencyError
from amp.files import lock_directory

CONTENT = b"0123456789" * 100
HALF = len(CONTENT) // 2
GAME = "pick_and_place_simple-Mug-None-Desk-1/trial_1"


def silent(done: int, total: int) -> None:
    """No progress."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Site:
    """A server: what it has, which ranges were asked for, and where it breaks off."""

    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    break_at: int | None = None
    ranges: bool = True
    address: str = ""

    def respond(self, question: Question) -> Answer:
        if question.path == "/moved":
            return Answer(302, headers={"Location": "/file"})
        content = self.files.get(question.path.strip("/"))
        if content is None:
            return Answer(404)
        wanted = question.headers.get("Range", "") if self.ranges else ""
        self.asked.append(wanted)
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if begin and begin >= len(content):
            return Answer(416)
        body = content[begin : self.break_at]
        return Answer(206 if wanted else 200, body, stated_length=len(content) - begin)

    def file(self, name: str) -> RemoteFile:
        return RemoteFile(name, f"{self.address}/{name}", sha256(self.files[name]))


@contextmanager
def site(**files: bytes) -> Iterator[Site]:
    state = Site(files)
    with serving(state.respond) as state.address:
        yield state


# --------------------------------------------------------------------------- one file


def test_a_file_comes_whole_by_way_of_redirects(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with site(file=CONTENT) as here:
        file = replace(here.file("file"), url=f"{here.address}/moved")
        path = fetch(file, tmp_path, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(tmp_path: Path, ranges: bool) -> None:
    with site(file=CONTENT) as here:
        here.break_at, here.ranges = HALF, ranges
        with pytest.raises(MissingDependencyError, match=r"ended at 500 of 1,000 bytes; run it"):
            fetch(here.file("file"), tmp_path, silent)
        assert [p.name for p in tmp_path.iterdir()] == ["file.part"]
        here.break_at = None
        assert fetch(here.file("file"), tmp_path, silent).read_bytes() == CONTENT
    assert here.asked == (["", f"bytes={HALF}-"] if ranges else ["", ""])


def test_a_download_that_only_lacked_its_last_name_is_finished(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    with site(file=CONTENT) as here:
        assert fetch(here.file("file"), tmp_path, silent).read_bytes() == CONTENT


def test_what_came_wrong_is_removed(tmp_path: Path) -> None:
    with site(file=CONTENT) as here:
        file = replace(here.file("file"), sha256="0" * 64)
        with pytest.raises(
            InvalidInputError, match=r"SHA-256 .* expected 0+\.\.\.; it was removed"
        ):
            fetch(file, tmp_path, silent)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_and_right_is_kept_and_what_is_wrong_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    file = RemoteFile("file", "http://127.0.0.1:9/file", sha256(CONTENT))
    assert fetch(file, tmp_path, silent).read_bytes() == CONTENT
    with pytest.raises(InvalidInputError, match="is there, but it is not the file"):
        fetch(replace(file, sha256="0" * 64), tmp_path, silent)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_that_is_not_there_and_a_server_that_is_not_there_are_one_line(
    tmp_path: Path,
) -> None:
    with site() as here, pytest.raises(MissingDependencyError, match="HTTP status 404"):
        fetch(RemoteFile("file", f"{here.address}/file", ""), tmp_path, silent)
    with pytest.raises(MissingDependencyError, match=r"cannot get http://127.*put the file") as one:
        fetch(RemoteFile("file", "http://127.0.0.1:9/file", ""), tmp_path, silent)
    assert "\n" not in str(one.value)


# --------------------------------------------------------------------------- benchmarks


def games(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            game = {"pddl_domain": "d", "pddl_problem": name, "grammar": "g"}
            archive.writestr(name, json.dumps(game))
    return packed.getvalue()


def test_the_games_of_alfworld_lie_where_they_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = games(
        f"json_2.1.1/train/{GAME}/game.tw-pddl",
        f"json_2.1.1/valid_seen/{GAME}/game.tw-pddl",
        f"json_2.1.1/train/{GAME}/initial_state.pddl",
        f"../train/{GAME}/game.tw-pddl",
        f"json_2.1.1/../{GAME}/game.tw-pddl",
    )
    with site(games=release) as here:
        monkeypatch.setattr(alfworld, "PUBLISHED", here.file("games"))
        assert get_data("alfworld", tmp_path, silent) == tmp_path / "alfworld"
    assert [*Games("train", tmp_path).ids()] == [f"train/{GAME}"]
    assert Games("valid_seen", tmp_path).find(f"valid_seen/{GAME}").read()["grammar"] == "g"
    kept = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(kept) == [
        f"alfworld/json_2.1.1/train/{GAME}/game.tw-pddl",
        f"alfworld/json_2.1.1/valid_seen/{GAME}/game.tw-pddl",
    ]
    get_data("alfworld", tmp_path, silent)  # the server is gone: nothing is fetched


def test_games_that_were_unpacked_in_part_are_not_taken_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = games(*(f"json_2.1.1/train/{GAME}{n}/game.tw-pddl" for n in range(4)))
    extract, taken = zipfile.ZipFile.extract, []

    def interrupted(archive: zipfile.ZipFile, member: str, path: Path) -> str:
        taken.append(member)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return extract(archive, member, path)

    with site(games=release) as here:
        monkeypatch.setattr(alfworld, "PUBLISHED", here.file("games"))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(zipfile.ZipFile, "extract", interrupted)
            get_data("alfworld", tmp_path, silent)
        with pytest.raises(MissingDependencyError, match="amp data get alfworld"):
            Games("train", tmp_path).ids()
        get_data("alfworld", tmp_path, silent)
        assert here.asked == [""]
    assert len(Games("train", tmp_path).ids()) == 4
    assert [p.name for p in (tmp_path / "alfworld").iterdir()] == ["json_2.1.1"]


@pytest.mark.parametrize("content", [b"no archive", games("readme.txt")])
def test_an_archive_without_games_is_named(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(games=content) as here:
        monkeypatch.setattr(alfworld, "PUBLISHED", here.file("games"))
        with pytest.raises(InvalidInputError, match=r"games (is damaged|holds no games)"):
            get_data("alfworld", tmp_path, silent)
    assert not (tmp_path / "alfworld" / "json_2.1.1").exists()


def test_the_problems_of_gsm8k_lie_where_they_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.dumps({"question": f"{n} + 1?", "answer": f"#### {n + 1}"}) for n in range(30)]
    lines = "\n".join(rows).encode()
    with site(**{"train.jsonl": lines, "test.jsonl": lines}) as here:
        monkeypatch.setattr(
            problems, "PUBLISHED", [here.file(file.name) for file in problems.PUBLISHED]
        )
        get_data("gsm8k", tmp_path, silent)
    sizes = {split: len(GSM8K(tmp_path).tasks(split)) for split in ("train", "dev", "test")}
    assert sizes == {"train": 27, "dev": 3, "test": 30}


def test_what_is_lacking_is_named_and_the_test_problems_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site() as here:
        files = [
            replace(file, url=f"{here.address}/{file.name}", sha256=sha256(CONTENT))
            for file in problems.PUBLISHED
        ]
        monkeypatch.setattr(problems, "PUBLISHED", files)
        with pytest.raises(MissingDependencyError, match=r"test.jsonl \(.*train.jsonl \("):
            get_data("gsm8k", tmp_path, silent)
        here.files["test.jsonl"] = CONTENT
        with pytest.raises(MissingDependencyError, match=r"or put train.jsonl \("):
            get_data("gsm8k", tmp_path, silent)
    assert (tmp_path / "gsm8k" / "test.jsonl").read_bytes() == CONTENT


def test_webshop_says_which_files_a_person_has_to_get(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        get_data("webshop", tmp_path, silent)
    message = str(caught.value)
    assert str(tmp_path / "webshop") in message
    assert "items_shuffle_1000.json: https://drive.google.com/uc?id=" in message
    assert not list(tmp_path.iterdir())  # what is empty would pass for data
    (tmp_path / "webshop").mkdir()
    for name in shop.PUBLISHED:
        (tmp_path / "webshop" / name).touch()
    assert get_data("webshop", tmp_path, silent) == tmp_path / "webshop"


def test_a_benchmark_without_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="'alfwold'; did you mean 'alfworld'"):
        get_data("alfwold", tmp_path, silent)
    with pytest.raises(InvalidInputError, match="babyai.*with data: alfworld, gsm8k, webshop"):
        get_data("babyai", tmp_path, silent)


def test_data_is_fetched_by_one_process_at_a_time(tmp_path: Path) -> None:
    said = r"gsm8k is in use by process \d+ on"
    with lock_directory(tmp_path / "gsm8k"), pytest.raises(InvalidInputError, match=said):
        get_data("gsm8k", tmp_path, silent)
    assert not list(tmp_path.iterdir())


def test_another_file_is_not_fetched_to_its_end(tmp_path: Path) -> None:
    with site(file=bytes(3_000_000)) as here:
        small = replace(here.file("file"), max_bytes=2_000_000)
        with pytest.raises(MissingDependencyError, match="sends more than 2,000,000 bytes"):
            fetch(small, tmp_path, silent)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=r"file/gsm8k cannot be written: Not a directory"):
        get_data("gsm8k", tmp_path / "file", silent)


def test_data_goes_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AMP_DATA", raising=False)
    assert data_directory().path == tmp_path / "cache" / "amp" / "data"
    monkeypatch.setenv("AMP_DATA", str(tmp_path / "variable"))
    assert data_directory().path == tmp_path / "variable"
    assert data_directory(tmp_path / "option").path == tmp_path / "option"


def test_every_known_file_has_a_hash_and_comes_over_https() -> None:
    for file in (*problems.PUBLISHED, alfworld.PUBLISHED):
        assert file.url.startswith("https://")
        assert len(file.sha256) == 64


MODULES = {
    "alfworld": ("alfworld", "textworld", "fast_downward"),
    "babyai": ("gymnasium", "minigrid"),
    "webshop": ("ijson", "rapidfuzz"),
}


@pytest.fixture(autouse=True)
def nothing_here(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data in any of the usual places."""
    folder = tmp_path_factory.mktemp("nothing")
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("ALFWORLD_DATA", str(folder / "nowhere"))
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
    assert found.tools == ("memory", "tried", "path_finder")
    assert found.max_steps == 64
    assert found.boundaries[0] < found.boundaries[1]


def test_an_unknown_benchmark_gets_a_hint() -> None:
    with pytest.raises(InvalidInputError, match="'babyia'; did you mean 'babyai'"):
        survey("babyia")
