"""What the models of pools cost: a table that is shipped, and the user's own, which wins.

It is apart from the prices of models that AMP calls (`amp.models.registry`): the models of pools
are of the past, and so are their prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from amp.settings import checked, read_toml

_Amount = Annotated[float, Ge(0.0), Le(1e9)]


@dataclass(frozen=True, slots=True)
class PoolPrice:
    """Price of a model, in dollars per million tokens.

    Attributes:
        prompt: prompt tokens.
        completion: generated tokens, those of hidden reasoning, too.
        hidden_tokens: of a model that reasons out of sight: what it is assumed to write besides its
            visible text where no tokens are recorded; None if all of its text is visible.
        guess: what of it is no list price of this model, if anything.
    """

    prompt: _Amount
    completion: _Amount
    hidden_tokens: _Amount | None = None
    guess: str = ""


def read_pool_prices(own_table: Path | None = None) -> Mapping[str, PoolPrice]:
    """Prices by name of the model.

    Args:
        own_table: the user's table, which wins over the one that comes with AMP.

    Raises:
        InvalidInputError: if the user's table can't be read; names file, model and field.
    """
    prices = _read(Path(__file__).parents[1] / "data" / "pool_prices.toml")
    return prices if own_table is None else prices | _read(own_table.expanduser())


def line_to_add(model: str) -> str:
    """The line that a price table needs for a model."""
    name = model.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" = {{ prompt = 0.0, completion = 0.0 }}'


def _read(path: Path) -> dict[str, PoolPrice]:
    return checked(dict[str, PoolPrice], read_toml(path), str(path))
