"""Small assessors that the tests share."""

from __future__ import annotations

import numpy as np

from amp.assess.features import FEATURES
from amp.assess.neural import NeuralAssessor, Projection
from amp.mlp import Layer

NAMES = tuple(feature.name for feature in FEATURES)


def network(
    seed: int = 0, projection: Projection | None = None, names: tuple[str, ...] = NAMES
) -> NeuralAssessor:
    """A random network over all features, and over the hidden state if there is a projection."""
    rng = np.random.default_rng(seed)
    names = (*names, *(projection.names if projection else ()))
    n = len(names)

    def layer(inputs: int, outputs: int) -> Layer:
        weight = rng.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        return Layer(weight, rng.normal(0, 1, outputs).astype(np.float32))

    mean = rng.normal(0, 1, n).astype(np.float32)
    std = rng.uniform(0.5, 2, n).astype(np.float32)
    return NeuralAssessor(names, mean, std, (layer(3 * n, 8), layer(8, 1)), projection)
