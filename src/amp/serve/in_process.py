"""The gateway in an agent's own process: an SDK's client whose calls go through it, unsent.

The SDKs of OpenAI and Anthropic let their user bring the HTTP client. `wrap` brings one that hands
each request to the gateway's web application instead of a socket, so there is one implementation of
what happens to a call (`amp.serve.background` has it run beside the agent).

NOT covered: what an SDK does without HTTP requests (the realtime API), and other HTTP clients than
asyncio's and plain ones (trio).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import finalize

import httpx2
from fastapi import FastAPI

from amp.errors import InvalidInputError
from amp.serve.accounts.base import OpenAccounts, open_accounts
from amp.serve.app import make_app
from amp.serve.background import CLOSED, Background, BackgroundCall
from amp.serve.config import ServeConfig
from amp.serve.episodes import EpisodeAccounts, current_episode
from amp.serve.exchange import Bounds, Message
from amp.serve.traffic.writer import Watching
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import Api, UpstreamConfig
from amp.settings import load_settings
from amp.telemetry import Telemetry

Client = TypeVar("Client")

_APIS: dict[str, Api] = {
    "OpenAI": "openai",
    "AsyncOpenAI": "openai",
    "Anthropic": "anthropic",
    "AsyncAnthropic": "anthropic",
}
_AZURE = ("AzureOpenAI", "AsyncAzureOpenAI")
_A_DAY = 86_400.0


def wrap(
    client: Client,
    *,
    accounts: Path | str | None = None,
    key: str = "",
    prices: Path | str | None = None,
    policy: str = "pass",
    arms: Sequence[str] = (),
    traffic: Path | str | None = None,
) -> Client:
    """Returns the same client, but its calls go through a gateway in this process.

    They are measured, decided, charged and bounded as `amp serve` does it, streams too, and go on
    to where the client sent them before. The client that is given stays as it is.

    Args:
        client: an `OpenAI`, `AsyncOpenAI`, `Anthropic` or `AsyncAnthropic` of the official SDKs.
        accounts: keys and budgets (`amp keys`), a file or ``redis://...``; None for no budgets but
            those of episodes.
        key: which of its keys pays; given with `accounts` only.
        prices: table of what models cost; None for that of the settings.
        policy: what decides: ``pass``, ``rules``, or a file of ``amp train --from-traffic``.
        arms: what may be decided for, such as ``gpt-5-mini@low``.
        traffic: file in which calls are kept, as hashes and figures, to learn from.

    Raises:
        InvalidInputError: if it is no such client, or a key comes without accounts or the reverse;
            also if there is no such policy or arm.
    """
    kinds = [kind.__name__ for kind in type(client).__mro__]
    api = next((_APIS[kind] for kind in kinds if kind in _APIS), None)
    if api is None or any(kind in _AZURE for kind in kinds):
        raise InvalidInputError(
            f"client is {type(client).__name__}, expected one of {', '.join(_APIS)}; for Azure:"
            " OpenAI(base_url='https://NAME.openai.azure.com/openai/v1')"
        )
    if bool(accounts) != bool(key):
        raise InvalidInputError("accounts and key are of use together only; give both or neither")
    given: Any = client
    address = str(given.base_url)
    # The client's own time-outs end what takes too long.
    upstream = UpstreamConfig(address, api=api, timeout_seconds=_A_DAY)
    bounds = Bounds(sys.maxsize, sys.maxsize, local_only=False)
    settings = load_settings()
    table = settings.prices if prices is None else Path(prices)
    config = ServeConfig(
        [upstream],
        [Route(policy=policy, arms=(arms,) if isinstance(arms, str) else tuple(arms))],
        bounds=bounds,
        patience=Patience(retries=0, failures=sys.maxsize),  # the client itself tries again
        prices=table,
        watching=Watching(Path(traffic)) if traffic else None,
        telemetry=Telemetry.of(settings),
    )
    books = str(accounts) if accounts else None

    def app() -> FastAPI:
        inner = open_accounts(books) if books else OpenAccounts()
        return make_app(config, EpisodeAccounts(inner, key))

    process = Background(app)
    process.start()  # so that whatever is wrong is said here
    is_async = any(kind.startswith("Async") for kind in kinds)
    try:
        http = _Door(httpx2, process, address).client(is_async=is_async)
        wrapped: Client = given.with_options(http_client=http)
    except TypeError:  # an SDK from before that library
        http = _Door(import_module("httpx"), process, address).client(is_async=is_async)
        wrapped = given.with_options(http_client=http)
    finalize(http, process.stop)
    return wrapped


@dataclass(frozen=True, slots=True)
class _Door:
    """What the clients of an HTTP library need to come in.

    Attributes:
        http: the library that the SDK uses: httpx2, or httpx before it.
        process: where the application runs.
        address: of the SDK's client.
    """

    http: Any
    process: Background
    address: str

    def client(self, *, is_async: bool) -> Any:
        """A client whose requests go to the application."""
        if is_async:
            transport = _of(self.http.AsyncBaseTransport, _AsyncTransport)(self)
            return self.http.AsyncClient(transport=transport, timeout=None)
        transport = _of(self.http.BaseTransport, _Transport)(self)
        return self.http.Client(transport=transport, timeout=None)

    def begin(self, request: Any, body: bytes) -> BackgroundCall:
        return self.process.start().call(_scope(self.http, request, self.address), body)

    def answer(self, request: Any, head: Message | None, stream: Any) -> Any:
        if head is None:
            raise self.http.RemoteProtocolError("the gateway gave no answer", request=request)
        return self.http.Response(head["status"], headers=head["headers"], stream=stream)

    def checked(self, request: Any, part: Message | None) -> Message | None:
        """A part of an answer, if it is one."""
        if part is CLOSED:
            raise self.http.ReadError(
                "the answer broke off, or the client was closed", request=request
            )
        return part

    def too_slow(self, request: Any) -> Exception:
        error: Exception = self.http.ReadTimeout("nothing came in time", request=request)
        return error


class _Parts:
    """An answer as it comes."""

    def __init__(self, door: _Door, request: Any) -> None:
        self._door, self._request = door, request
        self._call = door.begin(request, request.read())

    def next(self) -> Message | None:
        coming = self._call.next()
        try:
            part = coming.result(_read_seconds(self._request))
        except TimeoutError:
            self.close()
            raise self._door.too_slow(self._request) from None
        except BaseException:  # Ctrl-C
            self._call.leave()
            raise
        return self._door.checked(self._request, part)

    def __iter__(self) -> Iterator[bytes]:
        while message := self.next():
            yield message.get("body", b"")

    def close(self) -> None:
        self._call.leave().result()


class _AsyncParts:
    """The same for those who await it."""

    def __init__(self, door: _Door, request: Any, body: bytes) -> None:
        self._door, self._request = door, request
        self._call = door.begin(request, body)

    async def next(self) -> Message | None:
        coming = asyncio.wrap_future(self._call.next())
        try:
            part = await asyncio.wait_for(coming, _read_seconds(self._request))
        except TimeoutError:
            await self.aclose()
            raise self._door.too_slow(self._request) from None
        except asyncio.CancelledError:
            self._call.leave()
            raise
        return self._door.checked(self._request, part)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while message := await self.next():
            yield message.get("body", b"")

    async def aclose(self) -> None:
        await asyncio.wrap_future(self._call.leave())


class _Transport:
    def __init__(self, door: _Door) -> None:
        self._door = door

    def handle_request(self, request: Any) -> Any:
        parts = _of(self._door.http.SyncByteStream, _Parts)(self._door, request)
        return self._door.answer(request, parts.next(), parts)

    def close(self) -> None:
        self._door.process.stop()


class _AsyncTransport:
    def __init__(self, door: _Door) -> None:
        self._door = door

    async def handle_async_request(self, request: Any) -> Any:
        kind = _of(self._door.http.AsyncByteStream, _AsyncParts)
        parts = kind(self._door, request, await request.aread())
        return self._door.answer(request, await parts.next(), parts)

    async def aclose(self) -> None:
        self._door.process.stop()


@cache
def _of(base: type, kind: type) -> Any:
    """A class of ours as one of the library's, which is not known before."""
    return type(kind.__name__, (kind, base), {})


def _read_seconds(request: Any) -> float | None:
    """How long the client waits for the next part."""
    seconds: float | None = request.extensions.get("timeout", {}).get("read")
    return seconds


def _scope(http: Any, request: Any, address: str) -> Message:
    """A request as the application is given it, with the task that it is made for."""
    base = http.URL(address)
    if (request.url.host, request.url.port) != (base.host, base.port):
        raise http.UnsupportedProtocol(
            f"the client was wrapped for {base.host}, the request is for {request.url.host};"
            " make it with a client of its own",
            request=request,
        )
    path, _, query = request.url.raw_path.partition(b"?")
    path = path.removeprefix(urlsplit(address).path.rstrip("/").encode())
    if not path.startswith(b"/v1/"):  # it was a part of the address
        path = b"/v1" + path
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    task = current_episode()
    if task is not None and not any(name == b"x-amp-episode" for name, _ in headers):
        headers.append((b"x-amp-episode", task.name.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": headers,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
