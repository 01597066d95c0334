"""A gateway that runs in the event loop of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from amp.serve.accounts.base import Accounts, OpenAccounts
from amp.serve.app import KEEP_ALIVE_SECONDS, Connection, listen, make_app
from amp.serve.config import ServeConfig
from amp.serve.exchange import Bounds
from amp.serve.traffic.writer import Watching
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import UpstreamConfig
from amp.telemetry import Telemetry


@dataclass
class Running:
    """Where it is, and what it has counted."""

    url: str
    accounts: OpenAccounts

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"


async def until(happened: Callable[[], bool]) -> None:
    """Waits for something that nothing tells of, for a minute: longer than any machine takes."""
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110  # it sets no event
            await asyncio.sleep(0.005)


async def given_up(call: Coroutine[Any, Any, object], once: Callable[[], bool]) -> None:
    """Makes a call and gives it up once something has happened."""
    task = asyncio.create_task(call)
    await until(once)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@asynccontextmanager
async def gateway(
    *upstreams: UpstreamConfig | str,
    bounds: Bounds = Bounds(),  # noqa: B008  # frozen
    prices: Path | None = None,
    accounts: Accounts | None = None,
    routes: Sequence[Route] = (),
    patience: Patience = Patience(),  # noqa: B008  # frozen
    watching: Watching | None = None,
    telemetry: Telemetry | None = None,
) -> AsyncIterator[Running]:
    """Runs a gateway in front of upstreams."""
    behind = [UpstreamConfig(each) if isinstance(each, str) else each for each in upstreams]
    books = OpenAccounts()
    config = ServeConfig(
        behind,
        routes,
        port=0,
        bounds=bounds,
        patience=patience,
        prices=prices,
        watching=watching,
        telemetry=telemetry,
    )
    app = make_app(config, accounts or books)
    with listen(config) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Connection,
                log_level="error",
                access_log=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started)
        try:
            yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", books)
        finally:
            server.should_exit = True
            await task
