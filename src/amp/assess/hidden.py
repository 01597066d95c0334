"""The hidden state of the base model's last token, projected so that the vector stays small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amp.errors import InvalidInputError
from amp.network import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """The first principal directions of the hidden states of training steps (spec 2.5.2).

    Attributes:
        mean: of every unit in training; shape (units,).
        components: one direction a column, scaled so that each coordinate has variance 1 over the
            training steps; shape (units, k).

    Raises:
        InvalidInputError: if shapes do not fit or a number is not finite.
    """

    mean: Floats
    components: Floats

    def __post_init__(self) -> None:
        units = self.mean.shape[0] if self.mean.ndim == 1 else -1
        if self.components.ndim != 2 or self.components.shape[0] != units:
            raise InvalidInputError(
                f"projection has mean {self.mean.shape} and components {self.components.shape}, "
                "expected (units,) and (units, k)"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.components).all()):
            raise InvalidInputError("the projection of hidden states is not finite")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates as features: hidden_0, hidden_1, ..."""
        return tuple(f"hidden_{index}" for index in range(self.components.shape[1]))

    @classmethod
    def fit(cls, states: Floats, k: int) -> Projection:
        """Principal components of standardised states, the `k` with the largest variance.

        Args:
            states: one hidden state a row, of training steps only.
            k: how many; at most one less than there are rows.

        Raises:
            InvalidInputError: if there are too few states for k, or they are not finite.
        """
        if not 1 <= k < min(states.shape):
            raise InvalidInputError(
                f"{k} directions of {states.shape[0]} hidden states of {states.shape[1]} units, "
                f"expected 1 to {max(1, min(states.shape) - 1)}"
            )
        if not np.isfinite(states).all():
            raise InvalidInputError("a hidden state holds a number that is not finite")
        states = states.astype(np.float64)
        mean, std = states.mean(0), states.std(0) + 1e-6
        _, spread, directions = np.linalg.svd((states - mean) / std, full_matrices=False)
        scale = np.sqrt(len(states)) / np.maximum(spread[:k], 1e-9)
        components = directions[:k].T * scale / std[:, None]
        return cls(mean.astype(np.float32), components.astype(np.float32))

    def __call__(self, hidden: Sequence[float]) -> dict[str, float]:
        """The coordinates of a hidden state by name; empty where there is none or it is not finite.

        Raises:
            InvalidInputError: if it has another number of units: it is another model's.
        """
        if not hidden:
            return {}
        if len(hidden) != self.mean.shape[0]:
            raise InvalidInputError(
                f"a hidden state of {len(hidden)} units, expected {self.mean.shape[0]}: the "
                "projection was fitted on another model"
            )
        projected = (np.asarray(hidden, np.float32) - self.mean) @ self.components
        if not np.isfinite(projected).all():
            return {}
        return dict(zip(self.names, projected.tolist(), strict=True))
