"""Which upstream of a call is asked next, and when.

All upstreams of a model are asked in order. If none of them answers, those that may do better later
are asked again, after a pause that doubles and is drawn by chance, so that callers that failed
together do not come back together. An upstream that says how long it wants to be left alone is left
alone so long, or given up.

| what came of it | asked again | the next one |
|---|---|---|
| too many calls, a fault, no connection, no answer | yes | yes |
| silence for too long | no | yes |
| no such model, no right to it, no money there | no | yes |
| whatever else is wrong with the request | no | no |

What may have been billed is charged before anybody is asked again. Whoever has begun to answer was
the last one asked: an answer that breaks off has been paid for.

A breaker keeps calls away from an upstream that is not there, until one of them finds it again:

| state | calls |
|---|---|
| closed | pass; so many failures in a row open it |
| open | do not pass, for some seconds |
| half-open | one passes: if it fails, it is open again, for twice as long; else closed |
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Generic, Literal, Protocol, TypeVar

from amp.serve.exchange import RefusedCallError
from amp.serve.upstreams.upstream import UpstreamError

State = Literal["closed", "half-open", "open"]

_LONGEST_REST = 60.0
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 529)
_SILENT = (504, 524)
_NOT_HERE = (401, 402, 403, 404)
_NO_MONEY = b"insufficient_quota"
_LONGEST_PAUSE = 8.0


@dataclass(slots=True)
class Ticket:
    """A call that passes. The first verdict on it counts; there may be none."""

    breaker: Breaker
    is_probe: bool
    is_open: bool = True

    def ended(self, *, well: bool) -> None:
        """Says whether the upstream is there."""
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
    """The breaker of one upstream.

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

    def _learn(self, well: bool) -> None:
        if well:
            self._failures, self._rest, self._until = 0, 0.0, None
            return
        self._failures += 1
        # Calls that began before it opened say nothing new.
        if self._failures >= self._most and self.state != "open":
            self._rest = min(_LONGEST_REST, 2 * self._rest or self._first_rest)
            self._until = self._clock() + self._rest


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call goes on.

    Attributes:
        retries: how often all upstreams are asked again.
        pause_seconds: before they are, the first time; doubled each time, up to eight seconds.
        longest_wait_seconds: of a pause that an upstream asks for; where it asks for a longer one,
            the client is told so.
        failures: of an upstream in a row, after which calls stay away from it.
        rest_seconds: for which they do, at first.
    """

    retries: int = 2
    pause_seconds: float = 0.5
    longest_wait_seconds: float = 5.0
    failures: int = 5
    rest_seconds: float = 5.0


class Tried(Protocol):
    """What is tried."""

    @property
    def breaker(self) -> Breaker:
        """Of its upstream."""
        ...


T = TypeVar("T", bound=Tried)


class Trying(Generic[T]):
    """The attempts of one call.

    Args:
        attempts: one for each upstream, in order.
        patience: how often, and how long.
        sleep: waits.
        chance: draws from 0 to 1.

    Attributes:
        tried: how many have been made.
        is_again: whether the one under way is at an upstream that failed this call before.
    """

    def __init__(
        self,
        attempts: Sequence[T],
        patience: Patience,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.tried = 0
        self._patience, self._sleep, self._chance = patience, sleep, chance
        self._waiting = list(attempts)
        self._later: list[T] = []
        self._rounds = 0
        self.is_again = False
        self._wait = 0.0
        self._rests = min(attempt.breaker.seconds for attempt in attempts)
        self._error: UpstreamError | None = None

    async def next(self) -> tuple[T, Ticket]:
        """The next attempt, as soon as it is time for it.

        Raises:
            UpstreamError: the last one, if there is none.
            RefusedCallError: if calls stay away from all upstreams.
        """
        while True:
            while self._waiting:
                attempt = self._waiting.pop(0)
                if ticket := attempt.breaker.admit():
                    self.tried += 1
                    return attempt, ticket
            if not self._later or self._rounds >= self._patience.retries:
                break
            pause = min(_LONGEST_PAUSE, self._patience.pause_seconds * 2**self._rounds)
            wait = self._wait + pause * (0.5 + self._chance() / 2)
            if self._wait > self._patience.longest_wait_seconds:
                break
            self._rounds += 1
            self.is_again = True
            self._waiting, self._later, self._wait = self._later, [], 0.0
            await self._sleep(wait)
        if self._error is not None:
            raise self._error
        raise RefusedCallError(
            503,
            "the upstreams of this model have failed lately and are left alone; come back later",
            retry_after_seconds=max(1.0, self._rests),
        )

    def failed(self, attempt: T, error: UpstreamError) -> None:
        """Takes note that an attempt failed, before a byte of it came."""
        self._error = error
        if _may_do_later(error):
            wait = wanted_pause(error.told)
            # The one that can be asked first ends the pause of all.
            self._wait = min(wait, self._wait) if self._later else wait
            self._later.append(attempt)
        elif not _may_do_elsewhere(error):
            self._waiting, self._later = [], []


def is_outage(error: UpstreamError) -> bool:
    """Whether it says that the upstream is not there, whatever it was asked."""
    return error.status > 501


def _may_do_later(error: UpstreamError) -> bool:
    willing = error.told.get("x-should-retry") != "false"
    return error.status in _AGAIN and willing and _NO_MONEY not in error.body


def _may_do_elsewhere(error: UpstreamError) -> bool:
    return error.status in (*_AGAIN, *_SILENT, *_NOT_HERE)


def wanted_pause(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float:
    """Seconds for which an upstream wants to be left alone; 0 if it says nothing that is a time."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        said = headers.get("retry-after", "0")
        if said.strip().replace(".", "", 1).isdigit():
            return float(said)
        return max(0.0, parsedate_to_datetime(said).timestamp() - now())
    except (ValueError, OverflowError):
        return 0.0
