"""What the answers of a pool cost: how long each is, and the price of a token of its model.

Lengths that are recorded in tokens count as they are; the rest are estimates, and every estimate is
a note. Prices stand in a table that is shipped, and in the user's own, which wins; they are apart
from those of models that AMP calls (`amp.models.registry`), since the models of pools are of the
past.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from amp.mlp import Floats, Ints, Mask
from amp.pools.pool import PoolArm
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


CHARACTERS_PER_TOKEN = 4.0
"""Of English text, by the rule of thumb of the providers."""


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """What is recorded of the lengths of answers; arrays have the shape (tasks, arms, samples).

    Attributes:
        there: whether there is such a sample.
        tokens: completion tokens; NaN where they are not recorded.
        visible: tokens that the visible text makes; NaN where its characters are not recorded.
        kinds: shape (tasks,), number of each task's kind.
        unknown_tokens: of samples without any length; None for the mean of their arm.
    """

    there: Mask
    tokens: Floats
    visible: Floats
    kinds: Ints
    unknown_tokens: float | None = None

    def complete(
        self, arms: Sequence[PoolArm], prices: Sequence[PoolPrice]
    ) -> tuple[Floats, list[str]]:
        """Completion tokens of every sample, and notes on those that are estimates.

        Args:
            arms: the arms.
            prices: of each arm's model.
        """
        tokens = self.tokens.copy()
        sources: dict[str, list[str]] = {}
        for index, (arm, price) in enumerate(zip(arms, prices, strict=True)):
            family = np.array([other.model == arm.model for other in arms])
            there, its = self.there[:, index], tokens[:, index]
            for estimate, source in self._estimates(index, family, price, its):
                missing = there & np.isnan(its)
                filled = missing & ~np.isnan(estimate)
                its[filled] = np.broadcast_to(estimate, its.shape)[filled]
                count = missing if source == _UNKNOWN else filled
                if count.any():
                    part = f" ({count.sum():,} of {there.sum():,} samples)"
                    named = arm.name + ("" if count.sum() == there.sum() else part)
                    sources.setdefault(source, []).append(named)
        return tokens, [
            f"completion tokens are {source}: {', '.join(named[:6])}"
            + (f" and {len(named) - 6} more arms" if len(named) > 6 else "")
            for source, named in sources.items()
        ]

    def _estimates(
        self, arm: int, family: Mask, price: PoolPrice, its: Floats
    ) -> Iterator[tuple[Floats, str]]:
        """What stands in for tokens that are not recorded, the best first, and what it is.

        The text is no measure of a model that reasons out of sight.

        Args:
            arm: the arm.
            family: shape (arms,), which arms are of its model.
            price: of its model.
            its: shape (tasks, samples), its tokens, filled in by what came before.
        """
        if price.hidden_tokens is None:
            yield self.visible[:, arm], "those of the visible text"
        else:
            own, of_model = self.tokens[:, [arm]], self.tokens[:, family]
            yield self._mean(own, by_kind=True), f"the arm's recorded mean, {_OF_KIND}"
            yield self._mean(of_model, by_kind=True), f"the model's recorded mean, {_OF_KIND}"
            yield self._mean(own), f"the arm's recorded mean, {_OF_OTHERS}"
            yield self._mean(of_model), f"the model's recorded mean, {_OF_OTHERS}"
            text, hidden = np.nan_to_num(self.visible[:, arm]), price.hidden_tokens
            yield hidden + text, f"ASSUMED: {hidden:g} hidden ones and those of the visible text"
        if self.unknown_tokens is not None:
            yield np.full_like(its, self.unknown_tokens), "set by the reader"
        yield self._mean(its[:, None], by_kind=True), f"the mean of the arm, {_OF_KIND}"
        yield self._mean(its[:, None]), f"the mean of the arm, {_OF_OTHERS}"
        yield np.full_like(its, np.nan), _UNKNOWN

    def _mean(self, tokens: Floats, *, by_kind: bool = False) -> Floats:
        """Mean of what is known, shape (tasks, 1); NaN where nothing is.

        Args:
            tokens: shape (tasks, arms, samples).
            by_kind: means of each kind of task instead of one of all.
        """
        kinds = self.kinds if by_kind else np.zeros_like(self.kinds)
        count = np.bincount(kinds, (~np.isnan(tokens)).sum(axis=(1, 2)))
        total = np.bincount(kinds, np.nansum(tokens, axis=(1, 2)))
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return mean[kinds][:, None]


_OF_KIND = "of tasks of the same kind"
_OF_OTHERS = "of tasks of other kinds"
_UNKNOWN = "unknown, and so are their dollars, as nothing tells their length"
