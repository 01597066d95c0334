"""Policies pi(R | C): distributions over allocations that a learner can improve (spec 2.3, 3.3).

Arms of a plan step that differ in their tools, depth and more need not fill a box of bounds: most
mixtures of them are none of them. A policy that chooses among named arms (`ByArm`) moves in a space
of bits, one for each arm but the last: the first bit that is set names the arm, and none the last
one. Whatever it draws is an arm, and log-probabilities stay exact.
"""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, ClassVar, Self

from amp.allocate.base import ActionMask, AllocationEnv, Allocator, mask_actions
from amp.allocate.plan_state import PLAN_STATE
from amp.allocate.space import REALS, ActionDistribution, Line, Space, stopped
from amp.errors import InvalidInputError
from amp.latency import CostModel
from amp.types import STOP, Allocation, Complexity, Decision, Limits, StepContext, Usage

if TYPE_CHECKING:
    from amp.allocate.mlp_policy import MlpPolicy
    from amp.mlp import Floats

INITIAL_LOG_STD = math.log(0.5)
"""Wide enough that a sample often lands on a neighbouring integer of the default space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Allocator):
    """What all policies share: masks first, then samples in latent space, then the maps.

    A subclass only has to define `distribution`.

    Attributes:
        space: bounds, grids and tools.
        max_rounds: most rounds of a step; then a stop is forced.
        max_samples: most samples of a step with tools, and as many without: the number in the
            recording that it learns from; None for any number.
        deterministic: takes the mean instead of a sample, and each tool whose probability is at
            least one half, for use after training; such decisions have the log-probability 0 and
            no latents.
        env: the tools that exist and what an allocation costs.
        seed: separates repeated samples for one step of one task, as a learner needs them.

    Raises:
        InvalidInputError: if `max_rounds` or `max_samples` is less than 1.
    """

    space: Space
    max_rounds: int = 4
    max_samples: int | None = None
    deterministic: bool = False
    env: AllocationEnv = field(default_factory=AllocationEnv)
    seed: int = 0

    kind: ClassVar[str]

    @property
    def network(self) -> MlpPolicy | None:
        """Its neural network, for training and for examining it; None if it has none."""
        return None

    @abstractmethod
    def distribution(self, context: StepContext, complexity: Complexity) -> ActionDistribution:
        """The distribution of a decision on a step, before any mask."""

    def mask(self, context: StepContext) -> ActionMask:
        """What may be decided now; `ActionDistribution.log_prob` needs its `free`."""
        return mask_actions(self.space, context, self.env, self.max_rounds, self.max_samples)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        """Decides on another round of a step, or to stop.

        Raises:
            InvalidInputError: if the score or a feature of the complexity is not finite.
        """
        mask = self.mask(context)
        distribution = self.distribution(context, complexity)
        if self.deterministic:
            latents = distribution.mode(mask.free)
            if mask.must_stop or latents[0]:
                return STOP
            return Decision(mask.allocation(latents))
        if mask.must_stop:
            return Decision(None, 0.0, stopped(len(mask.free)))
        rng = random.Random(
            f"{context.task.seed} {context.task.id} {len(context.steps)} "
            f"{context.evidence.rounds} {self.seed}"
        )
        latents = distribution.sample(mask.free, rng)
        return Decision(
            None if latents[0] else mask.allocation(latents),
            distribution.log_prob(latents, mask.free),
            latents,
        )

    def with_limits(self, limits: Limits, costs: CostModel, tools: Mapping[str, Usage]) -> Self:
        """The policy for use after training: deterministic, with masks that know the costs."""
        one = costs.expected(Allocation())
        return replace(self, env=AllocationEnv(one, tools, limits), deterministic=True)

    def with_trade_off(self, trade_off: float) -> Self:
        """The policy at a weight of success against cost.

        Raises:
            InvalidInputError: if it was learned at one weight only, or the value is out of range.
        """
        raise InvalidInputError("the policy takes no trade_off; leave it out")

    @abstractmethod
    def to_tensors(self) -> dict[str, Sequence[float] | Floats]:
        """The parameters by name, for `amp.allocate.policy_file`."""

    def transferred(self, space: Space) -> Self:
        """The policy on a benchmark that it was not trained on.

        Its latents are mapped to the new bounds, and its tools, in order, are replaced by the new
        ones, of which there must be as many.

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
        lines: w and b of every dimension, in the order of `Space.dims`.
        log_stds: log-standard-deviations of the Normals, in the order of `REALS`.

    Raises:
        InvalidInputError: if there are too few or too many parameters, or one is not finite.
    """

    lines: tuple[Line, ...]
    log_stds: tuple[float, ...]

    kind: ClassVar[str] = "sigmoid"

    def __post_init__(self) -> None:
        check_positive("max_rounds", self.max_rounds)
        check_positive("max_samples", self.max_samples)
        dims = self.space.dims
        if len(self.lines) != len(dims):
            raise InvalidInputError(
                f"the policy has {len(self.lines)} lines, expected {len(dims)}: {', '.join(dims)}"
            )
        for name, line in zip(dims, self.lines, strict=True):
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

    def distribution(self, context: StepContext, complexity: Complexity) -> ActionDistribution:
        c = complexity.score
        locations = tuple([line.w * c + line.b for line in self.lines])
        if not all(map(math.isfinite, locations)):
            raise InvalidInputError(
                f"complexity score is {c}, expected a finite number that the lines can map"
            )
        return ActionDistribution(locations, self.log_stds)

    def to_tensors(self) -> dict[str, Sequence[float] | Floats]:
        return {
            "log_stds": self.log_stds,
            "w": [line.w for line in self.lines],
            "b": [line.b for line in self.lines],
        }


def check_positive(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise InvalidInputError(f"{name} is {value}, expected at least 1")


def check_log_stds(log_stds: tuple[float, ...]) -> None:
    if len(log_stds) != len(REALS) or not all(-20.0 <= value <= 5.0 for value in log_stds):
        raise InvalidInputError(
            f"log_stds are {log_stds}, expected {len(REALS)} numbers from -20 to 5: "
            f"{', '.join(REALS)}"
        )


MAX_ARMS = 8
"""More would make tables of arms long, which have a column for every set of bits."""


def arm_space(arms: Mapping[str, Allocation]) -> Space:
    """The space of a policy that chooses among these arms.

    Raises:
        InvalidInputError: if there are fewer than two, or more than `MAX_ARMS`.
    """
    if not 2 <= len(arms) <= MAX_ARMS:
        raise InvalidInputError(f"{len(arms)} arms to choose from, expected 2 to {MAX_ARMS}")
    fixed: dict[str, Any] = dict.fromkeys(("depth", "verification"), (0, 0))
    reals: dict[str, Any] = {"temperature": (0.0, 0.0), "top_p": (1.0, 1.0)}
    return Space(**fixed, **reals, beam_width=(1, 1), tools=frozenset(_bits(arms)))


def arm_codes(arms: Mapping[str, Allocation]) -> dict[frozenset[str], str]:
    """The arm that each set of bits stands for; of every arm first the set that names it alone."""
    bits = _bits(arms)
    plain = [*(frozenset({bit}) for bit in bits), frozenset[str]()]
    every = chain.from_iterable(combinations(bits, size) for size in range(len(bits) + 1))
    return {code: _named(arms, code) for code in (*plain, *map(frozenset, every))}


def _bits(arms: Mapping[str, Allocation]) -> list[str]:
    """In the order of the arms, also when they are sorted."""
    return [f"{number} {name}" for number, name in enumerate(arms)][:-1]


def _named(arms: Mapping[str, Allocation], code: frozenset[str]) -> str:
    names = dict(zip(_bits(arms), arms, strict=False))
    return next((names[bit] for bit in names if bit in code), list(arms)[-1])


@dataclass(frozen=True, slots=True)
class ByArm(Allocator):
    """Allocates the arms that a policy of `arm_space` chooses.

    Attributes:
        policy: chooses.
        arms: allocations by name, in the order of the policy's bits.
    """

    policy: Policy
    arms: Mapping[str, Allocation]

    def __post_init__(self) -> None:
        if self.policy.space != arm_space(self.arms):
            raise InvalidInputError(
                f"the policy chooses among {', '.join(self.policy.space.tool_names)}, expected"
                f" bits of the arms {', '.join(self.arms)}"
            )

    @property
    def uses_complexity(self) -> bool:
        """Whether the policy reads the complexity; one that reads plans alone is not told it."""
        names = () if self.policy.network is None else self.policy.network.features
        return not names or not PLAN_STATE.keys() >= set(names)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        told = complexity if self.uses_complexity else Complexity(0.0)
        decision = self.policy.allocate(context, told)
        if decision.allocation is None:
            return decision
        return replace(decision, allocation=self.arms[_named(self.arms, decision.allocation.tools)])

    def with_trade_off(self, trade_off: float) -> ByArm:
        """The policy at another trade-off.

        Raises:
            InvalidInputError: if it is out of range, or the policy takes none.
        """
        return replace(self, policy=self.policy.with_trade_off(trade_off))

    def with_limits(self, limits: Limits, costs: CostModel, tools: Mapping[str, Usage]) -> ByArm:
        """The policy for use after training, without chance; the ledger refuses what won't fit."""
        return replace(self, policy=replace(self.policy, deterministic=True))
