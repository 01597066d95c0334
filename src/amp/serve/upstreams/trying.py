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
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Generic, Protocol, TypeVar

from amp.models.breaker import Breaker, Ticket
from amp.serve.exchange import RefusedCallError
from amp.serve.upstreams.answer import UpstreamError

_AGAIN = (408, 409, 425, 429, 500, 502, 503, 529)
_SILENT = (504, 524)
_NOT_HERE = (401, 402, 403, 404)
_NO_MONEY = b"insufficient_quota"
_LONGEST_PAUSE = 8.0


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
