"""Loads a model with the library transformers, and turns chats into tokens and tokens into text.

Nothing is downloaded unless a hub model was asked for, no code of a model is run, and no pickle is
read. A GGUF file is unpacked to the full width of its numbers, so it needs several times the memory
that its size suggests.

A token's text depends on what stands before it (many tokenizers drop the blank at the start of a
text), so tokens are always decoded as the continuation of an ordinary word.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amp.errors import InvalidInputError, MissingDependencyError
from amp.models.base import FinishReason, ModelCard, Prompt
from amp.models.chat import as_messages
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
            f"model {name} cannot be loaded from the hub ({reason}); check the name and the network"
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


# Stands for the assistant's text in the template. The text itself would not do: templates trim it,
# and a short one is found elsewhere in the chat, too.
_MARK = "TextOfTheAssistant"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the tokens of a model read.

    Attributes:
        texts: all different texts, the empty one first.
        groups: for each token the index of its text.
    """

    texts: tuple[str, ...]
    groups: list[int]


class ChatText:
    """Templates and tokens of one model.

    Args:
        tokenizer: a tokenizer of transformers.
        name: the model's name, for messages.
        ends: tokens that end an answer. What the template writes after an answer ends it, too.

    Raises:
        InvalidInputError: if the model has no chat template.
    """

    def __init__(self, tokenizer: Any, name: str, ends: frozenset[int]) -> None:
        if not tokenizer.chat_template:
            raise InvalidInputError(
                f"model {name} has no chat template, as base models have none;"
                " take one that is tuned to instructions"
            )
        self._tokenizer = tokenizer
        self._name = name
        self._anchor: int = self.encode("a")[-1]
        self._anchor_text = self._decode_all([[self._anchor]])[0]
        self.ends = ends | self._turn_end()

    def prompt(self, prompt: Prompt) -> str:
        """Returns the text that the model reads; an assistant's last message is left open.

        Raises:
            InvalidInputError: if the template refuses the chat.
        """
        messages = as_messages(prompt, prefix=True)
        if messages[-1]["role"] != "assistant":
            return self._templated(messages, add_generation_prompt=True)
        prefix = messages.pop()["content"]
        return self._around_answer(messages)[0] + prefix

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a text; names of control tokens in it are those tokens."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns what the tokens add to a text; control tokens add nothing."""
        return self._decode_all([[self._anchor, *tokens]])[0].removeprefix(self._anchor_text)

    def continuation(self, prompt: str, continuation: str) -> list[int]:
        """Returns the tokens of a continuation, as the model could generate them.

        The prompt's own tokens stay as they are: they never merge with the continuation's.

        Raises:
            InvalidInputError: if there are no tokens that read like this.
        """
        for head in (prompt, "", "\n"):
            before, whole = self.encode(head), self.encode(head + continuation)
            tokens = whole[len(before) :]
            if whole[: len(before)] == before and tokens and self.decode(tokens) == continuation:
                return tokens
        raise InvalidInputError(
            f"continuation {continuation!r} cannot be scored: {self._name} has no tokens that read"
            " like this; give an ordinary text that is not empty"
        )

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """What every token reads."""
        pairs = [[self._anchor, token] for token in range(len(self._tokenizer))]
        indices = {"": 0}
        groups = [
            indices.setdefault(text.removeprefix(self._anchor_text), len(indices))
            for text in self._decode_all(pairs)
        ]
        return Vocabulary(tuple(indices), groups)

    def _decode_all(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        texts: list[str] = self._tokenizer.batch_decode(
            sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    def _turn_end(self) -> frozenset[int]:
        after = self._around_answer([{"role": "user", "content": "a"}])[1]
        added = self._tokenizer.added_tokens_decoder
        tokens = self.encode(after.strip())[:1]
        return frozenset(token for token in tokens if token in added and added[token].special)

    def _around_answer(self, messages: list[dict[str, str]]) -> tuple[str, str]:
        """Returns what the template writes before and after an assistant's answer."""
        text = self._templated([*messages, {"role": "assistant", "content": _MARK}])
        before, found, after = text.rpartition(_MARK)
        if not found:
            raise InvalidInputError(
                f"the chat template of {self._name} leaves out the assistant's last message"
            )
        return before, after

    def _templated(self, messages: list[dict[str, str]], **options: bool) -> str:
        from jinja2 import TemplateError

        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, **options))
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            reason = " ".join(str(error).split())
            raise InvalidInputError(
                f"the chat template of {self._name} refuses the messages ({roles}): {reason}"
            ) from error


@dataclass(frozen=True, slots=True)
class Ending:
    """When an answer ends, and how much of what was generated is its text.

    Attributes:
        chat: the model's tokens.
        stop: strings that end the answer and are no part of it.
        cap: most tokens of an answer.
    """

    chat: ChatText
    stop: tuple[str, ...]
    cap: int

    def reason(self, tokens: Sequence[int]) -> FinishReason | None:
        """Returns why an answer ends with its last token, or None if it goes on."""
        if tokens[-1] in self.chat.ends:
            return "stop"
        if self.stop and self._cut(self.chat.decode(tokens)) is not None:
            return "stop"
        return "length" if len(tokens) >= self.cap else None

    def text(self, tokens: Sequence[int]) -> str:
        """Returns the answer without what ended it."""
        text = self.chat.decode(tokens)
        return text[: self._cut(text)]

    def kept(self, tokens: Sequence[int]) -> int:
        """Returns how many of the tokens are, at least in part, in the text."""
        count = len(tokens) - (tokens[-1:] != [] and tokens[-1] in self.chat.ends)
        length = len(self.text(tokens))
        if self._cut(self.chat.decode(tokens)) is None:
            return count
        while count and len(self.chat.decode(tokens[: count - 1])) >= length:
            count -= 1
        return count

    def _cut(self, text: str) -> int | None:
        """Returns where the first stop string begins, or None if there is none."""
        return min((at for at in map(text.find, self.stop) if at >= 0), default=None)
