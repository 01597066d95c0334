"""Episodes on disk: one directory per run, with everything that is needed to read and repeat it.

``run.json`` has the run's configuration (`amp.evaluate.config.RunConfig`), what it resolved to
(model, allocator, prompts, defaults, hashes of files), versions and tasks. ``episodes.jsonl`` has
one episode per line, each written whole and synced, so that a killed run keeps its finished
episodes. They contain no wall-clock time: the same answers give the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amp.errors import InvalidInputError
from amp.types import MODEL_ERROR, Episode

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MANIFEST = "run.json"
EPISODES = "episodes.jsonl"

_PROBE_OF_0_1 = ("look", "probe")
"""What version 0.1 called the probe of a step; both are read."""

_SAME_IN_0_1 = ("model", "prompts", "allocator", "fixed", "space", "versions", "tasks")
_RENAMED_SINCE_0_1 = {
    **{"method": "method", "rounds": "rounds", "trade_off": "trade_off"},
    **{"mean_tokens": "mean_tokens", "most": "max_samples"},
}
_LIMITS_OF_0_1 = {
    **{"steps": "max_steps", "tokens": "budget_tokens"},
    **{"seconds": "max_seconds", "dollars": "max_dollars"},
}

_TABLES = ("model", "sha256", "versions", "limits", "pinned")
"""What is an object in ``run.json``, of today or of version 0.1."""

_ELSEWHERE = frozenset({"model", "limit", "allocator", "assessor", "source_run"})
"""Keys of a configuration whose meaning ``run.json`` holds, too: cards, hashes, tasks."""


def to_json(value: Any) -> str:
    """One line of JSON of a dataclass or mapping; sets become sorted lists, so equal is equal."""
    plain = value if isinstance(value, Mapping) else asdict(value)
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
        return _episode_adapter().validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "line"
        raise ValueError(f"{where}: {first['msg']}") from None


def read_episodes(path: Path) -> Iterator[Episode]:
    """Reads the episodes of a run directory or of an episodes file, in order.

    A last line without its end was being written when the run was killed; it is left out.

    Raises:
        InvalidInputError: if there is no such file or a line is no episode.
    """
    file = path / EPISODES if path.is_dir() else path
    for number, line in enumerate(_whole_lines(file), start=1):
        try:
            yield episode_from_json(line)
        except ValueError as error:
            raise InvalidInputError(f"{file} line {number} is no episode: {error}") from None


def _whole_lines(file: Path) -> list[str]:
    try:
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InvalidInputError(
            f"no trace at {file}; expected a run directory or an {EPISODES}"
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{file} is no trace: not UTF-8 at byte {error.start}") from None
    return text.split("\n")[:-1]


class RunDirectory:
    """A run being written. Make one with `create` or `resume`."""

    def __init__(self, path: Path, done: list[Episode]) -> None:
        self.path = path
        self.done = done

    @classmethod
    def create(cls, path: Path, manifest: Mapping[str, Any]) -> RunDirectory:
        """Starts a run.

        Raises:
            InvalidInputError: if the directory has a run already.
        """
        if (path / MANIFEST).exists():
            raise InvalidInputError(
                f"{path} has a run already; add --resume or choose another --out"
            )
        path.mkdir(parents=True, exist_ok=True)
        _write_whole(path / EPISODES, "")
        _write_whole(path / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        return cls(path, [])

    @classmethod
    def resume(cls, path: Path, manifest: Mapping[str, Any]) -> RunDirectory:
        """Goes on with a run that was interrupted or killed; starts one if there is none.

        Episodes that a model error ended are left out, so that they are tried again.

        Raises:
            InvalidInputError: if the run was made with something else; the message says with what.
        """
        if not (path / MANIFEST).exists():
            return cls.create(path, manifest)
        if "config" not in _read_json(path / MANIFEST):
            raise InvalidInputError(
                f"{path} was run by version 0.1, which can be read but not resumed; choose another"
                " --out"
            )
        # By way of JSON, since what was written has lists where the manifest may have tuples.
        earlier = settings_of(read_manifest(path))
        for key, now in settings_of(json.loads(json.dumps(manifest))).items():
            if earlier.get(key) != now:
                raise InvalidInputError(
                    f"{path} was run with {key} {earlier.get(key)!r}, not {now!r}; "
                    "repeat its options or choose another --out"
                )
        done = [e for e in read_episodes(path) if e.ended != MODEL_ERROR]
        _write_whole(path / EPISODES, "".join(to_json(e) + "\n" for e in done))
        return cls(path, done)

    def append(self, episode: Episode) -> None:
        """Adds an episode; when this returns, it is on disk."""
        with (self.path / EPISODES).open("a", encoding="utf-8") as file:
            file.write(to_json(episode) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.done.append(episode)

    def finish(self, task_ids: list[str]) -> None:
        """Puts the episodes in the order of the tasks, whatever order they ended in."""
        order = {task_id: index for index, task_id in enumerate(task_ids)}
        self.done.sort(key=lambda episode: order[episode.task.id])
        _write_whole(self.path / EPISODES, "".join(to_json(e) + "\n" for e in self.done))


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads what a run directory says of itself, version 0.1 included.

    Returns:
        ``config``: the run's configuration; ``model``: the card; ``prompts``: versions;
        ``allocator``: what was used, for a policy the name of its file; ``fixed`` and ``space``:
        the defaults; ``sha256``: hashes of the files that the configuration names; ``versions`` of
        packages; ``tasks``: ids.

    Raises:
        InvalidInputError: if it is missing or no JSON object.
    """
    manifest = _read_json(path / MANIFEST)
    return manifest if "config" in manifest else _from_0_1(manifest)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError(f"no run at {file.parent}: {file.name} is missing") from None
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
    config |= config.pop("planner", {})
    hashes = {f"sha256 of {key}": value for key, value in manifest.get("sha256", {}).items()}
    return {
        **{key: value for key, value in config.items() if key not in _ELSEWHERE},
        **{key: value for key, value in manifest.items() if key not in ("config", "sha256")},
        **hashes,
    }


def _write_whole(file: Path, text: str) -> None:
    """Replaces a file in one go: readers and crashes see the old one or the new one."""
    partial = file.with_name(file.name + ".partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
