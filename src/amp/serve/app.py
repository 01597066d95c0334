"""The web application: the APIs below ``/v1``, and what runs a server: health, metrics, an end."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from amp.errors import AmpError, InvalidInputError, did_you_mean
from amp.serve.accounts.base import Accounts, OpenAccounts, Refusal
from amp.serve.config import ServeConfig
from amp.serve.decide.base import CallPolicy
from amp.serve.decide.desk import Desk
from amp.serve.gateway import Gateway
from amp.serve.metrics import Metrics
from amp.serve.traffic.watch import Watch, check_watching
from amp.serve.upstreams.answer import UpstreamError
from amp.serve.upstreams.fleet import Fleet
from amp.serve.upstreams.upstream import Upstream, UpstreamConfig
from amp.telemetry import Telemetry

if TYPE_CHECKING:
    from amp.serve.spans import CallSpans

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection of a client stays open: longer than clients reuse one, so that none
sends its request just when it is closed."""

HEAD_SECONDS = 60.0
"""In which the head of a request has to arrive."""

HEAD_BYTES = 65_536
"""Of the head of a request, at most."""

_log = logging.getLogger(__name__)

_OFFER = re.compile(rb"\r\nupgrade:[^\r]*", re.IGNORECASE)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_ANSWERS_BELOW, _NO_RIGHT = 500, (401, 403)
_ASKED_SECONDS = 1.0
_NO_KEY = f"amp-{'0' * 8}-{'0' * 48}"
_FIXED = ("host", "port", "drain_seconds", "watching", "telemetry")
_RELOAD = getattr(signal, "SIGHUP", None)  # not on every system


class Connection(HttpToolsProtocol):
    """A client's connection, which hands the heads of requests on when they are whole.

    It is closed where one is late, or too long: the server by itself would wait for it for ever and
    keep all of it, and whoever needs no key for that could leave it without connections and memory.
    The offer to speak another protocol, which clients in Java make, is left out of a head, since
    the server would then take the body for a part of that protocol.
    """

    _late: asyncio.TimerHandle | None = None
    _head = b""
    _ahead = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        between = self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)
        if between:
            data, self._head = self._head + data, b""
            end = data.find(b"\r\n\r\n")
            if end < 0 and data[:1].isalpha():  # what else comes is no request, and is told so
                self._head = data
            else:
                data = _OFFER.sub(b"", data[:end]) + data[end:]
        if len(self._head) > HEAD_BYTES:
            self._close()
        elif not self._head:
            is_next = not between and not self.cycle.more_body  # sent ahead of the answer
            super().data_received(data)
            self._ahead = self._ahead + len(data) if is_next and not self.pipeline else 0
            if self._ahead > HEAD_BYTES:
                self._close()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Begins to wait when the first byte of a head has come, and ends with the last."""
        if self.cycle is not None and not self.cycle.response_complete:
            if self._late is not None:
                self._late.cancel()
            self._late = None
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._close)

    def _close(self) -> None:
        self._late = None
        self.timeout_keep_alive_handler()


class _App(FastAPI):
    """The application; calls of the APIs go to the gateway at once, past all layers between."""

    gateway: Gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_call = scope["type"] == "http" and scope["path"].startswith("/v1/")
        if is_call and scope["method"] in _METHODS:
            await self.gateway(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class _Readiness:
    """Whether upstreams answer. Who wants to know needs no key, so they are asked once a second.

    Args:
        gateway: whose upstreams.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asked = 0.0
        self._found: asyncio.Future[list[str]] | None = None

    async def problems(self) -> list[str]:
        """What is wrong with each; an empty text for nothing."""
        now = time.monotonic()
        if self._found is None or (self._found.done() and now - self._asked >= _ASKED_SECONDS):
            self._asked = now
            self._found = asyncio.gather(*map(reach, self._gateway.fleet.upstreams.values()))
        return await asyncio.shield(self._found)


def make_app(
    config: ServeConfig,
    accounts: Accounts | None = None,
    again: Callable[[], ServeConfig] | None = None,
) -> FastAPI:
    """Returns the application.

    Args:
        config: what it is told.
        accounts: who may spend what; None for everybody anything.
        again: what it is told when it is told anew, by SIGHUP; None if it is not.

    Raises:
        InvalidInputError: if the address of the upstream is none.
        MissingDependencyError: if spans are wanted without the extra ``otel``.
    """
    fleet = fleet_of(config)
    accounts = accounts or OpenAccounts()
    metrics = Metrics()
    desk = Desk(fleet, _policy_in, config.explain)
    watch = None if config.watching is None else Watch(config.watching, fleet, metrics)
    spans = None if config.telemetry is None else _call_spans(config.telemetry)
    gateway = Gateway(fleet, accounts, metrics, config.bounds, desk, watch, spans)

    readiness = _Readiness(gateway)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if again is not None and _RELOAD is not None:
            asyncio.get_running_loop().add_signal_handler(_RELOAD, turn, gateway, config, again)
        yield
        if watch is not None:
            await watch.close()
        await gateway.close()
        await accounts.close()

    async def health() -> dict[str, str]:
        return {"status": "ok"}

    async def ready(response: Response) -> dict[str, str]:
        problems = await readiness.problems()
        response.status_code = 503 if all(problems) else 200
        return {"status": "; ".join(filter(None, problems)) or "ok"}

    async def figures() -> Response:
        metrics.breakers({name: each.state for name, each in gateway.fleet.breakers.items()})
        return Response(metrics.shown(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes: dict[str, Callable[..., Any]] = {
        "/healthz": health,
        "/readyz": ready,
        "/metrics": figures,
    }
    own = [APIRoute(path, answer, methods=["GET"]) for path, answer in routes.items()]
    page = Route("/", gateway, methods=["GET"])
    app = _App(
        title="amp serve",
        routes=[*own, page],
        lifespan=lifespan,
        openapi_url=None,  # the APIs are described by those who made them
    )
    app.gateway = gateway
    return app


def _call_spans(telemetry: Telemetry) -> CallSpans:
    """Who writes spans; OpenTelemetry is imported only where they are wanted."""
    tracer = telemetry.spans().tracer
    from amp.serve.spans import CallSpans

    return CallSpans(tracer)


def _policy_in(path: str) -> CallPolicy:
    """The policy that was learned from traffic; arrays are read only where there is one."""
    if not Path(path).exists():
        raise InvalidInputError(
            f"policy is {path!r}{did_you_mean(path, ['pass', 'rules'])}, expected pass, rules, or a"
            " file that is there (amp train --from-traffic)"
        )
    from amp.serve.decide.learned import Learned

    return Learned(Path(path))


def check(config: ServeConfig) -> None:
    """Makes sure that all arms and policies can be read, and traffic can be kept.

    Raises:
        InvalidInputError: if not.
    """
    fleet = fleet_of(config)
    Desk(fleet, _policy_in)
    if config.watching is not None:
        check_watching(config.watching, fleet)


def turn(gateway: Gateway, now: ServeConfig, again: Callable[[], ServeConfig]) -> None:
    """Turns a gateway to what it is told anew; goes on as before if that is wrong."""
    try:
        told = again()
        gateway.turn_to(fleet_of(told, gateway.fleet), told.bounds)
    except AmpError as error:
        _log.error("what was told anew is wrong, so all stays as it was: %s", error)
        return
    fixed = [name for name in _FIXED if getattr(told, name) != getattr(now, name)]
    note = f"; {', '.join(fixed)} will be, after a new start" if fixed else ""
    names = ", ".join(gateway.fleet.upstreams)
    _log.warning("turned to %d upstreams (%s)%s", len(told.upstreams), names, note)


def fleet_of(config: ServeConfig, before: Fleet | None = None) -> Fleet:
    """The upstreams of a configuration, with those connections that go on.

    Raises:
        InvalidInputError: if the address of one is none.
    """
    return Fleet(config.upstreams, config.routes, config.prices, config.patience, before)


async def reach(upstream: Upstream) -> str:
    """Returns what is wrong with an upstream; an empty text if it answers."""
    try:
        async with upstream.asked("GET", "/v1/models", [], b"", plain=True) as answer:
            if upstream.config.key and answer.status in _NO_RIGHT:
                return f"it refuses the gateway's key (status {answer.status})"
            if answer.status < _ANSWERS_BELOW:
                return ""
            return f"the upstream answers with status {answer.status}"
    except UpstreamError as error:
        return str(error)


def describe(config: UpstreamConfig) -> str:
    """Says in a line where calls go.

    Raises:
        InvalidInputError: if the address of the upstream is none.
    """
    if config.recording is not None:
        return f"recording {config.recording} of {', '.join(config.models)}, offline"
    upstream = Upstream(config)
    both = upstream.api in ("both", "chat+messages")
    apis = "OpenAI and Anthropic APIs" if both else f"{upstream.api} API"
    key = "a key of its own" if config.key else "the clients' keys"
    if not config.key and not config.passes_keys:
        key = "no key"
    return f"{config.name} at {upstream.base}, {apis}, {key}"


async def reached(config: ServeConfig, accounts: Accounts | None = None) -> dict[str, str]:
    """Returns what is wrong with each upstream of a configuration; an empty text for nothing.

    Raises:
        InvalidInputError: if the policy of a route is none, or the accounts do not answer.
    """
    fleet = fleet_of(config)
    try:
        Desk(fleet, _policy_in)
        if accounts is not None:
            await _ask_accounts(accounts)
        problems = await asyncio.gather(*map(reach, fleet.upstreams.values()))
    finally:
        await fleet.close()
    return dict(zip(fleet.upstreams, problems, strict=True))


async def _ask_accounts(accounts: Accounts) -> None:
    try:
        found = await accounts.name_of(_NO_KEY)
        if isinstance(found, Refusal) and found.status >= _ANSWERS_BELOW:
            raise InvalidInputError(found.reason)
    finally:
        await accounts.close()


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


def serve(
    config: ServeConfig,
    listening: socket.socket,
    accounts: Accounts | None = None,
    again: Callable[[], ServeConfig] | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM; calls under way may end."""
    # The server sends itself the signal again at its end, which would make a failure of it.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(config, accounts, again),
            http=Connection,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=config.drain_seconds,
        )
    )
    # What is there now stays there: a collection that looks through it takes 30 milliseconds.
    gc.collect()
    gc.freeze()
    with listening:
        server.run(sockets=[listening])
