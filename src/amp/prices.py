"""What models behind an API cost: a table that comes with AMP, and the user's own, which wins.

A model on this machine costs no dollars by definition and stands in no table.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from amp.errors import InvalidInputError, did_you_mean

_PROVIDERS = ("openai", "anthropic")
_REQUIRED = ("prompt", "cached", "completion")
_FIELDS = (*_REQUIRED, "reasoning")


@dataclass(frozen=True, slots=True)
class Price:
    """Prices of one model, in dollars per million tokens.

    Attributes:
        prompt: prompt tokens.
        cached: prompt tokens found in a cache.
        completion: generated tokens.
        reasoning: tokens of native thinking; None if they cost what other generated tokens do.
    """

    prompt: float
    cached: float
    completion: float
    reasoning: float | None = None


def find(
    provider: str, model: str, own_table: Path | None = None, *, own_only: bool = False
) -> Price | None:
    """Returns what a model costs, or None if nobody says.

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
        own = read(own_table).get((provider, model))
        if own is not None or own_only:
            return own
    return None if own_only else shipped().get((provider, model))


@cache
def shipped() -> Mapping[tuple[str, str], Price]:
    """The table that comes with AMP, by provider and model."""
    file = resources.files("amp") / "data" / "prices.toml"
    return parse(file.read_text(encoding="utf-8"), "amp/data/prices.toml")


def read(path: Path) -> Mapping[tuple[str, str], Price]:
    """Reads a table of the user's, by provider and model.

    Raises:
        InvalidInputError: if there is no such file, or it is no such table; names file, model and
            field.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInputError(f"no price table {path}; check the setting prices") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"price table {path} can't be read: {error}") from None
    return parse(text, str(path))


def parse(text: str, file: str) -> Mapping[tuple[str, str], Price]:
    """Reads a table from TOML, by provider and model; `file` is its name in errors.

    Raises:
        InvalidInputError: if it is no such table; names file, model and field.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"price table {file} is no TOML: {error}") from None
    prices = {}
    for provider, models in table.items():
        if provider not in _PROVIDERS:
            raise InvalidInputError(
                f"price table {file}: unknown provider {provider!r}"
                f'{did_you_mean(provider, _PROVIDERS)} (expected [openai."MODEL"] or '
                '[anthropic."MODEL"])'
            )
        for model, entry in _table(models, f"price table {file}, {provider}").items():
            where = f'price table {file}, [{provider}."{model}"]'
            prices[provider, model] = _price(_table(entry, where), where)
    return prices


def _price(entry: Mapping[str, object], where: str) -> Price:
    for name in entry:
        if name not in _FIELDS:
            raise InvalidInputError(
                f"{where}: unknown field {name!r}{did_you_mean(name, _FIELDS)} "
                f"(fields: {', '.join(_FIELDS)}; a model name with a dot needs quotes)"
            )
    for name in _REQUIRED:
        if name not in entry:
            raise InvalidInputError(f"{where}: {name} is missing, expected dollars per million")
    amounts = {name: _amount(value, f"{where}: {name}") for name, value in entry.items()}
    return Price(**amounts)


def _amount(value: object, where: str) -> float:
    # A TOML truth value is an int in Python.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < math.inf:
        return float(value)
    raise InvalidInputError(
        f"{where} is {value!r}, expected dollars per million tokens, at least 0"
    )


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InvalidInputError(
            f"{where} is {value!r}, expected a table such as "
            '[openai."MODEL"] with prompt, cached and completion'
        )
    return value
