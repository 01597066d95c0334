"""Weights on disk: safetensors with a header of words that says what they are for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from amp.network import Floats


def write_tensors(path: Path, header: Mapping[str, str], tensors: Mapping[str, Floats]) -> None:
    """Writes them; a file that exists is replaced only when the new one is complete."""
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(save(dict(tensors), metadata=dict(header)))
    os.replace(unfinished, path)


def read_tensors(
    path: Path, what: str, schema: str
) -> tuple[Mapping[str, str], Mapping[str, Floats]]:
    """Reads a header and its tensors.

    Args:
        path: the file.
        what: what it should hold, for messages.
        schema: what the header has to say under ``schema``.

    Raises:
        InvalidInputError: if there is no such file, or it holds something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = sorted(file.keys())
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise InvalidInputError(f"there is no {what} {path}; check the path") from None
    except (SafetensorError, OSError) as error:
        raise InvalidInputError(f"{path} is no safetensors file: {error}") from None
    if header.get("schema") != schema:
        raise InvalidInputError(
            f"{path} has the schema {header.get('schema')!r}, expected {schema!r}; train it again"
        )
    return header, tensors
