"""Loads a causal language model with the library transformers: from a file, a directory, the hub.

Nothing is downloaded unless a hub model was asked for, no code of a model is run, and no pickle is
read. A GGUF file is unpacked to the full width of its numbers, so it needs several times the memory
that its size suggests.
"""

from __future__ import annotations

import importlib
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amp.errors import InvalidInputError, MissingDependencyError
from amp.models.base import ModelCard
from amp.models.download import sha256_of

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_DTYPES = ("float32", "bfloat16", "float16")
_DAMAGED = (OSError, ValueError, RuntimeError, LookupError, TypeError, struct.error)


@dataclass(frozen=True, slots=True)
class Weights:
    """A model in memory.

    Attributes:
        network: a transformers model for causal language modelling, ready for inference.
        tokenizer: its tokenizer.
        ends: the tokens that end a text, as its configuration says.
        card: who it is, counted from the weights and their configuration.
    """

    network: Any
    tokenizer: Any
    ends: frozenset[int]
    card: ModelCard


def load_weights(name: str | Path, device: str | None, dtype: str | None) -> Weights:
    """Loads a model for inference.

    Args:
        name: path of a GGUF file or of a directory in the format of transformers, or ``OWNER/NAME``
            on the Hugging Face hub, which is asked only if there is no such path.
        device: as torch names it, such as ``cpu`` or ``cuda:1``; None takes CUDA where there is.
        dtype: ``float32``, ``bfloat16`` or ``float16``; None takes bfloat16 on CUDA, else float32.

    Raises:
        MissingDependencyError: if a package or the model is missing; the message says how to get
            it.
        InvalidInputError: if the name, the device or the dtype is none, or the model is damaged or
            of an unknown kind.
    """
    if dtype is not None and dtype not in _DTYPES:
        raise InvalidInputError(f"dtype is {dtype!r}, expected one of {', '.join(_DTYPES)}")
    source = _source(name)
    # Read when the libraries load. Spinning OpenMP threads starve each other on a busy machine;
    # forking after the tokenizer's threads ran prints a warning in every child.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch, transformers = _library("torch"), _library("transformers")
    for package in source.packages:
        _library(package)
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise InvalidInputError(f"device is {device!r}, expected cpu, cuda or cuda:N") from error
    wanted = dtype or ("bfloat16" if place.type == "cuda" else "float32")
    options: dict[str, Any] = {**source.options, "trust_remote_code": False}
    weights: dict[str, Any] = {"dtype": getattr(torch, wanted)}
    if source.file is None:
        weights["use_safetensors"] = True
    else:
        # Without this, some kinds of file would have a kernel fetched from the hub.
        weights["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.place, **options)
        config = transformers.AutoConfig.from_pretrained(source.place, **options)
        network = transformers.AutoModelForCausalLM.from_pretrained(
            source.place, config=config, **options, **weights
        )
        network.to(place)
    except _DAMAGED as error:
        raise _unloadable(name, source, error) from error
    network.requires_grad_(False).eval()
    return Weights(network, tokenizer, _ends(network, tokenizer), _card(source, network))


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a model comes from, as transformers wants to hear it."""

    name: str
    place: str
    options: Mapping[str, object]
    file: Path | None = None
    packages: tuple[str, ...] = ()
    hub: bool = False


def _source(name: str | Path) -> _Source:
    path = Path(name).expanduser()
    if path.is_file():
        with path.open("rb") as file:
            magic = file.read(4)
        if magic != b"GGUF":
            raise InvalidInputError(
                f"model file {path} begins with {magic!r}, expected b'GGUF'; for other weights give"
                " their directory"
            )
        options = {"gguf_file": path.name, "local_files_only": True}
        packages = ("gguf", "accelerate")
        return _Source(path.stem, str(path.parent), options, path, packages)
    if path.is_dir():
        return _Source(path.resolve().name, str(path), {"local_files_only": True})
    if isinstance(name, str) and _HUB_NAME.fullmatch(name) and not name.endswith(".gguf"):
        return _Source(name, name, {}, hub=True)
    raise MissingDependencyError(
        f"no model file or directory {path}; check the path, or run: amp models pull NAME"
        " (a model of the hub is OWNER/NAME)"
    )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"models on transformers need {name};"
            " run: pip install 'adaptive-meta-planning[transformers]'"
        ) from error


def _unloadable(
    name: str | Path, source: _Source, error: Exception
) -> InvalidInputError | MissingDependencyError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].rstrip(".:")
    if source.hub and isinstance(error, OSError):
        return MissingDependencyError(
            f"model {name} cannot be had from the hub ({reason}); check the name and the network"
        )
    return InvalidInputError(
        f"model {name} cannot be loaded ({reason}): it is damaged, incomplete, of an unknown kind,"
        " or too large"
    )


def _ends(network: Any, tokenizer: Any) -> frozenset[int]:
    ends: set[int] = set()
    for said in (
        network.generation_config.eos_token_id,
        network.config.eos_token_id,
        tokenizer.eos_token_id,
    ):
        ends.update(said if isinstance(said, list) else () if said is None else (said,))
    return frozenset(ends)


def _card(source: _Source, network: Any) -> ModelCard:
    config = network.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", None)
    width = getattr(config, "head_dim", None)
    if heads and not width:
        width = config.hidden_size // heads
    return ModelCard(
        source.name,
        sha256=sha256_of(source.file) if source.file is not None else "",
        # A parameter that two layers share, such as the embedding, is listed once.
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        context_tokens=getattr(config, "max_position_embeddings", None),
        layers=getattr(config, "num_hidden_layers", None),
        attention_width=heads * width if heads else None,
    )
