"""The allocator of a run: by name or file, told what a run says, what fits, and what is pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amp.allocate import ALLOCATORS, make_allocator
from amp.allocate.affordable import AffordableAllocator
from amp.allocate.base import Allocator
from amp.allocate.consistency import AdaptiveConsistency, EarlyStopping
from amp.allocate.constraints import Surroundings
from amp.allocate.policy import Policy, SigmoidPolicy
from amp.errors import InvalidInputError
from amp.evaluate.presets import Preset
from amp.execute.executor import Executor
from amp.models.base import ModelCard
from amp.profile import expected_cost
from amp.profile import find as find_profile
from amp.types import Allocation, Complexity, Decision, Limits, StepContext

SAMPLERS = frozenset({"adaptive_consistency", "early_stopping"})
"""Rules that sample until the votes are safe; how many samples at most is a matter of choice."""

_HEED_COMPLEXITY = frozenset({"heuristic", "sigmoid"})


@dataclass(frozen=True, slots=True)
class Pinned:
    """An allocator whose allocations have what the user set in place of its own.

    Attributes:
        inner: decides the rest, and when to stop.
        fields: of `Allocation`, by name.
    """

    inner: Allocator
    fields: Mapping[str, Any]

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        decision = self.inner.allocate(context, complexity)
        if decision.allocation is None:
            return decision
        return replace(decision, allocation=replace(decision.allocation, **self.fields))


def is_policy_file(allocator: str) -> bool:
    """Whether an allocator is the file of a trained policy: the names of others have no dots."""
    return allocator not in ALLOCATORS and Path(allocator).suffix != ""


def heeds_complexity(allocator: str) -> bool:
    """Whether an allocator looks at what the assessor says."""
    return allocator in _HEED_COMPLEXITY or is_policy_file(allocator)


def choose(name: str, preset: Preset, most: int | None, trade_off: float | None) -> Allocator:
    """The allocator of a name or file.

    Args:
        name: of `amp.allocate.ALLOCATORS`, or the path of a policy's file.
        preset: the fixed allocation and the space; a policy brings its own space.
        most: samples a step at most, of `SAMPLERS`. Windows are half of them, as usual. None for
            the usual number.
        trade_off: lambda of a policy that takes it; None for the policy's own.

    Raises:
        InvalidInputError: for an unknown name, no such file, or a policy without a trade-off.
    """
    if is_policy_file(name):
        from amp.allocate.weights import load_policy  # needs numpy

        policy = load_policy(Path(name))
        if trade_off is None:
            return policy
        if isinstance(policy, SigmoidPolicy):
            raise InvalidInputError(f"policy {name} takes no trade_off; leave it out")
        return replace(policy, trade_off=trade_off)
    if most is not None and name == "adaptive_consistency":
        return AdaptiveConsistency(preset.fixed, most=most)
    if most is not None and name == "early_stopping":
        return EarlyStopping(preset.fixed, window=max(1, most // 2), most=most)
    return make_allocator(name, preset.space, preset.fixed)


def within_limits(
    allocator: Allocator, preset: Preset, executor: Executor, card: ModelCard, limits: Limits
) -> Allocator:
    """The allocator, told what things cost here, so that it asks for no more than will fit."""
    profile = find_profile(card) if limits.seconds is not None else None
    if isinstance(allocator, Policy):
        one = expected_cost(Allocation(), preset.lengths, card, profile)
        costs = {name: tool.cost for name, tool in executor.tools.items()}
        surroundings = Surroundings(one, costs, limits)
        return replace(allocator, surroundings=surroundings, deterministic=True)
    if limits == Limits(steps=limits.steps):
        return allocator
    return AffordableAllocator(allocator, card, preset.lengths, profile)
