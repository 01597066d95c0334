"""The allocators, by name.

A trained policy has no name here: it is a file (`amp.allocate.policy_file.load_policy`).
"""

from __future__ import annotations

from collections.abc import Callable

from amp.allocate.base import Allocator, FixedAllocator, RandomAllocator
from amp.allocate.consistency import AdaptiveConsistency, EarlyStopping, UntilAgreement
from amp.allocate.heuristic import HeuristicAllocator
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.space import Space
from amp.errors import InvalidInputError, did_you_mean
from amp.types import Allocation

_MAX_SAMPLES = 8
"""Twice the usual vote. The papers go up to 40, which recordings on a laptop can hardly reach."""

ALLOCATORS: dict[str, Callable[[Space, Allocation], Allocator]] = {
    "fixed": lambda space, fixed: FixedAllocator(fixed),
    "heuristic": lambda space, fixed: HeuristicAllocator(space),
    "random": lambda space, fixed: RandomAllocator(space),
    "adaptive_consistency": lambda space, fixed: AdaptiveConsistency(fixed, most=_MAX_SAMPLES),
    "early_stopping": lambda space, fixed: EarlyStopping(fixed, window=4, most=_MAX_SAMPLES),
    "until_agreement": lambda space, fixed: _until_agreement(fixed, "tttt"),
    "until_agreement_mixed": lambda space, fixed: _until_agreement(fixed, "ttntntnn"),
    "sigmoid": lambda space, fixed: SigmoidPolicy.initial(space),
}


def _until_agreement(fixed: Allocation, pattern: str) -> UntilAgreement:
    """Rounds with the tools of the fixed allocation (t) and with none (n)."""
    return UntilAgreement.of_tool_sets(
        fixed, [fixed.tools if letter == "t" else frozenset() for letter in pattern]
    )


def make_allocator(name: str, space: Space, fixed: Allocation) -> Allocator:
    """Makes an allocator for a space.

    Args:
        name: a key of `ALLOCATORS`.
        space: where adaptive allocations move.
        fixed: what the fixed one grants, and the rules that sample until the votes agree.

    Raises:
        InvalidInputError: for an unknown name.
    """
    if name not in ALLOCATORS:
        known = sorted(ALLOCATORS)
        raise InvalidInputError(
            f"unknown allocator {name!r}{did_you_mean(name, known)} "
            f"(allocators: {', '.join(known)})"
        )
    return ALLOCATORS[name](space, fixed)
