"""One request and its answer, as ASGI has them: read within bounds, sent byte by byte, refused.

The work on a request is dropped as soon as the client goes away, not only when the next byte is to
be sent to it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from amp.serve.accounts.budgets import require_episode
from amp.serve.dialects.base import Dialect
from amp.serve.upstreams.answer import is_stream
from amp.serve.upstreams.upstream import Headers

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STALLED_SECONDS = 300.0
"""For which a client may take nothing of its answer, unless it is told otherwise."""


class RefusedCallError(Exception):
    """The gateway does not make a call; the client is told why in its dialect."""

    def __init__(self, status: int, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class ClientWentError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the gateway takes on.

    Attributes:
        concurrent: calls at the same time; one more is told to come back.
        request_bytes: of a request.
        request_seconds: in which it has to arrive.
        stalled_seconds: a client that takes nothing of its answer for so long has gone away.
        local_only: whether only this machine is served, so that a web page in a browser, which
            could reach it under a name of its own, is turned away.
        operator: name of the key that sees the figures of all keys; empty for none.
    """

    concurrent: int = 512
    request_bytes: int = 32_000_000
    request_seconds: float = 60.0
    stalled_seconds: float = STALLED_SECONDS
    local_only: bool = True
    operator: str = ""


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    Attributes:
        method: such as POST.
        target: path and query as they were sent.
        headers: names in lower case.
        status: that was sent; 0 before.
        started: when it began, on the monotonic clock.
        finished: whether the last byte was sent.
        is_stream: whether what is sent are events, one of which may be an error.
        stalled_seconds: as `Bounds` has it.
    """

    method: str
    target: str
    headers: Headers
    receive: Receive
    send: Send
    status: int = 0
    started: float = 0.0
    finished: bool = False
    is_stream: bool = False
    stalled_seconds: float = STALLED_SECONDS

    @classmethod
    def of(cls, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> Exchange:
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope.get("query_string", b"").decode("latin-1")
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
        target = f"{path}?{query}" if query else path
        return cls(scope["method"], target, headers, receive, send, started=time.monotonic())

    @property
    def path(self) -> str:
        """Without the query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """A header's value, or an empty text."""
        return next((value for each, value in self.headers if each == name), "")

    @property
    def episode(self) -> str:
        """The client's name for the task that the call belongs to; empty if it gives none.

        Raises:
            InvalidInputError: if it is too long or cannot be printed.
        """
        name = self.header("x-amp-episode")
        with suppress(UnicodeError):  # a name in UTF-8, else in Latin-1 as headers once were
            name = name.encode("latin-1").decode()
        require_episode(name)
        return name

    async def body(self, bounds: Bounds) -> bytes:
        """Reads the request.

        Raises:
            RefusedCallError: if it is too large, or comes too slowly.
        """
        too_large = RefusedCallError(
            413, f"the request is larger than {bounds.request_bytes:,} bytes; send a smaller one"
        )
        stated = self.header("content-length")
        if stated.isdigit() and int(stated) > bounds.request_bytes:
            raise too_large
        content = bytearray()
        try:
            async with asyncio.timeout(bounds.request_seconds):
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientWentError
                    content += message.get("body", b"")
                    if len(content) > bounds.request_bytes:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(content)
        except TimeoutError:
            raise RefusedCallError(408, "the request came too slowly; send it again") from None

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Sends the head of the answer."""
        self.status = status
        self.is_stream = is_stream(dict(headers).get(b"content-type", b""))
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def go_on(self, chunk: bytes) -> None:
        """Sends a part of the body.

        Raises:
            ClientWentError: if the client takes nothing any more.
        """
        await self._put({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        """Sends the last part of the body."""
        self.finished = True
        await self._put({"type": "http.response.body", "body": chunk, "more_body": False})

    async def _put(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self.stalled_seconds):
                await self.send(message)
        except TimeoutError:
            raise ClientWentError from None

    async def refuse(self, dialect: Dialect, error: RefusedCallError) -> None:
        """Tells the client in its dialect why there is no answer, or why it ends here."""
        with suppress(ClientWentError):
            await self._refuse(dialect, error)

    async def _refuse(self, dialect: Dialect, error: RefusedCallError) -> None:
        if self.status:
            # What is no stream is left without its end, so that nobody takes it for whole.
            if self.is_stream:
                await self.end(dialect.error_event(error.status, str(error)))
            return
        body = json.dumps(dialect.error(error.status, str(error))).encode()
        headers = [(b"content-type", b"application/json"), length_of(body)]
        if error.retry_after_seconds is not None:
            seconds = max(1, round(error.retry_after_seconds))
            headers.append((b"retry-after", str(seconds).encode()))
        elif error.status in (408, 429):  # the SDKs would try again all the same
            headers.append((b"x-should-retry", b"false"))
        await self.begin(error.status, headers)
        await self.end(body)

    async def unless_gone(self, work: Coroutine[Any, Any, None]) -> None:
        """Does the work, and drops it when the client goes away.

        Raises:
            ClientWentError: if it did.
        """
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not self.finished:
                raise ClientWentError
            await task
        finally:
            for each in (task, watch):
                each.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def length_of(body: bytes) -> tuple[bytes, bytes]:
    """The header that says how long a body is."""
    return b"content-length", str(len(body)).encode()
