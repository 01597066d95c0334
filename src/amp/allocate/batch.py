"""The formulas of `amp.allocate.distributions` over many decisions at once, in numpy.

Every array has one row a decision; a learner's twin differs in the name of the array library.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from amp.allocate.distributions import HALF_LOG_TWO_PI, TOOLS_FROM
from amp.mlp import Floats

Mask = npt.NDArray[np.bool_]

_REALS = slice(1, TOOLS_FROM)
_TOOLS = slice(TOOLS_FROM, None)


def log_probs(latents: Floats, locations: Floats, log_stds: Floats, mask: Mask) -> Floats:
    """Log-probability of each row of latents (see `ActionDistribution.log_prob`).

    Args:
        latents: shape (n, dims), as `Decision.latents`.
        locations: shape (n, dims).
        log_stds: shape (reals,), or (n, reals).
        mask: shape (n, dims).

    Returns:
        Shape (n,).
    """
    z = np.where(mask, latents - locations, 0.0)[:, _REALS] * np.exp(-log_stds)
    reals = (-0.5 * z * z - log_stds - HALF_LOG_TWO_PI) * mask[:, _REALS]
    bits = -_softplus(np.where(latents > 0, -locations, locations)) * mask
    rest = reals.sum(1) + bits[:, _TOOLS].sum(1)
    return np.asarray(bits[:, 0] + (1.0 - latents[:, 0]) * rest)


def entropies(locations: Floats, log_stds: Floats, mask: Mask) -> Floats:
    """Entropy of each row in nats (`ActionDistribution.entropy`); shapes as above."""
    probabilities = np.exp(-_softplus(-locations))
    bits = (_softplus(locations) - locations * probabilities) * mask
    reals = (log_stds + 0.5 + HALF_LOG_TWO_PI) * mask[:, _REALS]
    goes_on = 1.0 - probabilities[:, 0] * mask[:, 0]
    return np.asarray(bits[:, 0] + goes_on * (reals.sum(1) + bits[:, _TOOLS].sum(1)))


def _softplus(x: Floats) -> Floats:
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))
