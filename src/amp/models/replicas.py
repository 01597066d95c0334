"""Which of several servers of one model answers: for an episode always the same, while it is there.

A server keeps what it has read in a cache, and the prompts of an episode begin alike. So the calls
of an episode make a session, and a session has a home: the replica with the fewest sessions of this
process, or of several such the one that a hash of both names. So the load is even in one process,
and processes that begin together do not all begin at the same replica.

| what happens | the session |
|---|---|
| its home cannot be reached, is silent, or says 502 or more | moves to another replica, for good |
| calls stay away from its home, since others failed there | moves likewise |
| its home is busy (429) or refuses | stays |
| no replica is left that it has not failed at | goes round all of them again |

After three failures in a row, calls stay away from a replica until it answers a check of its
health (`GET /v1/models`). That is made after five seconds, then more seldom (`amp.models.breaker`).
Where calls would stay away from all of them, they are asked all the same, and one that answers is
back at once.

Routers in front of a fleet know sessions by a header (`SESSION_HEADER`), which every server of
one's own is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from amp.errors import InvalidInputError, LimitReachedError
from amp.models.bill import Spent
from amp.models.breaker import Breaker
from amp.models.connection import Address, read_address
from amp.models.reply import Failure

SESSION_HEADER = "x-session-id"
"""As Ray Serve calls it; other routers can be told the name."""

LAST_STATUS_OF_A_SERVER = 501
"""Higher ones say that it is not there, or only in part."""

_FAILURES, _REST_SECONDS = 3, 5.0
_MOST_SHOWN = 4
_BETWEEN = re.compile(r",\s*(?=https?:)", re.IGNORECASE)


class Session:
    """Calls that are best answered by one server, since their prompts begin alike.

    Attributes:
        id: what routers are told; drawn by chance, so it tells nothing of the task.
    """

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex


_session: ContextVar[Session | None] = ContextVar("_session", default=None)
_checked: ContextVar[Replica | None] = ContextVar("_checked", default=None)


@contextmanager
def in_session(session: Session) -> Iterator[None]:
    """Has the calls that are made within belong to the session."""
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


def current_session() -> Session | None:
    """The session that calls belong to here."""
    return _session.get()


@dataclass(eq=False)
class Replica:
    """One of the servers.

    Attributes:
        address: where it is.
        breaker: keeps calls away while it is not there.
    """

    address: Address
    breaker: Breaker


@dataclass(slots=True)
class _Home:
    """Where a session is, and the replicas that failed it since it went round all of them."""

    replica: Replica
    left: list[Replica] = field(default_factory=list)


class Replicas:
    """The servers of one model.

    Args:
        addresses: at least one.
        clock: a monotonic one.

    Attributes:
        all: as they are given.
    """

    def __init__(
        self, addresses: Sequence[Address], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.all = tuple(
            Replica(address, Breaker(_FAILURES, _REST_SECONDS, clock)) for address in addresses
        )
        self._homes: WeakKeyDictionary[Session, _Home] = WeakKeyDictionary()

    def home(self, session: Session) -> Replica:
        """The replica that answers the session now."""
        left: list[Replica] = []
        if (home := self._homes.get(session)) is not None:
            left = home.left
            if home.replica not in left:
                if _takes_calls(home.replica):
                    return home.replica
                left.append(home.replica)
        able = [each for each in self.all if _takes_calls(each)] or list(self.all)
        fresh = [each for each in able if each not in left]
        if not fresh:  # round again, but not at once to the one that failed last
            left[:-1] = []
            fresh = [each for each in able if each not in left] or able
        sessions = Counter(id(each.replica) for each in self._homes.values())
        chosen = min(fresh, key=lambda each: (sessions[id(each)], _rank(session, each)))
        if chosen in left:
            left.remove(chosen)
        self._homes[session] = _Home(chosen, left)
        return chosen

    def send(self, request: Any, session: Session) -> Replica | None:
        """Has a request of an HTTP client go to the home of the session, and returns that.

        None where there is no choice: of one server, and of addresses that are elsewhere.
        """
        first = _origin(self.all[0].address.url)
        if len(self.all) == 1 or _origin(str(request.url)) != first:
            return None
        replica = _checked.get() or self.home(session)
        scheme, host, port = _origin(replica.address.url)
        request.url = request.url.copy_with(scheme=scheme, host=host, port=port)
        request.headers["host"] = request.url.netloc.decode("ascii")
        return replica

    def failed(self, session: Session, replica: Replica) -> None:
        """Takes note that a replica was not there for a call of the session."""
        if replica.breaker.state == "closed" and (ticket := replica.breaker.admit()):
            ticket.ended(well=False)
        home = self._homes.get(session)
        if home is not None and home.replica is replica and replica not in home.left:
            home.left.append(replica)

    def answered(self, replica: Replica) -> None:
        """Takes note that a replica is there."""
        replica.breaker.answered()

    async def check(self, is_there: Callable[[], Awaitable[bool]]) -> None:
        """Finds out which replicas are back, of those that calls stay away from.

        Args:
            is_there: asks the server; its requests go to the one in question.
        """
        waiting = [each for each in self.all if each.breaker.state == "half-open"]
        await asyncio.gather(*(_check(each, is_there) for each in waiting))

    def __str__(self) -> str:
        shown = [replica.address.url for replica in self.all[:_MOST_SHOWN]]
        more = len(self.all) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")


async def _check(replica: Replica, is_there: Callable[[], Awaitable[bool]]) -> None:
    ticket = replica.breaker.admit()
    if ticket is None:
        return  # somebody else is asking it
    token = _checked.set(replica)
    try:
        ticket.ended(well=await is_there())
    finally:
        ticket.drop()
        _checked.reset(token)


def _takes_calls(replica: Replica) -> bool:
    return replica.breaker.state == "closed"


def _rank(session: Session, replica: Replica) -> bytes:
    """Its place among equals (rendezvous hashing): by chance, and the same in every process."""
    return hashlib.blake2b(f"{session.id} {replica.address.url}".encode(), digest_size=8).digest()


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def read_addresses(text: str) -> tuple[Address, ...]:
    """Reads a base_url that may name several servers, apart by commas.

    Raises:
        InvalidInputError: if one is no address, two are the same, or they differ in more than
            scheme, host and port: one client with one key asks them all.
    """
    addresses = tuple(read_address(word) for word in _BETWEEN.split(text))
    urls = [address.url for address in addresses]
    if twice := next((url for url in urls if urls.count(url) > 1), None):
        raise InvalidInputError(f"base_url names {twice} twice, expected each server once")
    first = addresses[0]
    for address in addresses[1:]:
        same = urlsplit(address.url).path == urlsplit(first.url).path
        if not same or (address.query, address.login) != (first.query, first.login):
            raise InvalidInputError(
                f"base_url names {first.url} and {address.url}, expected servers that differ only"
                " in scheme, host and port: give all the same path, user, password and query"
            )
    return addresses


@dataclass(slots=True)
class Tries:
    """The tries of one request.

    Attributes:
        spent: what they cost.
        sent: how many were sent.
        arrived: whether the last one reached the server.
        status: of the last answer.
        body: the request.
        most_bytes: of an answer.
        answer: the last one's JSON.
        failure: why the last one is no answer.
        stopped: why no further try may be made.
        session: which they belong to.
        replica: where the last one went, as long as nothing is known of how it ended there.
    """

    spent: Spent
    body: dict[str, Any]
    most_bytes: int
    sent: int = 0
    arrived: bool = False
    status: int | None = None
    answer: Any = None
    failure: Failure | None = None
    stopped: LimitReachedError | None = None
    session: Session = field(default_factory=Session)
    replica: Replica | None = None

    def settle(self) -> None:
        """Notes that the last try cost nothing if it never arrived."""
        if self.sent and not self.arrived:  # else it would free a try of an earlier request
            self.spent.free()

    def __str__(self) -> str:
        times = "once" if self.sent == 1 else f"{self.sent} times"
        return f"tried {times}" + (f", last status {self.status}" if self.status else "")
