"""Policies pi(R | C): distributions over allocations that a learner can improve (spec 2.3, 3.3)."""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from amp.allocate.base import Allocator
from amp.allocate.budget import Options, Surroundings, options
from amp.allocate.distributions import Heads, log_prob, most_likely, sample, stopped
from amp.allocate.space import REALS, Line, Space
from amp.errors import InvalidInputError
from amp.latency import CostModel
from amp.types import STOP, Allocation, Complexity, Decision, Limits, StepContext, Usage

INITIAL_LOG_STD = math.log(0.5)
"""Wide enough that a draw often lands on a neighbouring integer of the default space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Allocator):
    """What all policies share: masks first, then draws in latent space, then the maps.

    A kind of policy says only where the draws lie, in `heads`.

    Attributes:
        space: bounds, grids and tools.
        max_rounds: rounds a step at most; then a stop is forced.
        max_samples: of one way to ask, with tools or without, at most, as a recording to learn
            from holds so many; None for any number.
        deterministic: means instead of draws and tools where they are at least as likely as not,
            for serving; such decisions have the log-probability 0 and no latents.
        surroundings: what exists here and what it costs.
        seed: separates repeated draws for the same step of the same task, as a learner needs them.

    Raises:
        InvalidInputError: if `max_rounds` or `max_samples` is less than 1.
    """

    space: Space
    max_rounds: int = 4
    max_samples: int | None = None
    deterministic: bool = False
    surroundings: Surroundings = field(default_factory=Surroundings)
    seed: int = 0

    @abstractmethod
    def heads(self, context: StepContext, complexity: Complexity) -> Heads:
        """Parameters of the distribution for a step, before any mask."""

    def options(self, context: StepContext) -> Options:
        """What may be decided now; `draws.log_prob` needs its `free`."""
        return options(self.space, context, self.surroundings, self.max_rounds, self.max_samples)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        """Decides the next round of a step, or that it is settled.

        Raises:
            InvalidInputError: if the score or a feature of the complexity is not finite.
        """
        now = self.options(context)
        heads = self.heads(context, complexity)
        if self.deterministic:
            latents = most_likely(heads, now.free)
            if now.must_stop or latents[0]:
                return STOP
            return Decision(now.allocation(latents))
        if now.must_stop:
            return Decision(None, 0.0, stopped(len(now.free)))
        rng = random.Random(
            f"{context.task.seed} {context.task.id} {len(context.steps)} "
            f"{context.evidence.rounds} {self.seed}"
        )
        latents = sample(heads, now.free, rng)
        return Decision(
            None if latents[0] else now.allocation(latents),
            log_prob(latents, heads, now.free),
            latents,
        )

    def with_limits(self, limits: Limits, costs: CostModel, tools: Mapping[str, Usage]) -> Self:
        """The policy as it serves: its masks know what things cost, and it leaves out chance."""
        one = costs.expected(Allocation())
        return replace(self, surroundings=Surroundings(one, tools, limits), deterministic=True)

    def with_trade_off(self, trade_off: float) -> Self:
        """The policy at a weight of success against cost.

        Raises:
            InvalidInputError: if it was learned at one weight only, or the value is out of range.
        """
        raise InvalidInputError("the policy takes no trade_off; leave it out")

    def transferred(self, space: Space) -> Self:
        """The policy on a benchmark that it was not trained on.

        Its latents are mapped to the bounds there, and its tools stand for those there. So it can
        move only to where there are as many tools.

        Raises:
            InvalidInputError: if there are more or fewer.
        """
        own, there = self.space.tool_names, space.tool_names
        if len(own) != len(there):
            raise InvalidInputError(
                f"the policy has learned to use {len(own)} tools ({', '.join(own) or 'none'}), here"
                f" are {len(there)} ({', '.join(there) or 'none'}); it can be used only where there"
                " are as many"
            )
        return replace(self, space=space)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmoidPolicy(Policy):
    """The resource allocation of spec 3.3 to the letter: a function of the complexity score alone.

    Attributes:
        lines: w and b of every draw, in the order of `Space.draws`.
        log_stds: log-standard-deviations of the Normals, in the order of `REALS`.

    Raises:
        InvalidInputError: if there are too few or too many parameters, or one is not finite.
    """

    lines: tuple[Line, ...]
    log_stds: tuple[float, ...]

    def __post_init__(self) -> None:
        check_most("max_rounds", self.max_rounds)
        check_most("max_samples", self.max_samples)
        draws = self.space.draws
        if len(self.lines) != len(draws):
            raise InvalidInputError(
                f"the policy has {len(self.lines)} lines, expected {len(draws)}: {', '.join(draws)}"
            )
        for name, line in zip(draws, self.lines, strict=True):
            if not (math.isfinite(line.w) and math.isfinite(line.b)):
                raise InvalidInputError(f"line of {name} is {line}, expected finite numbers")
        check_log_stds(self.log_stds)

    @classmethod
    def initial(cls, space: Space, *, steepness: float = 8.0, middle: float = 0.4) -> SigmoidPolicy:
        """Signs set by hand as a place to start from: more of everything where it is harder.

        A stop becomes unlikely from a complexity of `middle` on, tools are likely everywhere. Which
        signs help is a matter of learning.
        """
        harder = Line(steepness, -steepness * middle)
        easier = Line(-steepness, steepness * middle)
        likely = Line(0.0, 2.0)
        return cls(
            space=space,
            lines=(easier, *(harder for _ in REALS), *(likely for _ in space.tools)),
            log_stds=(INITIAL_LOG_STD,) * len(REALS),
        )

    def heads(self, context: StepContext, complexity: Complexity) -> Heads:
        c = complexity.score
        locations = tuple([line.w * c + line.b for line in self.lines])
        if not all(map(math.isfinite, locations)):
            raise InvalidInputError(
                f"complexity score is {c}, expected a finite number that the lines can map"
            )
        return Heads(locations, self.log_stds)


def check_most(name: str, most: int | None) -> None:
    if most is not None and most < 1:
        raise InvalidInputError(f"{name} is {most}, expected at least 1")


def check_log_stds(log_stds: tuple[float, ...]) -> None:
    if len(log_stds) != len(REALS) or not all(-20.0 <= value <= 5.0 for value in log_stds):
        raise InvalidInputError(
            f"log_stds are {log_stds}, expected {len(REALS)} numbers from -20 to 5: "
            f"{', '.join(REALS)}"
        )
