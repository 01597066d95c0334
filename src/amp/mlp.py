"""What trained assessors and policies share: layers, encoded inputs, and their files (safetensors).

A file has a header of words that says what its weights are for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from amp.errors import InvalidInputError
from amp.files import replace_file

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

FAR = 10.0

_NAMES_OF_0_1 = {
    "looks": "probes",
    "most_rounds": "max_rounds",
    "most_samples": "max_samples",
}
"""What headers that version 0.1 wrote called what."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """x @ weight + bias, with a weight of shape (inputs, outputs)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(x @ self.weight + self.bias)


def normalise(values: Sequence[float | None], mean: Floats, std: Floats) -> Floats:
    """Values in standard deviations from their mean in training; a missing one (None) is 0.

    A value further than `FAR` from its mean is cut to that, so that no outlier drowns all else.

    Args:
        values: None where one is missing.
        mean: of each value in training.
        std: likewise, more than 0.
    """
    missing = [value is None for value in values]
    filled = np.array([0.0 if value is None else value for value in values])
    far = np.clip((filled - mean) / std, -FAR, FAR)
    return np.asarray(np.where(missing, 0.0, far).astype(mean.dtype))


def encode(values: Sequence[float | None], mean: Floats, std: Floats) -> Floats:
    """The vector that a network takes: normalised values, then a flag for each that is missing."""
    missing = np.array([value is None for value in values])
    return np.concatenate((normalise(values, mean, std), missing)).astype(mean.dtype)


def write_tensors(path: Path, header: Mapping[str, str], tensors: Mapping[str, Floats]) -> None:
    """Writes them; a file that exists is replaced only when the new one is complete.

    Equal headers and tensors give equal bytes.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    replace_file(path, _canonical(save(dict(tensors), metadata=dict(header))))


def _canonical(content: bytes) -> bytes:
    """The same safetensors with its header in order, which the library writes in any."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def content_hash(path: Path) -> str:
    """SHA-256 of what a safetensors file holds, whatever the order of its header.

    It is that of the file itself if `write_tensors` wrote it, or if it is no such file.

    Raises:
        InvalidInputError: if it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None
    with suppress(ValueError, TypeError, AttributeError):  # whoever loads it says what is wrong
        content = _canonical(content)
    return hashlib.sha256(content).hexdigest()


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
    if path.exists() and not path.is_file():
        raise InvalidInputError(f"{path} is no safetensors file: it is a directory or a device")
    try:
        with safe_open(path, framework="numpy") as file:
            names = sorted(file.keys())
            header = {
                _NAMES_OF_0_1.get(name, name): text
                for name, text in (file.metadata() or {}).items()
            }
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise InvalidInputError(f"there is no {what} {path}; check the path") from None
    except (SafetensorError, OSError, MemoryError) as error:  # the last: larger than the memory
        raise InvalidInputError(f"{path} is no safetensors file: {error}") from None
    found = header.get("schema")
    if found != schema:
        kind, _, _ = str(found).partition("/")
        same = kind == schema.partition("/")[0]
        advice = "train it again" if same or found is None else f"name a {what}"
        raise InvalidInputError(f"{path} has the schema {found!r}, expected {schema!r}; {advice}")
    return header, tensors
