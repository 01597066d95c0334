"""The policy network of `amp.allocate.policy` in torch, with a value function beside it.

Log-probabilities and entropies are those of `amp.allocate.space`, with gradients.
The network of an assessor (spec 3.2) may stand before both: then the gradients reach it
through its score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from amp.allocate.mlp_policy import EXTRAS, MlpPolicy
from amp.allocate.space import HALF_LOG_TWO_PI, TOOLS_FROM
from amp.assess.neural import NeuralAssessor
from amp.errors import InvalidInputError
from amp.mlp import FAR, Floats, Layer

_REALS = slice(1, TOOLS_FROM)
_TOOLS = slice(TOOLS_FROM, None)

LOG_STDS = (-2.0, 0.5)
"""Least and most of what is learned: no draw is only its mean, none only noise."""


class Networks(nn.Module):
    """Policy and value function; both take the inputs of `encoded`, or better of `scored`."""

    def __init__(
        self, policy: MlpPolicy, seed: int, assessor: NeuralAssessor | None = None
    ) -> None:
        """Copies a policy, and an assessor if it is to learn, too.

        The value function begins at 0, its hidden units from the seed.
        """
        super().__init__()
        inputs, hidden = policy.layers[0].weight.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.value = _mlp(inputs, hidden, 1)
        for parameter in _linears(self.value)[-1].parameters():
            nn.init.zeros_(parameter)
        self.policy = _copied(policy.layers)
        self.log_stds = nn.Parameter(torch.tensor(policy.log_stds))
        self.clamp()
        self.assessor = None if assessor is None else _copied(assessor.layers)
        self.score = len(policy.features) + EXTRAS.index("score")
        self.score_mean = float(policy.mean[self.score])
        self.score_std = float(policy.std[self.score])

    def clamp(self) -> None:
        """Puts the log-standard-deviations back into their bounds."""
        with torch.no_grad():
            self.log_stds.clamp_(*LOG_STDS)

    def groups(self) -> list[list[nn.Parameter]]:
        """What is learned: policy and value function, and apart from them the assessor."""
        assessor = [] if self.assessor is None else list(self.assessor.parameters())
        apart = set(assessor)
        own = [parameter for parameter in self.parameters() if parameter not in apart]
        return [own, assessor] if assessor else [own]

    def scored(self, inputs: torch.Tensor, assessed: torch.Tensor) -> torch.Tensor:
        """The inputs with the score that the assessor gives now, if there is one.

        Args:
            inputs: those of the policy.
            assessed: those of the assessor, shape (n, 3 * its features), see `NeuralAssessor`.
        """
        if self.assessor is None:
            return inputs
        score = torch.sigmoid(self.assessor(assessed))
        far = torch.clamp((score - self.score_mean) / self.score_std, -FAR, FAR)
        return torch.cat((inputs[:, : self.score], far, inputs[:, self.score + 1 :]), 1)

    def log_probs(
        self, inputs: torch.Tensor, latents: torch.Tensor, free: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each row of latents, and each row's entropy, both of shape (n,)."""
        locations = self.policy(inputs)
        return (
            log_probs(latents, locations, self.log_stds, free),
            entropies(locations, self.log_stds, free),
        )

    def values(self, inputs: torch.Tensor) -> torch.Tensor:
        """The return that is expected from each row on, shape (n,)."""
        return torch.squeeze(self.value(inputs), 1)

    def export(self, frame: MlpPolicy) -> MlpPolicy:
        """The policy for the numpy runtime: these weights, all else as in the frame.

        Raises:
            InvalidInputError: if a weight is not finite, or a shape does not fit the frame.
        """
        first, second, output = map(layer_of, _linears(self.policy))
        stds = tuple(self.log_stds.tolist())
        return replace(frame, layers=(first, second, output), log_stds=stds)

    def export_assessor(self, frame: NeuralAssessor | None) -> NeuralAssessor | None:
        """The assessor likewise; None where none learns.

        Raises:
            InvalidInputError: if a weight is not finite, or a shape does not fit the frame.
        """
        if frame is None or self.assessor is None:
            return None
        return replace(frame, layers=tuple(map(layer_of, _linears(self.assessor))))


def log_probs(
    latents: torch.Tensor, locations: torch.Tensor, log_stds: torch.Tensor, free: torch.Tensor
) -> torch.Tensor:
    """`batch.log_probs` with gradients: one joint log-probability a decision."""
    z = torch.where(free, latents - locations, 0.0)[:, _REALS] * torch.exp(-log_stds)
    reals = (-0.5 * z * z - log_stds - HALF_LOG_TWO_PI) * free[:, _REALS]
    bits = -softplus(torch.where(latents > 0, -locations, locations)) * free
    rest = reals.sum(1) + bits[:, _TOOLS].sum(1)
    return bits[:, 0] + (1.0 - latents[:, 0]) * rest


def entropies(locations: torch.Tensor, log_stds: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """`batch.entropies` with gradients."""
    probabilities = torch.sigmoid(locations)
    bits = (softplus(locations) - locations * probabilities) * free
    reals = (log_stds + 0.5 + HALF_LOG_TWO_PI) * free[:, _REALS]
    goes_on = 1.0 - probabilities[:, 0] * free[:, 0]
    return bits[:, 0] + goes_on * (reals.sum(1) + bits[:, _TOOLS].sum(1))


def encoded(values: Floats, mean: Floats, std: Floats) -> Floats:
    """`amp.mlp.encode` of many rows, where NaN marks what is missing."""
    missing = np.isnan(values)
    far = np.clip((values - mean) / std, -FAR, FAR)
    return np.concatenate((np.where(missing, 0.0, far), missing), axis=1).astype(mean.dtype)


def normalisation(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of what is known in each column.

    A column that does not vary, or is never known, has the standard deviation 1.

    Raises:
        InvalidInputError: if there is no row, or a value is infinite.
    """
    if not len(values) or np.isinf(values).any():
        raise InvalidInputError(
            f"{len(values)} rows of values{' with an infinite one' if len(values) else ''}, "
            "expected finite values of at least one decision"
        )
    known = ~np.isnan(values)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, values, 0.0).sum(0) / count
    spread = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(0) / count)
    std = np.where(spread > 1e-6, spread, 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """More threads are slower on so little, and would fight for the cores with a model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.Tanh(),
        nn.Linear(hidden, hidden),
        nn.Tanh(),
        nn.Linear(hidden, outputs),
    )


def _copied(layers: Sequence[Layer]) -> nn.Sequential:
    """Layers of the numpy runtime, with tanh between them."""
    modules: list[nn.Module] = []
    for layer in layers:
        linear = nn.Linear(*layer.weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(layer.weight.T))
            linear.bias.copy_(torch.tensor(layer.bias))
        modules += [linear, nn.Tanh()]
    return nn.Sequential(*modules[:-1])


def _linears(network: nn.Sequential) -> list[nn.Linear]:
    return [module for module in network if isinstance(module, nn.Linear)]


def layer_of(linear: nn.Linear) -> Layer:
    """A copy of a layer for the numpy runtime."""
    weight, bias = (p.detach().numpy().copy() for p in (linear.weight, linear.bias))
    return Layer(np.ascontiguousarray(weight.T), bias)
