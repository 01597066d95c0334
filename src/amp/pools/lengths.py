"""How long the answers of a pool are, where it does not say so in tokens.

What is recorded in tokens counts as it is. The rest is estimated, and every estimate is a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amp.mlp import Floats
from amp.pools.pool import Ints, Mask, PoolArm
from amp.pools.prices import PoolPrice

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

        Where no tokens are recorded, the visible text counts. Of a model that reasons out of sight
        it is no measure, and what `_hidden` says counts. A sample without any length has what
        `_unknown` says.

        Args:
            arms: the arms.
            prices: of each arm's model.
        """
        tokens = self.tokens.copy()
        sources: dict[str, list[str]] = {}
        for index, (arm, price) in enumerate(zip(arms, prices, strict=True)):
            there, its = self.there[:, index], tokens[:, index]
            if price.hidden_tokens is None:
                estimate, source = self.visible[:, index], "those of the visible text"
            else:
                family = np.array([other.model == arm.model for other in arms])
                estimate, source = self._hidden(index, family, price.hidden_tokens)
            counts = {source: _fill(its, there, estimate)}
            estimate, source = self._unknown(its)
            counts[source] = _fill(its, there, estimate)
            counts[_UNKNOWN] = int((there & np.isnan(its)).sum())
            for source, count in counts.items():
                if count:
                    named = f"{arm.name} ({count:,} of {there.sum():,} samples)"
                    sources.setdefault(source, []).append(named)
        return tokens, [
            f"completion tokens are {source}: {', '.join(named[:6])}"
            + (f" and {len(named) - 6} more arms" if len(named) > 6 else "")
            for source, named in sources.items()
        ]

    def _hidden(self, arm: int, family: Mask, assumed: float) -> tuple[Floats, str]:
        """Tokens of an arm whose model reasons out of sight, and what they are.

        Args:
            arm: the arm.
            family: shape (arms,), which arms are of the model.
            assumed: hidden tokens where the pool records none of the model.
        """
        own, others = self._mean(self.tokens[:, [arm]]), self._mean(self.tokens[:, family])
        if not np.isnan(own).all():
            return own, f"the recorded mean of the arm, {_OF_KIND}"
        if not np.isnan(others).all():
            return others, f"the recorded mean of the model's other arms, {_OF_KIND}"
        text = np.nan_to_num(self.visible[:, arm])
        return assumed + text, f"ASSUMED: {assumed:g} hidden ones and those of the visible text"

    def _unknown(self, tokens: Floats) -> tuple[Floats, str]:
        """Tokens of samples without any length, and what they are.

        Args:
            tokens: shape (tasks, samples), what is known of their arm.
        """
        if self.unknown_tokens is not None:
            return np.full((len(tokens), 1), self.unknown_tokens), "set by the reader"
        return self._mean(tokens[:, None]), f"the mean of the arm's other samples, {_OF_KIND}"

    def _mean(self, tokens: Floats) -> Floats:
        """Mean of what is known for each task: of its kind, else of all; NaN if nothing is.

        Returns:
            Shape (tasks, 1).
        """
        count = (~np.isnan(tokens)).sum(axis=(1, 2))
        total = np.nansum(tokens, axis=(1, 2))
        of_kind, total_of_kind = np.bincount(self.kinds, count), np.bincount(self.kinds, total)
        mean = np.full(len(of_kind), total.sum() / count.sum() if count.any() else np.nan)
        np.divide(total_of_kind, of_kind, out=mean, where=of_kind > 0)
        return mean[self.kinds][:, None]


_OF_KIND = "of the same kind of task where it has any"
_UNKNOWN = "unknown, and so are their dollars, as nothing tells their length"


def _fill(tokens: Floats, there: Mask, estimate: Floats) -> int:
    """Fills in what is missing, in place, and returns how much that was."""
    missing = there & np.isnan(tokens) & ~np.isnan(estimate)
    tokens[missing] = np.broadcast_to(estimate, tokens.shape)[missing]
    return int(missing.sum())
