"""Games are found in archives and folders alike, under the same ids; what is damaged says so."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from amp.benchmarks.alfworld import games
from amp.benchmarks.alfworld.games import GameFile, Games
from amp.errors import InvalidInputError, MissingDependencyError

NAMES = (
    "pick_and_place_simple-Mug-None-Desk-1/trial_1",
    "pick_and_place_simple-Mug-None-Desk-1/trial_2",
    "look_at_obj_in_light-Mug-None-DeskLamp-2/trial_1",
)
LEFT_OUT = (
    "pick_and_place_with_movable_recep-Mug-Box-Desk-1/trial_1",
    "pick_and_place_simple-AppleSliced-None-Desk-1/trial_1",
)


def content(name: str) -> bytes:
    grammar = f'"rhs": "Your task is to: put a mug in {name[:4]}."'
    game = {"pddl_domain": "d", "pddl_problem": name, "grammar": grammar, "solvable": True}
    return json.dumps(game).encode()


def archive(data: Path, split: str = "train") -> Path:
    path = data / "alfworld" / f"{split}.tar.xz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as tar:
        for name in (*NAMES, *LEFT_OUT):
            member = tarfile.TarInfo(f"json_2.1.1/{split}/{name}/game.tw-pddl")
            member.size = len(content(name))
            tar.addfile(member, io.BytesIO(content(name)))
    return path


def folder(data: Path, split: str = "train") -> Path:
    for name in (*NAMES, *LEFT_OUT):
        path = data / "json_2.1.1" / split / name / "game.tw-pddl"
        path.parent.mkdir(parents=True)
        path.write_bytes(content(name))
    return data


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AMP_DATA", raising=False)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    return tmp_path / "cache"


def test_an_archive_and_a_folder_hold_the_same_games(tmp_path: Path) -> None:
    archive(tmp_path / "packed")
    packed = Games("train", tmp_path / "packed")
    unpacked = Games("train", folder(tmp_path / "unpacked"))
    assert packed.ids() == unpacked.ids()
    assert sorted(packed.ids()) == sorted(f"train/{name}" for name in NAMES)
    for id_ in packed.ids():
        assert packed.find(id_).read() == unpacked.find(id_).read()
        assert packed.find(id_).read()["pddl_problem"] == id_.removeprefix("train/")


def test_a_type_can_be_picked(tmp_path: Path) -> None:
    found = Games("train", folder(tmp_path)).ids("look_at_obj_in_light")
    assert found == [f"train/{NAMES[2]}"]


def test_an_archive_is_packed_once_and_only_as_a_whole(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path)
    repack = games._repack

    def interrupted(archive: Path, draft: Path) -> None:
        repack(archive, draft)
        raise KeyboardInterrupt

    monkeypatch.setattr(games, "_repack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Games("train", tmp_path).ids()
    assert list(own_cache.rglob("*.*")) == []
    monkeypatch.setattr(games, "_repack", repack)
    assert len(Games("train", tmp_path).ids()) == 3
    monkeypatch.setattr(games, "_repack", interrupted)
    assert len(Games("train", tmp_path).ids()) == 3


def test_alfworlds_own_directory_is_used_where_no_other_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(folder(tmp_path)))
    monkeypatch.chdir(tmp_path)
    assert len(Games("train").ids()) == 3
    monkeypatch.setenv("AMP_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(MissingDependencyError, match="nowhere"):
        Games("train")


def test_the_goal_is_read_from_the_grammar(tmp_path: Path) -> None:
    games_ = Games("train", folder(tmp_path))
    file = games_.find(f"train/{NAMES[0]}")
    assert file.goal(file.read()) == "put a mug in pick"


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "alfworld").mkdir()
    with pytest.raises(MissingDependencyError, match=r"split train.*amp data get alfworld"):
        Games("train", tmp_path).ids()
    (tmp_path / "json_2.1.1" / "valid_seen").mkdir(parents=True)
    with pytest.raises(MissingDependencyError, match=r"FOLDER/TRIAL/game\.tw-pddl"):
        Games("valid_seen", tmp_path).ids()


def test_unknown_names_get_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"'valid_sen'; did you mean 'valid_seen'\?"):
        Games("valid_sen", tmp_path)
    with pytest.raises(InvalidInputError, match=r"trial_3' in split train; did you mean"):
        Games("train", folder(tmp_path)).find(f"train/{NAMES[0][:-1]}3")


@pytest.mark.parametrize("keep", [0, 100, 400])
def test_a_damaged_archive_is_named(tmp_path: Path, own_cache: Path, keep: int) -> None:
    path = archive(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidInputError, match=r"train\.tar\.xz is damaged"):
        Games("train", tmp_path).ids()
    assert list(own_cache.rglob("*.*")) == []


def test_a_damaged_packed_archive_can_be_deleted(tmp_path: Path, own_cache: Path) -> None:
    archive(tmp_path)
    Games("train", tmp_path).ids()
    (packed,) = own_cache.rglob("*.zip")
    packed.write_bytes(b"no zip")
    with pytest.raises(InvalidInputError, match="delete it"):
        Games("train", tmp_path).ids()
    packed.unlink()
    assert len(Games("train", tmp_path).ids()) == 3


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"grammar": "g"}'])
def test_a_damaged_game_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "game.tw-pddl"
    path.write_bytes(text)
    with pytest.raises(InvalidInputError, match=r"game\.tw-pddl"):
        GameFile("train/a/b", path).read()
