"""A table of draws on disk: JSON, compressed where the name ends in ``.gz``.

It holds what the model answered, and no text of any task.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.simulate.samples import Arm, Cell, Draw, Draws, TaskDraws
from amp.types import Allocation, Candidate, Look, ToolUse, Usage

FORMAT = 1


def save(draws: Draws, path: Path) -> None:
    """Writes a table; `load` gives an equal one."""
    text = json.dumps(
        {"format": FORMAT, **dataclasses.asdict(draws)},
        default=sorted,  # sets of names
        allow_nan=False,
        separators=(",", ":"),
    ).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def load(path: Path) -> Draws:
    """Reads a table.

    Raises:
        InvalidInputError: if there is none, or the file is damaged or of another version.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        fields = json.loads(content)
    except FileNotFoundError:
        raise InvalidInputError(f"no table of draws at {path}") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as a table of draws: {error}") from None
    found = fields.pop("format", None) if isinstance(fields, dict) else None
    if found != FORMAT:
        raise InvalidInputError(
            f"table of draws {path} has format {found}, this version reads {FORMAT}; make it again"
        )
    try:
        return _draws(fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is no table of draws: {type(error).__name__}: {error}; make it again"
        ) from None


def _draws(fields: dict[str, Any]) -> Draws:
    return Draws(
        **fields
        | {
            "card": ModelCard(**fields["card"]),
            "arms": tuple(Arm(a["name"], _allocation(a["allocation"])) for a in fields["arms"]),
            "tasks": tuple(_task(row) for row in fields["tasks"]),
            "looks": frozenset(fields["looks"]),
        }
    )


def _allocation(fields: dict[str, Any]) -> Allocation:
    return Allocation(**fields | {"tools": frozenset(fields["tools"])})


def _task(fields: dict[str, Any]) -> TaskDraws:
    look = fields["look"]
    return TaskDraws(
        **fields
        | {
            "cells": {name: _cell(cell) for name, cell in fields["cells"].items()},
            "look": look and Look(**look | {"hidden": tuple(look["hidden"])}),
            "look_usage": Usage(**fields["look_usage"]),
        }
    )


def _cell(fields: dict[str, Any]) -> Cell:
    draws = tuple(
        Draw(_candidate(draw["candidate"]), draw["right"], Usage(**draw["usage"]))
        for draw in fields["draws"]
    )
    return Cell(fields["prompt_tokens"], tuple(fields["cached"]), draws)


def _candidate(fields: dict[str, Any]) -> Candidate:
    attempt = fields["attempt"]
    return Candidate(
        **fields
        | {
            "tool_uses": tuple(ToolUse(**use) for use in fields["tool_uses"]),
            "attempt": attempt and _candidate(attempt),
        }
    )
