"""Supervised pre-training of the RAC: imitation of allocations that are known to be good.

Maximum likelihood in latent space: the network learns the distribution under which the wanted
decisions are most probable, so PPO starts from a sensible policy that still tries other things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from amp.allocate.batch import Mask
from amp.allocate.draws import stopped
from amp.allocate.inputs import EXTRAS
from amp.allocate.mlp import MlpPolicy
from amp.allocate.space import Space
from amp.errors import InvalidInputError
from amp.learn.networks import LOG_STDS, Networks, encoded, normalisation, one_thread
from amp.network import Floats
from amp.types import Allocation


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Decisions to imitate, one row each.

    Attributes:
        values: as in `simulator.View`, with the trade-off for which the decision is good.
        free: likewise.
        latents: the decision, 0 where nothing is free (`latents_of`).
        weights: how much it counts, at least 0.

    Raises:
        InvalidInputError: if there is no example, the rows don't match, or all weights are 0.
    """

    values: Floats
    free: Mask
    latents: Floats
    weights: Floats

    def __post_init__(self) -> None:
        rows = [len(a) for a in (self.values, self.free, self.latents, self.weights)]
        if not rows[0] or len(set(rows)) > 1 or self.free.shape != self.latents.shape:
            raise InvalidInputError(
                f"examples have {rows[0]} rows of values, {rows[1]} of free, {rows[2]} of latents "
                f"and {rows[3]} of weights, expected equally many, at least one"
            )
        if not ((self.weights >= 0).all() and 0 < self.weights.sum() < np.inf):
            raise InvalidInputError("weights of the examples, expected 0 or more, one above 0")
        if not np.isfinite(self.latents).all() or self.latents[~self.free].any():
            raise InvalidInputError("latents of the examples, expected finite ones of free draws")


@dataclass(frozen=True, slots=True)
class ImitationSettings:
    """How the network is trained.

    Attributes:
        hidden: units of each hidden layer.
        epochs: passes over all examples.
        batch_size: examples of a step of Adam.
        learning_rate: of Adam.
        entropy_weight: of a bonus for undecided policies, which keeps room to explore.
        penalty: on the squares of the weights.
        least_log_std: of the Normals, so that neighbouring integers stay in reach.
        seed: of everything random.
    """

    hidden: int = 64
    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 3e-3
    entropy_weight: float = 0.01
    penalty: float = 1e-5
    least_log_std: float = -0.7
    seed: int = 0


def latents_of(space: Space, decisions: Sequence[Allocation | None], free: Mask) -> Floats:
    """Latents of wanted decisions, one row each; None is a stop.

    Raises:
        InvalidInputError: if an allocation lies outside the space.
    """
    rows = [
        stopped(len(space.draws)) if wanted is None else space.latents(wanted)
        for wanted in decisions
    ]
    return np.where(free, np.array(rows, np.float32).reshape(free.shape), np.float32(0.0))


def imitate(
    space: Space,
    features: tuple[str, ...],
    most_rounds: int,
    examples: Examples,
    settings: ImitationSettings = ImitationSettings(),
) -> MlpPolicy:
    """Trains a policy to decide as the examples do; the same seed gives the same policy.

    Args:
        space: of the latents.
        features: names of the values, without `inputs.EXTRAS`.
        most_rounds: rounds a step at most.
        examples: what to imitate; they say how values are normalised, too.
        settings: how.

    Raises:
        InvalidInputError: if the examples don't fit the space or the features, or all wish for the
            same decision.
    """
    _check(space, features, examples)
    mean, std = normalisation(examples.values)
    frame = MlpPolicy.initial(
        space, features, mean=mean, std=std, hidden=settings.hidden, seed=settings.seed
    )
    frame = replace(frame, most_rounds=most_rounds)
    networks = Networks(frame, settings.seed)
    parameters = [*networks.policy.parameters(), networks.log_stds]
    optimiser = torch.optim.AdamW(
        parameters, settings.learning_rate, weight_decay=settings.penalty, fused=True
    )
    inputs = torch.as_tensor(encoded(examples.values, mean, std))
    latents = torch.as_tensor(examples.latents, dtype=torch.float32)
    free = torch.as_tensor(examples.free)
    weights = torch.as_tensor(examples.weights / examples.weights.mean(), dtype=torch.float32)
    rng = np.random.default_rng(settings.seed)
    with one_thread():
        for _ in range(settings.epochs):
            order = torch.as_tensor(rng.permutation(len(inputs)))
            for rows in torch.tensor_split(order, -(-len(inputs) // settings.batch_size)):
                log_probs, entropies = networks.log_probs(inputs[rows], latents[rows], free[rows])
                gain = log_probs + settings.entropy_weight * entropies
                loss = -(weights[rows] * gain).mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                with torch.no_grad():
                    networks.log_stds.clamp_(settings.least_log_std, LOG_STDS[1])
    return networks.export(frame)


def _check(space: Space, features: tuple[str, ...], examples: Examples) -> None:
    for what, array, width in (
        ("values", examples.values, len(features) + len(EXTRAS)),
        ("latents", examples.latents, len(space.draws)),
    ):
        if array.shape[1:] != (width,):
            raise InvalidInputError(
                f"{what} of the examples have the shape {array.shape}, expected {width} columns"
            )
    wanted = examples.latents[examples.weights > 0]
    if not (wanted != wanted[0]).any():
        raise InvalidInputError(
            f"all {len(wanted)} examples wish for the same decision; a fixed allocation does that"
        )
