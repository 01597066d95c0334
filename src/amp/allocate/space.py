"""The space of allocations: bounds of every resource, and the sigmoid maps of spec 3.3."""

from __future__ import annotations

import math
from dataclasses import dataclass

from amp.errors import InvalidInputError


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow for any finite x."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))


@dataclass(frozen=True, slots=True)
class Line:
    """The linear function w * c + b of a complexity c, inside the sigmoid of every map."""

    w: float
    b: float

    def __call__(self, c: float) -> float:
        return sigmoid(self.w * c + self.b)


def rising(bounds: tuple[float, float], line: Line, c: float) -> float:
    """low + (high - low) * sigmoid(w c + b): depth, beam width and verification (spec 3.3)."""
    low, high = bounds
    return low + (high - low) * line(c)


def falling(bounds: tuple[float, float], line: Line, c: float) -> float:
    """high - (high - low) * sigmoid(w c + b): the temperature (spec 3.3)."""
    low, high = bounds
    return high - (high - low) * line(c)


@dataclass(frozen=True, slots=True)
class Space:
    """What can be allocated here.

    Attributes:
        depth: least and most reasoning steps.
        temperature: least and most temperature.
        top_p: least and most nucleus mass.
        beam_width: least and most parallel candidates.
        verification: least and most level of verification.
        tools: names of the tools that exist here.

    Raises:
        InvalidInputError: if a lower bound exceeds its upper bound; the message names it.
    """

    depth: tuple[int, int] = (0, 4)
    temperature: tuple[float, float] = (0.0, 1.0)
    top_p: tuple[float, float] = (0.9, 1.0)
    beam_width: tuple[int, int] = (1, 4)
    verification: tuple[int, int] = (0, 2)
    tools: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("depth", "temperature", "top_p", "beam_width", "verification"):
            low, high = getattr(self, name)
            if not low <= high:
                raise InvalidInputError(
                    f"bounds of {name} are {low} to {high}, expected low <= high"
                )
