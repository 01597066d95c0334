"""Opens a model by the name that people give it, with what it costs.

Prices of models behind an API come from a table that is shipped, and from the user's own, which
wins. A model on this machine costs no dollars by definition and is in no table.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from annotated_types import Ge, Le

from amp.errors import InvalidInputError
from amp.models.base import LanguageModel, ModelCard
from amp.models.catalog import DEFAULT, MODELS, resolve
from amp.models.download import sha256_of
from amp.models.replicas import read_addresses
from amp.plugins import make_plugin, note_shadowed, plugin_names

if TYPE_CHECKING:
    from amp.models.chat import AnthropicStyle, OpenAIStyle


RANDOM = "random"
"""The model that acts at random; see `amp.models.scripted.random_model`."""

_OPENAI = "openai:"
_ANTHROPIC = "anthropic:"
_TRANSFORMERS = "transformers:"

Provider = Literal["openai", "anthropic"]
Dollars = Annotated[float, Ge(0.0), Le(sys.float_info.max)]


_log = logging.getLogger(__name__)

_UNPRICED: dict[str, Any] = dict.fromkeys(
    (
        "dollars_per_million_prompt_tokens",
        "dollars_per_million_cached_tokens",
        "dollars_per_million_completion_tokens",
    )
)


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Prices of one model, in dollars per million tokens.

    Attributes:
        prompt: prompt tokens.
        cached: prompt tokens found in a cache.
        completion: generated tokens.
        reasoning: tokens of native thinking; None if they cost what other generated tokens do.
    """

    prompt: Dollars
    cached: Dollars
    completion: Dollars
    reasoning: Dollars | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePrice(TokenPrice):
    """Price of a hosted model, by which models on this machine are compared in dollars.

    Attributes:
        parameters: of models of at most so many, and more than the next smaller reference has.
        model: name of the hosted model.
        provider: who hosts it.
        date: when that was its price.
        note: what of the price is assumed, if anything.
    """

    parameters: Annotated[int, Ge(1)]
    model: str
    provider: str
    date: str
    note: str = ""

    def __str__(self) -> str:
        prices = f"{self.prompt:g} prompt, {self.cached:g} cached, {self.completion:g} completion"
        note = f"; {self.note}" if self.note else ""
        return f"{self.model} ({self.provider}, {self.date}: {prices}, a million tokens{note})"


@dataclass(frozen=True, slots=True)
class PriceTable:
    """A price table.

    Attributes:
        models: of models behind an API, by provider and name.
        reference: of hosted models that stand in for models on this machine, the smallest first.
    """

    models: Mapping[tuple[str, str], TokenPrice]
    reference: tuple[ReferencePrice, ...] = ()


def find_price(
    provider: str, model: str, own_table: Path | None = None, *, own_only: bool = False
) -> TokenPrice | None:
    """Returns what a model costs, or None if no table has it.

    Args:
        provider: ``openai`` or ``anthropic``: the API that it speaks.
        model: its name there.
        own_table: the user's table, which wins over the one that comes with AMP.
        own_only: leaves that one out, for a server that is not the provider's own and sets its own
            prices.

    Raises:
        InvalidInputError: if the user's table can't be read; names file, model and field.
    """
    if own_table is not None:
        own = read_prices(own_table).models.get((provider, model))
        if own is not None or own_only:
            return own
    return None if own_only else shipped_prices().models.get((provider, model))


def reference_price(card: ModelCard) -> ReferencePrice:
    """Price of the hosted model that a model on this machine is compared by in dollars.

    The user's price table (setting prices) wins, if it has one for the model's size.

    Raises:
        InvalidInputError: if the model's size is not known, or no table has a price for it.
    """
    from amp.settings import load_settings  # slow to import, and planning does not need it

    own = load_settings().prices
    tables = [shipped_prices()] if own is None else [read_prices(own), shipped_prices()]
    for table in tables:
        for price in table.reference:
            if card.parameters is not None and card.parameters <= price.parameters:
                return price
    size = "unknown size" if card.parameters is None else f"{card.parameters:,} parameters"
    raise InvalidInputError(
        f"no reference price is known for model {card.name} of {size}, so it can't be compared in"
        " dollars; add a table [reference] to a price table (setting prices), or compare by another"
        " cost"
    )


@cache
def shipped_prices() -> PriceTable:
    """The table that comes with AMP."""
    return read_prices(Path(__file__).parents[1] / "data" / "prices.toml")


def read_prices(path: Path) -> PriceTable:
    """Reads a price table.

    Raises:
        InvalidInputError: if there is no such file, or it is no such table; names file, model and
            field.
    """
    from amp.settings import checked, read_toml  # slow to import, and planning does not need it

    values = read_toml(path.expanduser())
    named = {"reference": values.pop("reference", {})}
    models = checked(dict[Provider, dict[str, TokenPrice]], values, str(path))
    kind = dict[Literal["reference"], dict[str, ReferencePrice]]
    reference = checked(kind, named, str(path))["reference"].values()
    return PriceTable(
        {(api, name): price for api, prices in models.items() for name, price in prices.items()},
        tuple(sorted(reference, key=lambda price: price.parameters)),
    )


def api_card(
    provider: str, model: str, own_prices: Path | None = None, *, own_server: bool = False
) -> ModelCard:
    """Returns the card of a model behind an API, with its prices; None if they are not known.

    Args:
        provider: ``openai`` or ``anthropic``.
        model: its name there.
        own_prices: the user's price table.
        own_server: whether the server is another than the provider's, with prices of its own.

    Raises:
        InvalidInputError: if the price table can't be read.
    """
    price = find_price(provider, model, own_prices, own_only=own_server)
    if price is None:
        return ModelCard(model, **_UNPRICED)
    return ModelCard(
        model,
        dollars_per_million_prompt_tokens=price.prompt,
        dollars_per_million_cached_tokens=price.cached,
        dollars_per_million_completion_tokens=price.completion,
        dollars_per_million_reasoning_tokens=price.reasoning,
    )


def _note_price(provider: Provider, card: ModelCard) -> None:
    """Says that a model which is open now has no price; one that cannot be opened needs none."""
    if card.dollars_per_million_prompt_tokens is None:
        _log.warning(
            "no price known for model %s:%s, so its dollars count as 0; add it to a price table"
            " (setting prices)",
            provider,
            card.name,
        )


def load_model(
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
            name of the catalog, a file or a model of the hub on PyTorch, or ``random`` for random
            choices without a model; or one that another package brings as an entry point of
            the group ``amp.models``: a function without arguments that returns a model.
        base_url: address of that server, or of several with the same model, apart by commas
            (`amp.models.replicas`); None is the provider's own.
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
    if name == RANDOM or name in MODELS:
        note_shadowed("amp.models", name)
    if name == RANDOM:
        from amp.models.scripted import random_model

        return random_model()
    if name.startswith(_OPENAI):
        from amp.models.openai import OpenAIModel

        model = name.removeprefix(_OPENAI)
        own_server = _host(base_url, "OPENAI_BASE_URL") not in (None, "api.openai.com")
        card = api_card("openai", model, prices, own_server=own_server)
        openai_model = OpenAIModel(
            model,
            base_url=base_url,
            api_key=api_key,
            card=card,
            prefix=prefix,
            thinking=cast("OpenAIStyle | None", thinking),
        )
        _note_price("openai", card)
        return openai_model
    if name.startswith(_ANTHROPIC):
        from amp.models.anthropic import AnthropicModel

        model = name.removeprefix(_ANTHROPIC)
        own_server = _host(base_url, "ANTHROPIC_BASE_URL") not in (None, "api.anthropic.com")
        card = api_card("anthropic", model, prices, own_server=own_server)
        anthropic_model = AnthropicModel(
            model,
            base_url=base_url,
            api_key=api_key,
            card=card,
            prefix=prefix,
            thinking=cast("AnthropicStyle | None", thinking),
        )
        _note_price("anthropic", card)
        return anthropic_model
    if base_url is not None:
        server = read_addresses(base_url)[0].url
        raise InvalidInputError(
            f"base_url {server} goes with openai:MODEL or anthropic:MODEL, but the model is"
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
    if name in plugin_models():
        brought: LanguageModel = make_plugin("amp.models", name, LanguageModel)
        return brought
    from amp.models.llamacpp import LlamaCppModel

    path = resolve(name, plugin_models())
    return LlamaCppModel(
        path,
        card=_card(name, path),
        threads=threads,
        context_tokens=context_tokens,
        slots=slots,
        hidden_states=hidden_states,
    )


def _host(base_url: str | None, variable: str) -> str | None:
    """The machine that an API's model is on; None for the provider's own."""
    address = base_url or os.environ.get(variable)
    return read_addresses(address)[0].host if address else None


def plugin_models() -> tuple[str, ...]:
    """Names of the models that installed packages bring."""
    return plugin_names("amp.models", (*MODELS, RANDOM))


def is_called(card: ModelCard, name: str) -> bool:
    """Whether `load_model` gives a model of this card by this name, as far as the name tells.

    A model of another package says who it is only once it is made, so it may be any.
    """
    if name in plugin_models():
        return True
    for prefix in (_OPENAI, _ANTHROPIC, _TRANSFORMERS):
        name = name.removeprefix(prefix)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        return card.name == (_card(name, path).name if path.is_file() else path.stem)
    return card.name in (name, path.resolve().name if path.is_dir() else name)


def _card(name: str, path: Path) -> ModelCard:
    if name in MODELS:
        return MODELS[name].card
    sha256 = sha256_of(path)  # once a load: a recording must know which weights answered
    for model in MODELS.values():
        if model.file.sha256 == sha256:
            return model.card
    return ModelCard(path.stem, sha256=sha256)
