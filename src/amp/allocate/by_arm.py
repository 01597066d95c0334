"""Policies that choose among named arms, which need not fill a box of bounds.

The arms of a plan step differ in their tools, depth and more, and most mixtures of these are none
of them. So a policy moves in a space of bits, one for each arm but the last: the first bit that is
set names the arm, and none the last one. Whatever it draws is an arm, and log-probabilities stay
exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Any

from amp.allocate.base import Allocator
from amp.allocate.plan_state import PLAN_STATE
from amp.allocate.policy import Policy
from amp.allocate.space import Space
from amp.errors import InvalidInputError
from amp.latency import CostModel
from amp.types import Allocation, Complexity, Decision, Limits, StepContext, Usage

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
