"""The allocators, by name."""

from __future__ import annotations

from collections.abc import Callable

from amp.allocate.base import Allocator
from amp.allocate.baselines import FixedAllocator, RandomAllocator
from amp.allocate.heuristic import HeuristicAllocator
from amp.allocate.space import Space
from amp.errors import InvalidInputError, did_you_mean
from amp.types import Allocation

ALLOCATORS: dict[str, Callable[[Space, Allocation], Allocator]] = {
    "fixed": lambda space, fixed: FixedAllocator(fixed),
    "heuristic": lambda space, fixed: HeuristicAllocator(space),
    "random": lambda space, fixed: RandomAllocator(space),
}


def make_allocator(name: str, space: Space, fixed: Allocation) -> Allocator:
    """Makes an allocator for a space; `fixed` is what the fixed one grants.

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
