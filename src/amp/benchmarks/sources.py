"""Where each benchmark's data is published, and how it is brought into the data directory."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from amp.benchmarks.data import data_directory
from amp.benchmarks.fetch import RemoteFile, fetch
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean
from amp.models.download import Progress

_GSM8K = (
    "https://raw.githubusercontent.com/openai/grade-school-math/"
    "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data/"
)

PROBLEMS = (
    RemoteFile(
        "train.jsonl",
        f"{_GSM8K}train.jsonl",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    ),
    RemoteFile(
        "test.jsonl",
        f"{_GSM8K}test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    ),
)
"""GSM8K: both files of its repository."""

GAMES = RemoteFile(
    "json_2.1.3_tw-pddl.zip",
    "https://github.com/alfworld/alfworld/releases/download/0.4.2/json_2.1.3_tw-pddl.zip",
    "5df77ea759f2211a4106082839ddbbb790f1ba4e7d097ed732cf453f72aa36cf",
)
"""ALFWorld: the text games. The other archives of the release (json_2.1.1_json.zip and
json_2.1.1_pddl.zip) serve the 3D simulator and the making of games; no game needs them."""

PRODUCTS: Mapping[str, tuple[str, str]] = {
    "items_shuffle_1000.json": ("1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib", "levels small, small-human"),
    "items_ins_v2_1000.json": ("1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu", "levels small, small-human"),
    "items_human_ins.json": ("14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O", "levels small-human, full"),
    "items_shuffle.json": ("1A2whVgOO0euk5O13n2iYDM0bQRkkRduB", "level full"),
    "items_ins_v2.json": ("1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi", "level full"),
}
"""WebShop: the files by name, each with its number on Google Drive (as the original's setup.sh has
it) and the levels that it is for."""

_RELEASE = "json_2.1.1"  # the name of the folder is that of ALFWorld's first release still
_MEMBER = re.compile(rf"{_RELEASE}/[\w-]+/[\w-]+/[\w-]+/game\.tw-pddl")


def get_data(name: str, data: Path | None, progress: Progress) -> Path:
    """Brings a benchmark's data into the data directory, unless it is there; returns its folder.

    Args:
        name: a benchmark that has data: a key of `GETTERS`.
        data: the data directory; None for the usual one (`amp.benchmarks.data`).
        progress: gets the bytes of a file that are there so far, and those of the whole (0 if
            unknown).

    Raises:
        InvalidInputError: if there is no such benchmark, what came is not what it should be, or the
            directory cannot be written.
        MissingDependencyError: if it cannot be fetched, or only by a person; says what to do.
    """
    if name not in GETTERS:
        known = tuple(GETTERS)
        raise InvalidInputError(
            f"no data is known for {name!r}{did_you_mean(name, known)} "
            f"(benchmarks with data: {', '.join(known)})"
        )
    folder = data_directory(data).path / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        GETTERS[name](folder, progress)
    except OSError as error:
        raise InvalidInputError(f"cannot write {name} data to {folder}: {error}") from None
    return folder


def _problems(folder: Path, progress: Progress) -> None:
    for file in PROBLEMS:
        fetch(file, folder, progress)


def _games(folder: Path, progress: Progress) -> None:
    """Unpacks the games beside the place where they belong, and moves them there in one step."""
    if (folder / _RELEASE).is_dir():
        return
    archive = fetch(GAMES, folder, progress)
    draft = folder / f"{_RELEASE}.part"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            games = [name for name in packed.namelist() if _MEMBER.fullmatch(name)]
            for name in games:
                packed.extract(name, draft)
    except (zipfile.BadZipFile, EOFError) as error:
        raise InvalidInputError(f"{archive} is damaged ({error}); delete it, try again") from None
    if not games:
        raise InvalidInputError(f"{archive} holds no games {_RELEASE}/SPLIT/FOLDER/TRIAL")
    (draft / _RELEASE).replace(folder / _RELEASE)
    draft.rmdir()
    archive.unlink()


def _products(folder: Path, progress: Progress) -> None:
    missing = {name: entry for name, entry in PRODUCTS.items() if not (folder / name).is_file()}
    if missing:
        listed = "".join(
            f"\n  {name}: https://drive.google.com/uc?id={number} ({levels})"
            for name, (number, levels) in missing.items()
        )
        raise MissingDependencyError(
            f"WebShop's project keeps its data on Google Drive, where a person has to get it; put "
            f"the files of the level that you want into {folder.absolute()}:{listed}"
        )


GETTERS: Mapping[str, Callable[[Path, Progress], None]] = {
    "alfworld": _games,
    "gsm8k": _problems,
    "webshop": _products,
}
"""What brings the data of a benchmark into its folder."""
