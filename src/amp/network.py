"""What trained scorers and policies share: layers, and how values become a network's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

FAR = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """x @ weight + bias, with a weight of shape (inputs, outputs)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(x @ self.weight + self.bias)


def normalise(values: Sequence[float | None], mean: Floats, std: Floats) -> Floats:
    """Values in standard deviations from their mean in training; a missing one (None) is 0.

    A value further than `FAR` from its mean is cut to that, so that no outlier drowns all else.

    Args:
        values: None where one is missing.
        mean: of each value in training.
        std: likewise, more than 0.
    """
    missing = [value is None for value in values]
    filled = np.array([0.0 if value is None else value for value in values])
    far = np.clip((filled - mean) / std, -FAR, FAR)
    return np.asarray(np.where(missing, 0.0, far).astype(mean.dtype))


def encode(values: Sequence[float | None], mean: Floats, std: Floats) -> Floats:
    """The vector that a network takes: normalised values, then a flag for each that is missing."""
    missing = np.array([value is None for value in values])
    return np.concatenate((normalise(values, mean, std), missing)).astype(mean.dtype)
