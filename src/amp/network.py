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


def encode(
    values: Sequence[float | None],
    mean: Floats,
    std: Floats,
    substituted: Sequence[bool] | None = None,
) -> Floats:
    """The vector that a network takes: normalised values, then a flag for each that is no measure.

    A missing value is 0, which is its mean in training, and flagged. A value further than `FAR`
    standard deviations from its mean is cut to that, so that no outlier drowns all else.

    Args:
        values: None where one is missing.
        mean: of each value in training.
        std: likewise, more than 0.
        substituted: which values come from a substitute; they are flagged like missing ones.
    """
    missing = np.array([value is None for value in values])
    filled = np.array([0.0 if value is None else value for value in values])
    normalised = np.where(missing, 0.0, np.clip((filled - mean) / std, -FAR, FAR))
    flags = missing if substituted is None else missing | np.array(substituted)
    return np.concatenate((normalised, flags)).astype(mean.dtype)
