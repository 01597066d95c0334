"""The space of allocations: bounds, the sigmoid maps of spec 3.3, and the distribution over it.

A policy samples in the latent space, before the sigmoid. The maps and the rounding come after, so
the log-probability of a sample is exact; many latents may give the same allocation.

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

import dataclasses
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amp.errors import InvalidInputError, did_you_mean
from amp.types import Allocation

REALS = ("depth", "temperature", "top_p", "beam_width", "verification")
"""The resources whose latents are real numbers, in the order of the latents."""

FALLING = frozenset({"temperature", "top_p"})
"""Resources that go down as the latent goes up; the others go up with it."""

_INTEGERS = frozenset({"depth", "beam_width", "verification"})


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow for any x."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))


@dataclass(frozen=True, slots=True)
class Line:
    """The linear function w * c + b of a complexity c, inside the sigmoid of every map."""

    w: float
    b: float

    def __call__(self, c: float) -> float:
        return self.w * c + self.b


def rising(bounds: tuple[float, float], latent: float) -> float:
    """low + (high - low) * sigmoid(latent): depth, beam width and verification (spec 3.3)."""
    low, high = bounds
    return low + (high - low) * sigmoid(latent)


def falling(bounds: tuple[float, float], latent: float) -> float:
    """high - (high - low) * sigmoid(latent): temperature (spec 3.3).

    Also top_p, for which the spec states no map: it is the other half of sampling control, and less
    of it narrows the sampling of an uncertain step as a lower temperature does.
    """
    low, high = bounds
    return high - (high - low) * sigmoid(latent)


@dataclass(frozen=True, slots=True)
class Space:
    """What can be allocated here.

    Attributes:
        depth: lowest and highest reasoning steps.
        temperature: lowest and highest temperature.
        top_p: lowest and highest nucleus mass.
        beam_width: lowest and highest parallel candidates.
        verification: lowest and highest level of verification.
        tools: names of the tools that exist here.
        depth_with_tools: lowest and highest reasoning steps where a tool is used, which may do what
            reasoning would; None for those of `depth`.
        temperature_step: learned policies allocate multiples of it, cut to the bounds, so that
            recorded samples serve many decisions; None for any temperature.
        top_p_step: likewise.

    Raises:
        InvalidInputError: if bounds are reversed, not finite, or more than an `Allocation` takes;
            the message names them.
    """

    depth: tuple[int, int] = (0, 4)
    temperature: tuple[float, float] = (0.0, 1.0)
    top_p: tuple[float, float] = (0.9, 1.0)
    beam_width: tuple[int, int] = (1, 4)
    verification: tuple[int, int] = (0, 2)
    tools: frozenset[str] = frozenset()
    depth_with_tools: tuple[int, int] | None = None
    temperature_step: float | None = None
    top_p_step: float | None = None

    def __post_init__(self) -> None:
        if self.depth_with_tools is not None:
            try:
                Space(depth=self.depth_with_tools)
            except InvalidInputError as error:
                raise InvalidInputError(f"depth_with_tools: {error}") from None
        for name in REALS:
            low, high = getattr(self, name)
            if not low <= high:
                raise InvalidInputError(
                    f"bounds of {name} are {low} to {high}, expected low <= high"
                )
            if name in _INTEGERS and not (isinstance(low, int) and isinstance(high, int)):
                raise InvalidInputError(
                    f"bounds of {name} are {low} to {high}, expected whole numbers"
                )
        for name in ("temperature_step", "top_p_step"):
            step = getattr(self, name)
            if step is not None and not 0.0 < step < math.inf:
                raise InvalidInputError(f"{name} is {step}, expected more than 0, or None")
        for corner in (0, 1):
            try:
                Allocation(**{name: getattr(self, name)[corner] for name in REALS})
            except ValueError as error:
                raise InvalidInputError(f"bounds of the space: {error}") from None

    def with_overrides(self, fields: Mapping[str, Any]) -> Space:
        """The space where fields of `Allocation` have one value each, and these are all tools."""
        bounds: dict[str, Any] = {
            name: frozenset(value) if name == "tools" else (value, value)
            for name, value in fields.items()
        }
        return dataclasses.replace(self, **bounds)

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The tools in the order of their latents."""
        return tuple(sorted(self.tools))

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the latents of one decision, in order; every policy has one location for each.

        ``stop`` (1 stops, 0 allocates a round), the `REALS`, then one 0 or 1 for each tool.
        """
        return ("stop", *REALS, *(f"tool {name}" for name in self.tool_names))

    def allocation(self, latents: Sequence[float]) -> Allocation:
        """The allocation that latents (in the order of `dims`) stand for, by the maps of spec 3.3.

        Integers are rounded to the nearest, temperature and top_p to their steps. The latent of a
        resource whose bounds are equal changes nothing.
        """
        tools = frozenset(
            name for name, latent in zip(self.tool_names, latents[6:], strict=True) if latent
        )
        return Allocation(
            depth=round(rising(self.depths(bool(tools)), latents[1])),
            temperature=_on_grid(
                self.temperature, self.temperature_step, falling(self.temperature, latents[2])
            ),
            top_p=_on_grid(self.top_p, self.top_p_step, falling(self.top_p, latents[3])),
            beam_width=round(rising(self.beam_width, latents[4])),
            verification=round(rising(self.verification, latents[5])),
            tools=tools,
        )

    def depths(self, with_tools: bool) -> tuple[int, int]:
        """Bounds of the depth with tools, or without."""
        return self.depth_with_tools if with_tools and self.depth_with_tools else self.depth

    def latents(self, allocation: Allocation) -> tuple[float, ...]:
        """Latents that stand for an allocation: the inverse of `allocation`, for imitation.

        Each is the middle of the values that are rounded to the wanted one, so it is finite.
        Without a step, temperature and top_p keep 1% of their width away from their bounds.

        Raises:
            InvalidInputError: if the allocation lies outside the space; the message names what.
        """
        if unknown := sorted(allocation.tools - self.tools):
            raise InvalidInputError(
                f"allocation has the tool {unknown[0]!r}"
                f"{did_you_mean(unknown[0], self.tool_names)} "
                f"(tools of the space: {', '.join(self.tool_names) or 'none'})"
            )
        return (
            0.0,
            *(
                self._latent(name, getattr(allocation, name), bool(allocation.tools))
                for name in REALS
            ),
            *(float(name in allocation.tools) for name in self.tool_names),
        )

    def _latent(self, name: str, value: float, with_tools: bool) -> float:
        low, high = self.depths(with_tools) if name == "depth" else getattr(self, name)
        if not low <= value <= high:
            raise InvalidInputError(
                f"allocation {name} is {value}, expected {low} to {high} in this space"
            )
        if low == high:
            return 0.0
        if (step := 1.0 if name in _INTEGERS else getattr(self, f"{name}_step")) is None:
            edge, middle = 0.01, value
        else:
            edge, multiple = 1e-6, round(value / step) * step
            middle = (max(low, multiple - step / 2) + min(high, multiple + step / 2)) / 2
        share = min(1.0 - edge, max(edge, (middle - low) / (high - low)))
        latent = math.log(share) - math.log1p(-share)
        return -latent if name in FALLING else latent

    def to_json(self) -> str:
        """The space as a JSON object with one key a field."""
        return json.dumps(dataclasses.asdict(self) | {"tools": list(self.tool_names)})

    @classmethod
    def from_json(cls, text: str) -> Space:
        """Reads what `to_json` wrote.

        Raises:
            InvalidInputError: if the text is not the JSON of a space.
        """
        try:
            fields = json.loads(text)
            if set(fields) != {field.name for field in dataclasses.fields(cls)}:
                raise ValueError(f"its fields are {', '.join(sorted(fields))}")
            bounds = {name: tuple(fields[name]) for name in REALS}
            if fields["depth_with_tools"] is not None:
                bounds["depth_with_tools"] = tuple(fields["depth_with_tools"])
            return cls(**(fields | bounds | {"tools": frozenset(fields["tools"])}))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"not the JSON of an allocation space: {error}") from None


def _on_grid(bounds: tuple[float, float], step: float | None, value: float) -> float:
    """The nearest multiple of the step, cut to the bounds, which hold against rounding errors."""
    low, high = bounds
    if step is not None:
        # Rounded, so that the same grid point is the same number whatever the bounds.
        value = round(round(value / step) * step, 10)
    return min(high, max(low, value))


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
