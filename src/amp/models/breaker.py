"""Keeps calls away from a server that is not there, until one of them finds it again.

| state | calls |
|---|---|
| closed | pass; so many failures in a row open it |
| open | do not pass, for some seconds |
| half-open | one passes: if it fails, it is open again, for twice as long; else closed |

A server that answers is there, whatever the state was: that closes it, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "half-open", "open"]

_LONGEST_REST = 60.0


@dataclass(slots=True)
class Ticket:
    """A call that passes. The first verdict on it counts; there may be none."""

    breaker: Breaker
    is_probe: bool
    is_open: bool = True

    def ended(self, *, well: bool) -> None:
        """Says whether the server is there."""
        if self._ends():
            self.breaker._learn(well)

    def drop(self) -> None:
        """The call is over; without a verdict, the next one may find out."""
        self._ends()

    def _ends(self) -> bool:
        was_open, self.is_open = self.is_open, False
        if was_open and self.is_probe:
            self.breaker._probing = False
        return was_open


class Breaker:
    """The breaker of one server.

    Args:
        failures: in a row that open it.
        rest_seconds: for which it stays open at first; doubled each time, up to a minute.
        clock: a monotonic one.
    """

    def __init__(
        self,
        failures: int = 5,
        rest_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._first_rest, self._clock = failures, rest_seconds, clock
        self._failures = 0
        self._rest = 0.0
        self._until: float | None = None  # None while it is closed
        self._probing = False

    @property
    def state(self) -> State:
        """Whether calls pass."""
        if self._until is None:
            return "closed"
        return "open" if self.seconds > 0 else "half-open"

    @property
    def seconds(self) -> float:
        """How long no call passes."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    def admit(self) -> Ticket | None:
        """Lets a call pass, or not."""
        state = self.state
        if state == "closed":
            return Ticket(self, is_probe=False)
        if state == "open" or self._probing:
            return None
        self._probing = True
        return Ticket(self, is_probe=True)

    def answered(self) -> None:
        """The server answered a call, be it one that asked it all the same."""
        self._learn(well=True)

    def _learn(self, well: bool) -> None:
        if well:
            self._failures, self._rest, self._until = 0, 0.0, None
            return
        self._failures += 1
        # Calls that began before it opened say nothing new.
        if self._failures >= self._most and self.state != "open":
            self._rest = min(_LONGEST_REST, 2 * self._rest or self._first_rest)
            self._until = self._clock() + self._rest
