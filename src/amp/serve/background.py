"""A web application in a thread of its own, called without a socket from any thread or loop.

Its event loop is its own, so callers with and without ``await`` share it, whatever loops they come
from and however often those end.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from threading import Thread
from typing import Any, TypeVar

from fastapi import FastAPI

from amp.serve.exchange import Message

T = TypeVar("T")

CLOSED: Message = {"type": "closed"}
"""Told to whoever reads on when the application has ended, or left an answer without its end."""

_UNREAD = 64
"""Parts of an answer that wait for a slow reader; then the upstream waits."""

_LEAVING_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Background:
    """An application that runs from its first call until it is stopped.

    Args:
        app: makes it.
    """

    def __init__(self, app: Callable[[], FastAPI]) -> None:
        self._make = app
        self._life: _Life | None = None

    def start(self) -> _Life:
        """Starts it, also in a process that was forked, which has no copy of the thread."""
        if self._life is None or self._life.pid != os.getpid():
            self._life = _Life(self._make())
        return self._life

    def stop(self) -> None:
        """Ends it. Twice is fine."""
        life, self._life = self._life, None
        if life is not None and life.pid == os.getpid():
            life.stop()


class _Life:
    """An application in a loop on a thread of its own, from its beginning to its end.

    Attributes:
        pid: of the process that has the thread.
        ended: whether nothing is done any more.
    """

    def __init__(self, app: FastAPI) -> None:
        self.pid = os.getpid()
        self.ended = False
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._exits = AsyncExitStack()
        self._calls: set[BackgroundCall] = set()
        Thread(target=self._run, name="amp", daemon=True).start()
        self.do(self._exits.enter_async_context(app.router.lifespan_context(app))).result()

    def do(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Does something in its loop, in the context of whoever asks for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, scope: Message, body: bytes) -> BackgroundCall:
        """Begins a call."""
        call = BackgroundCall(self, body)
        self._calls.add(call)
        running = self.do(call.run(self._app, scope))
        running.add_done_callback(_tell)
        running.add_done_callback(lambda done: self._calls.discard(call))
        return call

    def stop(self) -> None:
        """Ends it, and the calls that are under way."""
        self.ended = True
        # Stopped from another thread, the loop would not wake.
        self.do(self._end()).add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._loop.stop)
        )

    async def _end(self) -> None:
        await asyncio.gather(*(call.left(CLOSED) for call in list(self._calls)))
        await self._exits.aclose()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()


def _tell(call: Future[None]) -> None:
    """Logs what no call should end with; the client was answered with status 500."""
    if not call.cancelled() and (error := call.exception()):
        _log.error("a call failed", exc_info=error)


class BackgroundCall:
    """A call of the application, and what comes of it, to be read from any thread or loop."""

    def __init__(self, life: _Life, body: bytes) -> None:
        self._life = life
        self._body: bytes | None = body
        self._came: asyncio.Queue[Message | None] = asyncio.Queue(_UNREAD)
        self._left = asyncio.Event()
        self._over = asyncio.Event()
        self._is_whole = False

    async def run(self, app: FastAPI, scope: Message) -> None:
        """Makes the call, in the loop of the application."""
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._over.set()
            await self._send(None if self._is_whole else CLOSED)

    def next(self) -> Future[Message | None]:
        """What comes next; None at the end."""
        return _done(CLOSED) if self._life.ended else self._life.do(self._came.get())

    def leave(self) -> Future[None]:
        """Goes away; what is returned is done when the call is settled."""
        return _done(None) if self._life.ended else self._life.do(self.left())

    async def left(self, last: Message | None = None) -> None:
        """Goes away, in the loop of the application.

        Args:
            last: what is told to whoever waits for more.
        """
        self._left.set()
        while not self._came.empty():  # whoever waits for room finds it
            self._came.get_nowait()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), _LEAVING_SECONDS)
        self._came.put_nowait(last)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message | None) -> None:
        self._is_whole |= message is not None and message.get("more_body") is False
        if not self._left.is_set():
            await self._came.put(message)


def _done(result: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(result)
    return future
