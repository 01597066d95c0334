"""What may be decided now: masks and bounds that hold before anything is drawn.

1. A tool is masked where it does not exist, and where one candidate with it does not fit what the
   limits still allow.
2. The upper bound of the beam width is lowered to the number of candidates that still fit, but
   not below its lower bound. The map stays a map, onto fewer beams.
3. There is no stop before the first round. It is forced after the last one, and after any round
   that leaves too little for the least number of beams.

Something fits if it takes no more tokens, dollars and seconds than are left, by the estimates of
`Surroundings`; what nobody estimated fits. Estimates are no promise: the ledger holds the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from amp.allocate.space import REALS, Space
from amp.types import Limits, StepContext, Usage


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a policy has to know of where it runs. Not a part of the policy, so not saved with it.

    Attributes:
        candidate: about what one candidate takes: its share of the prompt, and its answer.
        tools: the tools that the executor has, each with about what one use takes (`Tool.cost`);
            None if all tools of the space exist and nobody knows their costs. Tools that the
            observation brings along exist in any case.
        limits: the limits of a whole episode, by which a share of the budget is told.
    """

    candidate: Usage = field(default_factory=Usage)
    tools: Mapping[str, Usage] | None = None
    limits: Limits = Limits()

    def budget_share(self, remaining: Limits) -> float:
        """The share in [0, 1] of the scarcest limited resource that is left; 1 without limits."""
        shares = [1.0]
        for name in ("steps", "tokens", "dollars", "seconds"):
            limit, left = getattr(self.limits, name), getattr(remaining, name)
            if limit is not None and left is not None:
                shares.append(left / limit)
        return min(shares)


@dataclass(frozen=True, slots=True)
class Options:
    """What may be decided now.

    Attributes:
        space: the policy's space with bounds that the remaining budget allows.
        free: for every draw of `Space.draws`, whether it is left to the policy.
        must_stop: whether the only option is to stop; then nothing is free.
    """

    space: Space
    free: tuple[bool, ...]
    must_stop: bool = False


def options(
    space: Space, context: StepContext, surroundings: Surroundings, most_rounds: int
) -> Options:
    """Applies the rules of this module to the step at hand.

    Args:
        space: the policy's whole space.
        context: the step, with what the limits still allow.
        surroundings: what exists and what it costs.
        most_rounds: rounds a step at most.
    """
    rounds, remaining = context.evidence.rounds, context.remaining
    tool_names = space.tool_names
    room = _room(remaining, surroundings.candidate)
    least, most = space.beam_width
    if rounds >= most_rounds or (rounds and room < least):
        return Options(space, (False,) * (1 + len(REALS) + len(tool_names)), must_stop=True)
    if room < most:
        space = replace(space, beam_width=(least, max(least, int(room))))
    return Options(
        space,
        (
            rounds > 0,
            *(low < high for low, high in _bounds(space)),
            *(_usable(name, context, surroundings) for name in tool_names),
        ),
    )


def _bounds(space: Space) -> Iterator[tuple[float, float]]:
    return (getattr(space, name) for name in REALS)


def _usable(tool: str, context: StepContext, surroundings: Surroundings) -> bool:
    costs = surroundings.tools
    if costs is None:
        return True
    if tool not in costs:
        return tool in context.observation.tool_actions
    return _room(context.remaining, surroundings.candidate + costs[tool]) >= 1.0


def _room(remaining: Limits, need: Usage) -> float:
    """How many times a usage fits what is left; infinite if nothing limits it."""
    room = math.inf
    for left, needed in (
        (remaining.tokens, need.tokens),
        (remaining.dollars, need.dollars),
        (remaining.seconds, need.seconds),
    ):
        if left is not None and needed > 0:
            room = min(room, left / needed)
    return room
