"""Opens a model by the name that people give it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from amp.errors import InvalidInputError
from amp.models.apicard import api_card
from amp.models.base import LanguageModel, ModelCard
from amp.models.catalog import DEFAULT, MODELS, resolve
from amp.models.download import sha256_of

if TYPE_CHECKING:
    from amp.models.thinking import AnthropicStyle, OpenAIStyle

CHANCE = "chance"
"""The model that acts at random; see `amp.models.scripted.chance`."""
_OPENAI = "openai:"
_ANTHROPIC = "anthropic:"
_TRANSFORMERS = "transformers:"


def load(
    name: str = DEFAULT,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    prefix: bool = False,
    thinking: str | None = None,
    threads: int | None = None,
    context_tokens: int = 8192,
    slots: int = 4,
    hidden_states: bool = False,
    prices: Path | None = None,
) -> LanguageModel:
    """Returns a model, ready to use; `await model.close()` frees it.

    Args:
        name: a name of the catalog, a path to a .gguf file, ``openai:MODEL`` or
            ``anthropic:MODEL`` for any server that speaks that API, ``transformers:MODEL`` for a
            name of the catalog, a file or a model of the hub on PyTorch, or ``chance`` for random
            choices without a model.
        base_url: address of that server; None is the provider's own.
        api_key: its key; None takes OPENAI_API_KEY or ANTHROPIC_API_KEY, and a server of one's own
            needs none.
        prefix: whether that server continues an assistant's last message, as llama.cpp's does.
        thinking: how that server takes a budget of native thinking: ``effort`` or ``budget`` with
            the OpenAI API, ``adaptive`` or ``budget`` with Anthropic's; None not at all.
        threads: CPU threads of a local model; None takes every core.
        context_tokens: longest prompt and answer together of a local model.
        slots: samples that a local model makes side by side.
        hidden_states: whether a local model can give hidden states.
        prices: the user's price table, which wins over the one that comes with AMP.

    Raises:
        InvalidInputError: if the name is unknown, or the file or the price table is damaged.
        MissingDependencyError: if the model or a package is missing; says what to run.
    """
    if name == CHANCE:
        from amp.models.scripted import chance

        return chance()
    if name.startswith(_OPENAI):
        from amp.models.openai import OpenAIModel

        model = name.removeprefix(_OPENAI)
        server = urlsplit(base_url or os.environ.get("OPENAI_BASE_URL") or "").hostname
        own_server = server not in (None, "api.openai.com")
        card = api_card("openai", model, prices, own_server=own_server)
        return OpenAIModel(
            model,
            base_url=base_url,
            api_key=api_key,
            card=card,
            prefix=prefix,
            thinking=cast("OpenAIStyle | None", thinking),
        )
    if name.startswith(_ANTHROPIC):
        from amp.models.anthropic import AnthropicModel

        model = name.removeprefix(_ANTHROPIC)
        server = urlsplit(base_url or os.environ.get("ANTHROPIC_BASE_URL") or "").hostname
        own_server = server not in (None, "api.anthropic.com")
        card = api_card("anthropic", model, prices, own_server=own_server)
        return AnthropicModel(
            model,
            base_url=base_url,
            api_key=api_key,
            card=card,
            prefix=prefix,
            thinking=cast("AnthropicStyle | None", thinking),
        )
    if base_url is not None:
        raise InvalidInputError(
            f"base_url {base_url} goes with openai:MODEL or anthropic:MODEL, but the model is"
            f" {name!r}; say openai:{name}"
        )
    if name.startswith(_TRANSFORMERS):
        from amp.models.transformers import TransformersModel

        name = name.removeprefix(_TRANSFORMERS)
        file = resolve(name) if name in MODELS or name.endswith(".gguf") else None
        return TransformersModel(
            file or name,
            card=_card(name, file) if file else None,
            threads=threads,
            context_tokens=context_tokens,
            slots=slots,
        )
    from amp.models.llamacpp import LlamaCppModel

    path = resolve(name)
    return LlamaCppModel(
        path,
        card=_card(name, path),
        threads=threads,
        context_tokens=context_tokens,
        slots=slots,
        hidden_states=hidden_states,
    )


def _card(name: str, path: Path) -> ModelCard | None:
    if name in MODELS:
        return MODELS[name].card
    sha256 = sha256_of(path)  # once a load: a recording must know which weights answered
    for model in MODELS.values():
        if model.file.sha256 == sha256:
            return model.card
    return ModelCard(path.stem, sha256=sha256)
