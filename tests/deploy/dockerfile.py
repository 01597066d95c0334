"""Carries out a Dockerfile's steps in a folder, where no container can be made.

Paths in the image become paths below the folder. What a container would keep apart is not: programs
come from this machine, and nothing but the files of one stage is forgotten.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

_STEP = re.compile(r"^([A-Z]+)\s+(.*)$")


@dataclass
class Image:
    """What the steps made.

    Attributes:
        root: the folder that stands for ``/``.
        workdir: where commands run.
        user: who runs them, and the group; None for root.
        variables: of the environment.
        entrypoint: the command that a container runs.
        healthcheck: the command that says whether it is well.
    """

    root: Path
    workdir: str = "/"
    user: tuple[int, int] | None = None
    variables: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def here(self, text: str) -> str:
        """A text with the image's own folders below the root."""
        return re.sub(r"(?<![\w./:])/(?=(?:venv|build|data)\b)", f"{self.root}/", text)

    def environment(self) -> dict[str, str]:
        """The variables of a command."""
        base = f"{self.root.parent}/bin:{os.environ['PATH']}"
        return {"PATH": base, **{name: self.here(text) for name, text in self.variables.items()}}


def carry_out(dockerfile: Path, context: Path, folder: Path) -> Image:
    """Carries out all stages; returns the last.

    Args:
        dockerfile: the file; a list of what is not sent to the builder lies beside it.
        context: the folder that is sent.
        folder: where everything is made; ``bin`` in it has the programs of the base image.
    """
    ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().splitlines()
    stages: dict[str, Image] = {}
    image = Image(folder)
    text = dockerfile.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        step = _STEP.match(line)
        assert step is not None, line
        kind, rest = step.groups()
        match kind:
            case "FROM":
                base, _, name = rest.partition(" AS ")
                assert base == "python:3.11-slim"
                image = Image(folder / (name or "last"))
                image.root.mkdir(parents=True)
                stages[name] = image
            case "WORKDIR":
                image.workdir = rest
                Path(image.here(rest)).mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = rest.split()
                if sources[0].startswith("--from="):
                    stage = stages[sources.pop(0).removeprefix("--from=")]
                    _copy_tree(Path(stage.here(sources[0])), Path(image.here(target)))
                    _moved(Path(image.here(target)), stage.root, image.root)
                    continue
                for source in sources:
                    assert not _is_ignored(source, ignored), f"{source} is not sent to the builder"
                    place = Path(image.here(image.workdir)) / target
                    found = context / source
                    if found.is_dir():
                        _copy_tree(found, place)
                    else:
                        shutil.copy(found, place / source if place.is_dir() else place)
            case "RUN":
                subprocess.run(
                    ["sh", "-ec", image.here(rest)],
                    cwd=image.here(image.workdir),
                    env={**os.environ, **image.environment(), "PYTHONPATH": ""},
                    check=True,
                )
            case "ENV":
                image.variables |= dict(pair.split("=", 1) for pair in rest.split())
            case "USER":
                user, group = rest.split(":")
                image.user = int(user), int(group)
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "HEALTHCHECK":
                image.healthcheck = json.loads(rest.partition("CMD ")[2])
            case _:
                assert kind in ("VOLUME", "EXPOSE"), line
    return image


def _is_ignored(source: str, patterns: list[str]) -> bool:
    """Whether the builder is not sent a file or folder; the last pattern that fits decides."""
    ignored = False
    for pattern in patterns:
        if fnmatch(source, pattern.removeprefix("!")):
            ignored = not pattern.startswith("!")
    return ignored


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(
        source,
        target,
        symlinks=True,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )


def _moved(folder: Path, before: Path, after: Path) -> None:
    """Mends the first lines of scripts, which name the folder; in an image it stays the same."""
    for script in (folder / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            content = script.read_bytes()
            script.write_bytes(content.replace(bytes(before), bytes(after)))
