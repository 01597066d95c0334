"""The distribution of one decision: exact samples, log-probabilities and entropies in latent space.

A decision is sampled in two stages, in the order of `Space.dims`: first ``stop``, a Bernoulli; if
it is 0, a Normal for every one of `REALS` and a Bernoulli for every tool, all independent. With
l = location, s = standard deviation, z = latent:

    log p(z)  =  log p(stop)  +  (1 - stop) * [ sum over REALS  log N(z; l, s)
                                               + sum over tools  log Bernoulli(z; sigmoid(l)) ]
    entropy   =  H(stop)  +  P(stop = 0) * [ sum over REALS  H(Normal)  +  sum over tools  H(tool) ]

A mask says which dimensions are free, and only these count. One that is not free (a masked tool,
equal bounds, a stop that is forced either way) is 0, or 1 for a forced stop; it has probability 1
and entropy 0.

This is one decision in plain Python; `amp.allocate.mlp_policy` is many at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from amp.allocate.space import REALS, sigmoid

TOOLS_FROM = 1 + len(REALS)
"""Index of the first tool among the dimensions."""

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class ActionDistribution:
    """What a policy decides, before any mask.

    Attributes:
        locations: in the order of `Space.dims`: logits of ``stop`` and tools, means of `REALS`.
        log_stds: log-standard-deviations of the Normals, in the order of `REALS`.
    """

    locations: tuple[float, ...]
    log_stds: tuple[float, ...]

    def sample(self, mask: Sequence[bool], rng: random.Random) -> tuple[float, ...]:
        """Samples the latents of one decision; what is not free, and all after a stop, is 0."""
        locations = self.locations
        if mask[0] and rng.random() < sigmoid(locations[0]):
            return stopped(len(locations))
        return (
            0.0,
            *(
                rng.gauss(locations[i], math.exp(log_std)) if mask[i] else 0.0
                for i, log_std in enumerate(self.log_stds, 1)
            ),
            *(
                float(mask[i] and rng.random() < sigmoid(locations[i]))
                for i in range(TOOLS_FROM, len(locations))
            ),
        )

    def mode(self, mask: Sequence[bool]) -> tuple[float, ...]:
        """The decision without chance: means, and whatever is at least as likely as not."""
        locations = self.locations
        if mask[0] and locations[0] >= 0.0:
            return stopped(len(locations))
        return (
            0.0,
            *(
                location if mask[i] else 0.0
                for i, location in enumerate(locations[1:TOOLS_FROM], 1)
            ),
            *(float(mask[i] and locations[i] >= 0.0) for i in range(TOOLS_FROM, len(locations))),
        )

    def log_prob(self, latents: Sequence[float], mask: Sequence[bool]) -> float:
        """Exact log-probability (a density in the Normals) of latents from `sample`."""
        locations = self.locations
        total = _bernoulli_log_prob(latents[0], locations[0]) if mask[0] else 0.0
        if latents[0]:
            return total
        for i, log_std in enumerate(self.log_stds, 1):
            if mask[i]:
                z = (latents[i] - locations[i]) * math.exp(-log_std)
                total -= 0.5 * z * z + log_std + HALF_LOG_TWO_PI
        for i in range(TOOLS_FROM, len(locations)):
            if mask[i]:
                total += _bernoulli_log_prob(latents[i], locations[i])
        return total

    def entropy(self, mask: Sequence[bool]) -> float:
        """Entropy of the decision in nats, the differential one where Normals are free."""
        locations = self.locations
        rest = 0.0
        for i, log_std in enumerate(self.log_stds, 1):
            if mask[i]:
                rest += log_std + 0.5 + HALF_LOG_TWO_PI
        for i in range(TOOLS_FROM, len(locations)):
            if mask[i]:
                rest += _bernoulli_entropy(locations[i])
        if not mask[0]:
            return rest
        return _bernoulli_entropy(locations[0]) + sigmoid(-locations[0]) * rest


def stopped(width: int) -> tuple[float, ...]:
    """The latents of a decision to stop."""
    return (1.0,) + (0.0,) * (width - 1)


def _bernoulli_log_prob(value: float, logit: float) -> float:
    return -_softplus(-logit if value else logit)


def _bernoulli_entropy(logit: float) -> float:
    return _softplus(logit) - logit * sigmoid(logit)


def _softplus(x: float) -> float:
    """log(1 + exp(x)), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
