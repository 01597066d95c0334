"""The web application: the APIs below ``/v1``, and what runs a server: health, metrics, an end."""

from __future__ import annotations

import json
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from starlette.routing import Route

from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.models.registry import api_card
from amp.serve.accounting import Accounts, OpenAccounts
from amp.serve.exchange import Bounds
from amp.serve.gateway import Gateway
from amp.serve.metrics import Metrics
from amp.serve.upstream import Upstream, UpstreamConfig, UpstreamError

_log = logging.getLogger(__name__)

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MOST_CARDS, _MOST_WARNINGS = 1_000, 20
_ANSWERS_BELOW = 500


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What `amp serve` is told.

    Attributes:
        upstream: the server behind.
        host: address to listen at.
        port: the same.
        bounds: what the gateway takes on.
        prices: the user's price table.
        is_free: whether the upstream costs nothing, as a model on this machine.
        drain_seconds: how long calls under way may go on after SIGTERM.
    """

    upstream: UpstreamConfig
    host: str = "127.0.0.1"
    port: int = 8080
    bounds: Bounds = field(default_factory=Bounds)
    prices: Path | None = None
    is_free: bool = False
    drain_seconds: int = 30


def make_app(config: ServeConfig, accounts: Accounts | None = None) -> FastAPI:
    """Returns the application.

    Args:
        config: what it is told.
        accounts: who may spend what; None for everybody anything.

    Raises:
        InvalidInputError: if the address of the upstream is none.
    """
    upstream = Upstream(config.upstream)
    accounts = accounts or OpenAccounts()
    metrics = Metrics()
    card = local_card if config.is_free else prices_at(upstream, config.prices)
    gateway = Gateway(upstream, accounts, metrics, card, config.bounds)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await upstream.close()
        await accounts.close()

    async def health() -> dict[str, str]:
        return {"status": "ok"}

    async def ready(response: Response) -> dict[str, str]:
        problem = await reach(upstream)
        response.status_code = 503 if problem else 200
        return {"status": problem or "ok"}

    async def figures() -> Response:
        return Response(metrics.shown(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models() -> dict[str, object]:
        rows = [{"id": name, "object": "model", "owned_by": "amp"} for name in config.bounds.models]
        return {"object": "list", "data": rows}

    routes: dict[str, Callable[..., Any]] = {
        "/healthz": health,
        "/readyz": ready,
        "/metrics": figures,
    }
    if config.bounds.models:
        routes["/v1/models"] = models
    own = [APIRoute(path, answer, methods=["GET"]) for path, answer in routes.items()]
    passed = Route("/v1/{path:path}", gateway, methods=_METHODS)
    return FastAPI(
        title="amp serve",
        routes=[*own, passed],
        lifespan=lifespan,
        openapi_url=None,  # the APIs are described by those who made them
    )


def local_card(dialect: str, model: str) -> ModelCard:
    """The card of a model on this machine, which costs nothing."""
    return ModelCard(model)


def prices_at(upstream: Upstream, table: Path | None) -> Callable[[str, str], ModelCard]:
    """Returns the prices at an upstream, as a function of dialect and model.

    Those of the shipped table are the providers'; another server has prices of its own.
    """
    own = upstream.host not in ("api.openai.com", "api.anthropic.com")

    @lru_cache(maxsize=_MOST_CARDS)
    def card(dialect: str, model: str) -> ModelCard:
        found = api_card(dialect, model, table, own_server=own)
        # Names come from clients, who could fill the log.
        unknown = found.dollars_per_million_prompt_tokens is None
        if unknown and card.cache_info().misses <= _MOST_WARNINGS:
            _log.warning(
                "no price known for %s:%s, so its dollars count as 0; add it to a price table"
                " (setting prices)",
                dialect,
                json.dumps(model[:100]),
            )
        return found

    return card


async def reach(upstream: Upstream) -> str:
    """Returns what is wrong with an upstream; an empty text if it answers."""
    try:
        async with upstream.asked("GET", "/v1/models", [], b"", plain=True) as answer:
            if answer.status_code < _ANSWERS_BELOW:
                return ""
            return f"the upstream answers with status {answer.status_code}"
    except UpstreamError as error:
        return str(error)


def describe(config: ServeConfig) -> str:
    """Says in a line where calls go.

    Raises:
        InvalidInputError: if the address of the upstream is none.
    """
    upstream = Upstream(config.upstream)
    apis = "OpenAI and Anthropic APIs" if upstream.api == "both" else f"{upstream.api} API"
    key = "a key of its own" if config.upstream.key else "the clients' keys"
    if not config.upstream.key and not config.upstream.passes_keys:
        key = "no key"
    return f"upstream {upstream.base}, {apis}, {key}"


async def reached(config: ServeConfig) -> str:
    """Returns what is wrong with the upstream of a configuration; an empty text for nothing."""
    upstream = Upstream(config.upstream)
    try:
        return await reach(upstream)
    finally:
        await upstream.close()


def listen(config: ServeConfig) -> socket.socket:
    """Opens the port, so that it is known to be free before anything is said.

    Raises:
        InvalidInputError: if it is not.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listening = socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InvalidInputError(
            f"{config.host} port {config.port} cannot be listened at ({reason}); choose another"
            " with --port or --host"
        ) from None
    # Else the kernel waits 40 milliseconds for more to send; connections inherit it.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def serve(config: ServeConfig, listening: socket.socket, accounts: Accounts | None = None) -> None:
    """Serves until SIGINT or SIGTERM; calls under way may end."""
    # The server sends itself the signal again at its end, which would make a failure of it.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(config, accounts),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=config.drain_seconds,
        )
    )
    with listening:
        server.run(sockets=[listening])
