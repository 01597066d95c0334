"""The policy network pi_theta(R | C) of spec 2.3: what it observes, and its formulas for arrays.

`log_probs` and `allocations` are those of `amp.allocate.space` over many decisions at once: every
array has one row a decision. A learner's twin differs in the name of the array library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np

from amp.allocate.plan_state import PLAN_STATE, plan_state
from amp.allocate.policy import INITIAL_LOG_STD, Policy, check_log_stds, check_positive
from amp.allocate.space import (
    FALLING,
    HALF_LOG_TWO_PI,
    REALS,
    TOOLS_FROM,
    ActionDistribution,
    Space,
)
from amp.allocate.stopping import leaders
from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints, Layer, Mask, encode
from amp.types import Complexity, StepContext

INPUTS_VERSION = 2
"""Of `EXTRAS`, their meaning and their encoding; a policy saved with another version is refused."""

EXTRAS = (
    "score",  # c
    "trade_off",  # lambda, the weight of success against cost
    "budget_share",  # of the scarcest limited resource, 1 without limits
    "rounds",  # log(1 + rounds of this step)
    "candidates",  # log(1 + candidates of this step)
    "tooled",  # log(1 + those that were allocated a tool)
    "agreement",  # share of the candidates that back the leading action
    "margin",  # that share less the share of the runner-up
)
"""What every `MlpPolicy` sees besides the features; the last two are missing before a round."""


def observe(
    features: Sequence[str],
    context: StepContext,
    complexity: Complexity,
    trade_off: float,
    budget_share: float,
) -> list[float | None]:
    """The values before normalisation, None where one is missing: `features`, then `EXTRAS`.

    Features are those of the complexity and of `PLAN_STATE`; others than `features` are not looked
    at.

    Raises:
        InvalidInputError: if a value is not finite; the message names it.
    """
    evidence = context.evidence
    candidates = len(evidence.candidates)
    agreement = margin = None
    if candidates:
        first, second = leaders(evidence)
        agreement, margin = first / candidates, (first - second) / candidates
    known = complexity.features
    if not PLAN_STATE.keys().isdisjoint(features):
        known = {**known, **plan_state(context)}
    values = [
        *map(known.get, features),
        complexity.score,
        trade_off,
        budget_share,
        math.log1p(evidence.rounds),
        math.log1p(candidates),
        math.log1p(evidence.with_tools),
        agreement,
        margin,
    ]
    for name, value in zip((*features, *EXTRAS), values, strict=True):
        if value is not None and not math.isfinite(value):
            raise InvalidInputError(f"complexity {name} is {value}, expected a finite number")
    return values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpPolicy(Policy):
    """Two hidden layers of tanh over features, score, trade-off, budget and evidence.

    Its distribution is that of `SigmoidPolicy`: a location for each of `Space.dims`, and
    log-standard-deviations that do not depend on the step.

    Attributes:
        features: names of what it reads, of the complexity or of `PLAN_STATE`.
        mean: of every value of `inputs.observe` in training, for normalisation.
        std: likewise, more than 0.
        layers: two hidden ones and the output.
        log_stds: of the Normals, in the order of `REALS`.
        trade_off: lambda in [0, 1], the weight of success against cost; one policy serves them all.
            By default the policy that comes along spends no more than a vote of four programs did
            on its training tasks.

    Raises:
        InvalidInputError: if shapes don't fit one another, the features or the space, or a
            parameter is not finite.
    """

    features: tuple[str, ...]
    mean: Floats
    std: Floats
    layers: tuple[Layer, Layer, Layer]
    log_stds: tuple[float, ...]
    trade_off: float = 0.85

    kind: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        check_positive("max_rounds", self.max_rounds)
        check_positive("max_samples", self.max_samples)
        check_log_stds(self.log_stds)
        if not 0.0 <= self.trade_off <= 1.0:
            raise InvalidInputError(f"trade_off is {self.trade_off}, expected 0 to 1")
        values = len(self.features) + len(EXTRAS)
        hidden = [layer.weight.shape[-1] for layer in self.layers[:2]]
        widths = (2 * values, *hidden, len(self.space.dims))
        expected: list[tuple[str, Floats, tuple[int, ...]]] = [
            ("mean", self.mean, (values,)),
            ("std", self.std, (values,)),
        ]
        for number, (layer, width) in enumerate(zip(self.layers, pairwise(widths), strict=True)):
            expected.append((f"layers.{number}.weight", layer.weight, width))
            expected.append((f"layers.{number}.bias", layer.bias, width[1:]))
        for name, array, shape in expected:
            if array.shape != shape:
                raise InvalidInputError(
                    f"{name} of the policy has the shape {array.shape}, expected {shape} for "
                    f"{len(self.features)} features and {len(self.space.dims)} dimensions"
                )
            if not np.isfinite(array).all():
                raise InvalidInputError(f"{name} of the policy is not finite")
        if not (self.std > 0).all():
            raise InvalidInputError("std of the policy has a value that is not more than 0")

    @classmethod
    def initial(
        cls,
        space: Space,
        features: tuple[str, ...],
        *,
        mean: Floats | None = None,
        std: Floats | None = None,
        hidden: int = 64,
        steepness: float = 8.0,
        middle: float = 0.4,
        seed: int = 0,
    ) -> MlpPolicy:
        """A network that begins near `SigmoidPolicy.initial` and can learn to use the rest.

        One path carries tanh(tanh(score - middle)), close to score - middle, to the output. All
        other units are random and have no say yet.

        Args:
            space: bounds, grids and tools.
            features: names of the complexity's features to read.
            mean: of the values in training, if it is known; 0 without.
            std: likewise; 1 without.
            hidden: units of each hidden layer.
            steepness: w of the sigmoids.
            middle: the score at which they are half way.
            seed: of the random units.
        """
        values, dims = len(features) + len(EXTRAS), len(space.dims)
        score = len(features) + EXTRAS.index("score")
        mean = np.zeros(values, np.float32) if mean is None else mean.astype(np.float32)
        std = np.ones(values, np.float32) if std is None else std.astype(np.float32)
        rng = np.random.default_rng(seed)

        def random(inputs: int, carried: int) -> Layer:
            weight = rng.normal(0.0, inputs**-0.5, (inputs, hidden)).astype(np.float32)
            weight[:, 0] = 0.0
            weight[carried, 0] = 1.0
            return Layer(weight, np.zeros(hidden, np.float32))

        first = random(2 * values, score)
        first.weight[score, 0], first.bias[0] = std[score], mean[score] - middle
        output = Layer(np.zeros((hidden, dims), np.float32), np.zeros(dims, np.float32))
        output.weight[0, 0] = -steepness
        output.weight[0, 1 : 1 + len(REALS)] = steepness
        output.bias[1 + len(REALS) :] = 2.0
        return cls(
            space=space,
            features=features,
            mean=mean,
            std=std,
            layers=(first, random(hidden, 0), output),
            log_stds=(INITIAL_LOG_STD,) * len(REALS),
        )

    def with_trade_off(self, trade_off: float) -> MlpPolicy:
        return replace(self, trade_off=trade_off)

    @property
    def network(self) -> MlpPolicy:
        return self

    def to_tensors(self) -> dict[str, Sequence[float] | Floats]:
        tensors: dict[str, Sequence[float] | Floats] = {
            "log_stds": self.log_stds,
            "mean": self.mean,
            "std": self.std,
        }
        for number, layer in enumerate(self.layers):
            tensors[f"layers.{number}.weight"] = layer.weight
            tensors[f"layers.{number}.bias"] = layer.bias
        return tensors

    def inputs(self, context: StepContext, complexity: Complexity) -> Floats:
        """The vector that the network takes for a step (see `amp.allocate.policy`)."""
        share = self.env.budget_share(context.remaining)
        values = observe(self.features, context, complexity, self.trade_off, share)
        return encode(values, self.mean, self.std)

    def locations(self, inputs: Floats) -> Floats:
        """The locations, shape (..., dims), of inputs of shape (..., inputs)."""
        first, second, output = self.layers
        return output(np.tanh(second(np.tanh(first(inputs)))))

    def distribution(self, context: StepContext, complexity: Complexity) -> ActionDistribution:
        locations = self.locations(self.inputs(context, complexity))
        return ActionDistribution(tuple(locations.tolist()), self.log_stds)


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


@dataclass(frozen=True, slots=True, eq=False)
class Allocations:
    """Many allocations: one array a resource, one value a row.

    Attributes:
        tools: shape (rows, tools), in the order of `Space.tool_names`.
    """

    depth: Ints
    temperature: Floats
    top_p: Floats
    beam_width: Ints
    verification: Ints
    tools: Mask


def allocations(space: Space, latents: Floats, max_beams: Ints | None = None) -> Allocations:
    """`Space.allocation` of many rows of latents that don't stop.

    Args:
        space: bounds and grids.
        latents: shape (rows, dimensions).
        max_beams: the upper bound of the beam width in each row, where a budget lowers it.
    """
    drawn = dict(zip(REALS, np.asarray(latents[:, 1:], np.float64).T, strict=False))
    tools = latents[:, TOOLS_FROM:] > 0

    def mapped(name: str) -> Floats:
        low, high = getattr(space, name)
        if name == "depth":
            low, high = np.array([space.depth, space.depths(True)])[tools.any(1).astype(int)].T
        if name == "beam_width" and max_beams is not None:
            high = np.maximum(low, np.minimum(high, max_beams))
        share = 1.0 / (1.0 + np.exp(-np.clip(drawn[name], -500.0, 500.0)))
        value = high - (high - low) * share if name in FALLING else low + (high - low) * share
        step = getattr(space, f"{name}_step", None)
        if step is not None:
            value = np.round(np.rint(value / step) * step, 10)
        return np.asarray(np.clip(value, low, high))

    depth, beam_width, verification = (
        np.rint(mapped(name)).astype(np.intp) for name in ("depth", "beam_width", "verification")
    )
    return Allocations(
        depth, mapped("temperature"), mapped("top_p"), beam_width, verification, tools
    )


def _softplus(x: Floats) -> Floats:
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))
