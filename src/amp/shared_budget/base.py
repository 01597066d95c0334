"""What a shared budget promises, wherever it is kept.

Each agent is a planner of its own, on its own tasks, or whoever else pays for calls. Before each
round it bids with what one more round is worth to it per unit of cost (`Allocator.bid`). The
highest bid goes first, and after every round all that wait are looked at anew. Four things hold,
whatever the order in which rounds begin and end:

- ``spent + set aside <= total``: a round may spend no more than was set aside for it, which the
  ledger of its episode enforces call by call. Only a server that overruns its caps can break that.
- What an agent has not had of its floor is nobody else's, until it waives that.
- Equal bids are fair: of equals the one goes first that spent least.
- One agent alone decides and spends as with the whole budget as the limit of its episodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from amp.errors import InvalidInputError, LimitReachedError, did_you_mean

Unit = Literal["dollars", "tokens", "seconds"]
"""What a budget can be of: what `Limits` can limit."""


@dataclass(slots=True, eq=False)
class Turn:
    """A round under way.

    Attributes:
        most: what it may spend.
        cost: what it did spend; whoever runs it writes that down.
    """

    most: float
    cost: float = 0.0


class Budget(Protocol):
    """A budget that several agents draw from."""

    @property
    def unit(self) -> Unit:
        """Of all its amounts."""
        ...

    def free(self, agent: str) -> float:
        """What an agent may spend, as far as is known here: all others may draw from it, too.

        Raises:
            InvalidInputError: if there is no such agent.
        """
        ...

    def turn(
        self, agent: str, bid: float = 0.0, want: float | None = None
    ) -> AbstractAsyncContextManager[Turn]:
        """Waits for the agent's turn, and sets aside what its round may spend.

        Args:
            agent: who.
            bid: the highest goes first.
            want: exactly that is set aside; None for the agent's part of all that is free.

        Raises:
            InvalidInputError: if there is no such agent.
            LimitReachedError: if what it wants is not there, also once all that is set aside for
                others is given back. Until that is clear it waits.
        """
        ...


def check_budget(total: float, floors: Mapping[str, float], unit: str, at_once: int) -> None:
    """Makes sure that a budget can be.

    Raises:
        InvalidInputError: if there is no agent, a number cannot be, or the floors are more than the
            budget.
    """
    if unit not in get_args(Unit):
        raise InvalidInputError(
            f"unit of the shared budget is {unit!r}, expected dollars, tokens or seconds"
        )
    if not 0.0 < total < math.inf:
        raise InvalidInputError(f"shared budget is {total} {unit}, expected more than 0")
    if not floors:
        raise InvalidInputError("shared budget has no agents; name each with its floor")
    for agent, floor in floors.items():
        if not 0.0 <= floor < math.inf:
            raise InvalidInputError(f"floor of agent {agent} is {floor}, expected 0 or more")
    if math.fsum(floors.values()) > total:
        raise InvalidInputError(
            f"floors of {len(floors)} agents add up to {math.fsum(floors.values()):g} {unit},"
            f" more than the shared budget of {total:g}; raise it, or lower the floors to"
            f" {total / len(floors):g} each"
        )
    if at_once < 1:
        raise InvalidInputError(f"at_once is {at_once}, expected at least 1")


def check_bid(bid: float) -> float:
    """A bid, checked.

    Raises:
        InvalidInputError: if it is no number.
    """
    if math.isnan(bid):
        raise InvalidInputError("bid is no number, expected what one more round is worth")
    return bid


def no_agent(agent: str, known: list[str]) -> InvalidInputError:
    """The error for an agent that was not named."""
    return InvalidInputError(
        f"no agent {agent!r} shares the budget{did_you_mean(agent, known)} (agents:"
        f" {', '.join(known)})"
    )


def not_there(agent: str, unit: str, want: float, left: float) -> LimitReachedError:
    """The error for an agent that wants more than can be left for it."""
    return LimitReachedError(
        unit,
        f"agent {agent} wants {want:g} of the shared {unit}, and {left:g} is left for it; raise the"
        " budget, or ask for less",
    )
