"""Episodes on disk: one directory per run, with everything that is needed to read and repeat it.

``run.json`` has the run's configuration (`amp.evaluate.config.RunConfig`), what it resolved to
(model, allocator, prompts, defaults, hashes of files), versions and tasks. ``episodes.jsonl`` has
one episode per line, each written whole and synced, so that a killed run keeps its finished
episodes. They contain no wall-clock time: the same answers give the same bytes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from amp.errors import InvalidInputError
from amp.files import Lock, append_line, lock_directory, read_file, replace_file, writing
from amp.types import FAULTS, MODEL_ERROR, Episode, StepRecord, decided_by, written

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MANIFEST = "run.json"
EPISODES = "episodes.jsonl"
CONTENTS = "contents_sha256"
"""Key of the manifest: hashes of what the files of ``sha256`` hold, where those are others."""

_log = logging.getLogger(__name__)

_PROBE_OF_0_1 = ("look", "probe")
"""What version 0.1 called the probe of a step; both are read."""

_FINAL = "final_complexity"
"""What traces lack that were written before this field of a step."""

_SAME_IN_0_1 = ("model", "prompts", "allocator", "fixed", "space", "versions", "tasks")
_RENAMED_SINCE_0_1 = {
    **{"method": "method", "rounds": "rounds", "trade_off": "trade_off"},
    **{"mean_tokens": "mean_tokens", "most": "max_samples"},
}
_LIMITS_OF_0_1 = {
    **{"steps": "max_steps", "tokens": "budget_tokens"},
    **{"seconds": "max_seconds", "dollars": "max_dollars"},
}

_TABLES = ("model", "sha256", CONTENTS, "versions", "limits", "pinned")
"""What is an object in ``run.json``, of today or of version 0.1."""

SANDBOX = "sandbox"
"""Key of ``run.json``: which walls stood around programs; no part of what was run."""

_ELSEWHERE = frozenset(
    {"model", "limit", "allocator", "assessor", "correctness", "source_run", "give_up", SANDBOX}
)
"""Keys of a configuration whose meaning ``run.json`` holds, too: cards, hashes, tasks."""


def to_json(value: Any) -> str:
    """One line of JSON of a dataclass or mapping; sets become sorted lists, so equal is equal."""
    plain = value if isinstance(value, Mapping) else asdict(value, dict_factory=written)
    return json.dumps(plain, default=sorted, ensure_ascii=False, allow_nan=False)


@cache
def _episode_adapter() -> TypeAdapter[Episode]:
    from pydantic import TypeAdapter  # slow to import, and planning does not need it

    return TypeAdapter(Episode)


def episode_from_json(line: str) -> Episode:
    """Reads what `to_json` wrote, version 0.1 included.

    Raises:
        ValueError: if the line is no episode; the message is one line.
    """
    from pydantic import ValidationError

    # Quotes in a JSON text are escaped, so this finds keys only.
    old, new = _PROBE_OF_0_1
    line = line.replace(f'"{old}":', f'"{new}":')
    try:
        episode = _episode_adapter().validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "line"
        raise ValueError(f"{where}: {first['msg']}") from None
    if f'"{_FINAL}":' in line:
        return episode
    return replace(episode, steps=tuple(map(_with_final, episode.steps)))


def _with_final(step: StepRecord) -> StepRecord:
    """A step as it is told today; earlier its only complexity was the last assessment."""
    complexity, final = decided_by(step.rounds, step.complexity)
    return replace(step, complexity=complexity, final_complexity=final)


def read_episodes(path: Path) -> Iterator[Episode]:
    """Reads the episodes of a run directory or of an episodes file, in order.

    A last line without its end was being written when the run was killed; it is left out. A task
    that several lines are about, as two processes at once could leave them, counts once: its first
    episode that no model error ended, or else its first. What is left out is logged.

    Raises:
        InvalidInputError: if there is no such file or a line is no episode.
    """
    file = path / EPISODES if path.is_dir() else path
    found: dict[str, Episode] = {}
    lines = 0
    for lines, line in enumerate(_whole_lines(file), start=1):
        try:
            episode = episode_from_json(line)
        except ValueError as error:
            raise InvalidInputError(f"{file} line {lines} is no episode: {error}") from None
        known = found.setdefault(episode.task.id, episode)
        if known.ended == MODEL_ERROR != episode.ended:
            found[episode.task.id] = episode
    if lines > len(found):
        _log.warning(
            "%s has %d episodes of %d tasks; what repeats a task is left out",
            *(file, lines, len(found)),
        )
    yield from found.values()


def _whole_lines(file: Path) -> list[str]:
    if not file.exists():
        raise InvalidInputError(f"no trace at {file}; expected a run directory or an {EPISODES}")
    try:
        text = read_file(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{file} is no trace: not UTF-8 at byte {error.start}") from None
    return text.split("\n")[:-1]


class RunDirectory:
    """A run being written. Make one with `create` or `resume`; no other process can meanwhile.

    Use it in a ``with`` block, or call `close`. All methods raise `InvalidInputError` where the
    directory cannot be written. Episodes are kept on disk alone, so a run may be as long as it
    likes.
    """

    def __init__(self, path: Path, places: dict[str, int], lock: Lock) -> None:
        self.path = path
        self._places = places  # where the line of each task begins
        self._lock = lock

    @property
    def done(self) -> Set[str]:
        """Ids of the tasks whose episodes are there."""
        return self._places.keys()

    def episodes(self) -> Iterator[Episode]:
        """Reads the episodes one at a time, in the order of the tasks once the run is finished."""
        with self._open() as stream:
            for line in _lines_at(stream, self._places.values()):
                yield episode_from_json(line.decode())

    @classmethod
    def create(cls, path: Path, manifest: Mapping[str, Any]) -> RunDirectory:
        """Starts a run.

        Raises:
            InvalidInputError: if the directory has a run already, or another process writes one.
        """
        lock = lock_directory(path)
        with _released_on_error(lock):
            if (path / MANIFEST).exists():
                raise InvalidInputError(
                    f"{path} has a run already; resume it (--resume) or choose another directory"
                )
            return cls._begun(path, manifest, lock)

    @classmethod
    def resume(cls, path: Path, manifest: Mapping[str, Any]) -> RunDirectory:
        """Goes on with a run that was interrupted or killed; starts one if there is none.

        Episodes that an error of the model or the environment ended are left out, so that they are
        tried again.

        Raises:
            InvalidInputError: if the run was made with something else, which the message names, or
                another process writes it.
        """
        lock = lock_directory(path)
        with _released_on_error(lock):
            if not (path / MANIFEST).exists():
                return cls._begun(path, manifest, lock)
            _require_same(path, manifest)
            done = [e for e in read_episodes(path) if e.ended not in FAULTS]
            return cls(path, _write_episodes(path, done), lock)

    @classmethod
    def _begun(cls, path: Path, manifest: Mapping[str, Any], lock: Lock) -> RunDirectory:
        places = _write_episodes(path, [])
        told = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        replace_file(path / MANIFEST, told.encode())
        return cls(path, places, lock)

    def append(self, episode: Episode) -> None:
        """Adds an episode; when this returns, it is on disk."""
        self._lock.confirm()
        try:
            line = to_json(episode)
            line.encode()
        except (TypeError, ValueError, RecursionError) as error:  # other people's classes fill it
            raise InvalidInputError(
                f"the episode of task {episode.task.id!r} cannot be saved: {error}"
            ) from None
        self._places[episode.task.id] = append_line(self.path / EPISODES, line)

    def finish(self, task_ids: list[str]) -> None:
        """Puts the episodes in the order of the tasks, whatever order they ended in."""
        self._lock.confirm()
        order = {task_id: index for index, task_id in enumerate(task_ids)}
        ids = sorted(self._places, key=order.__getitem__)
        if ids == list(self._places):
            return
        with self._open() as stream:
            lines = _lines_at(stream, (self._places[task_id] for task_id in ids))
            self._places = _replace_lines(self.path, ids, lines)

    def _open(self) -> BinaryIO:
        with writing(self.path / EPISODES):
            return (self.path / EPISODES).open("rb")

    def close(self) -> None:
        """Lets other processes write the run. Twice is fine."""
        self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def _released_on_error(lock: Lock) -> Iterator[None]:
    try:
        yield
    except BaseException:
        lock.release()
        raise


def _require_same(path: Path, manifest: Mapping[str, Any]) -> None:
    """Makes sure that the run in a directory was made with what is to go on.

    Raises:
        InvalidInputError: if it was not; says with what.
    """
    if "config" not in _read_json(path / MANIFEST):
        raise InvalidInputError(
            f"{path} was run by version 0.1, which can be read but not resumed; choose another"
            " directory"
        )
    earlier = read_manifest(path)
    # By way of JSON, since what was written has lists where the manifest may have tuples.
    today = json.loads(json.dumps(manifest))
    if CONTENTS not in earlier:  # an older run: it knows its files by their bytes
        today.pop(CONTENTS, None)
    earlier = settings_of(earlier)
    for key, now in settings_of(today).items():
        if earlier.get(key) != now:
            raise InvalidInputError(
                f"{path} was run with {key} {earlier.get(key)!r}, not {now!r}; "
                "repeat its options or choose another directory"
            )


def _write_episodes(path: Path, episodes: Sequence[Episode]) -> dict[str, int]:
    lines = (to_json(episode).encode() + b"\n" for episode in episodes)
    return _replace_lines(path, [episode.task.id for episode in episodes], lines)


def _replace_lines(path: Path, ids: Sequence[str], lines: Iterable[bytes]) -> dict[str, int]:
    """Writes the lines of these tasks in place of all others, and tells where each begins."""
    places: dict[str, int] = {}

    def counted() -> Iterator[bytes]:
        size = 0
        for task_id, line in zip(ids, lines, strict=True):
            places[task_id] = size
            size += len(line)
            yield line

    replace_file(path / EPISODES, counted())
    return places


def _lines_at(stream: BinaryIO, places: Iterable[int]) -> Iterator[bytes]:
    for place in places:
        stream.seek(place)
        yield stream.readline()


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads what a run directory says of itself, version 0.1 included.

    Returns:
        ``config``: the run's configuration; ``model``: the card; ``prompts``: versions;
        ``allocator``: what was used, for a policy the name of its file; ``fixed`` and ``space``:
        the defaults; ``sha256``: hashes of the files that the configuration names, and
        ``contents_sha256`` of what they hold, if that is another; ``versions`` of packages;
        ``tasks``: ids.

    Raises:
        InvalidInputError: if it is missing or no JSON object.
    """
    manifest = _read_json(path / MANIFEST)
    return manifest if "config" in manifest else _from_0_1(manifest)


def _read_json(file: Path) -> dict[str, Any]:
    if file.parent.exists() and not file.parent.is_dir():
        raise InvalidInputError(f"{file.parent} is no run: it is a file, expected a directory")
    if not file.exists():
        raise InvalidInputError(f"no run at {file.parent}: {file.name} is missing")
    try:
        manifest = json.loads(read_file(file))
    except RecursionError:
        raise InvalidInputError(f"{file} is nested too deeply, expected a few levels") from None
    except ValueError as error:
        raise InvalidInputError(f"{file} is no JSON: {error}") from None
    if not isinstance(manifest, dict):
        raise InvalidInputError(f"{file} holds a {type(manifest).__name__}, expected an object")
    tables = {name: manifest[name] for name in _TABLES if manifest.get(name) is not None}
    if "config" in manifest:
        tables["config"] = manifest["config"]
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InvalidInputError(f"{file}: {name} is {table!r}, expected an object")
    planner = manifest.get("config", {}).get("planner", {})
    if not isinstance(planner, dict):
        raise InvalidInputError(f"{file}: config.planner is {planner!r}, expected an object")
    return manifest


def _from_0_1(old: Mapping[str, Any]) -> dict[str, Any]:
    """What version 0.1 wrote, in the form of today; what it lacks is missing here, too."""
    planner = {new: old.get(name) for name, new in _RENAMED_SINCE_0_1.items()}
    planner |= {"allocator": None if old.get("method") else old.get("allocator")}
    planner |= {"probes": old.get("looks") or [], "exclude": old.get("left_out") or []}
    planner |= {new: (old.get("limits") or {}).get(name) for name, new in _LIMITS_OF_0_1.items()}
    planner |= old.get("pinned") or {}
    config = {name: old[name] for name in ("benchmark", "split", "step", "seed") if name in old}
    versions = dict(old.get("versions") or {})
    hashes = {
        "allocator": old.get("policy"),
        "assessor": old.get("assessor"),
        "source_run": versions.pop(EPISODES, None),
    }
    return {
        "config": config | {"permuted": bool(old.get("orders")), "planner": planner},
        **{name: old[name] for name in _SAME_IN_0_1 if name in old},
        "sha256": {name: value for name, value in hashes.items() if value is not None},
        "versions": versions,
    }


def settings_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of a run by name, flat; equal for all who run the same.

    Paths and names of models are left out, since their hashes and cards are there.
    """
    config = dict(manifest.get("config", {}))
    config |= {"vote": "weighted"} | config.pop("planner", {})  # earlier runs do not say so
    told = ("config", "sha256", CONTENTS, SANDBOX)
    files = manifest.get("sha256", {}) | manifest.get(CONTENTS, {})
    hashes = {f"sha256 of {key}": value for key, value in files.items()}
    return {
        **{key: value for key, value in config.items() if key not in _ELSEWHERE},
        **{key: value for key, value in manifest.items() if key not in told},
        **hashes,
    }
