"""Where requests come in: which are handled, which refused, and which passed through unread.

A call of a chat is measured (`amp.serve.chats`); every other path below ``/v1`` is passed through
unread. Bytes go out as they come in, but for the usage that a client of a stream did not ask for
(`amp.serve.dialects.base`). One coroutine has a call from its first byte to its last.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from amp.errors import InvalidInputError
from amp.serve.accounts.base import Accounts, Refusal
from amp.serve.chats import Chats
from amp.serve.decide.desk import KEPT, Desk
from amp.serve.dialects.apis import CHAT, DIALECTS, MESSAGES
from amp.serve.dialects.base import fields_of
from amp.serve.dialects.members import with_members
from amp.serve.exchange import (
    Bounds,
    ClientWentError,
    Exchange,
    Receive,
    RefusedCallError,
    Send,
    length_of,
)
from amp.serve.held import reserve
from amp.serve.metrics import Metrics
from amp.serve.page.view import page_of
from amp.serve.traffic.watch import OUTCOME_PATH, Watch, take_outcome
from amp.serve.upstreams.answer import UpstreamError, UpstreamRefusedError, refusal
from amp.serve.upstreams.fleet import Fleet
from amp.serve.upstreams.upstream import Upstream, client_key, is_below_v1, plain_path

if TYPE_CHECKING:
    from amp.serve.spans import CallSpans

_CLIENT_WENT, _WHO = 499, 401
_UNCHANGED = 304  # tells the length of a body that does not come
_ENDS = "the gateway ends before the call does; send it again"
_FREE = ("GET", "HEAD", "OPTIONS", "DELETE")
_FREE_PATHS = ("/v1/messages/count_tokens", "/v1/responses/input_tokens")
_MODELS = "/v1/models/"
_LISTED = {
    "object": "model",
    "type": "model",
    "created": 0,
    "created_at": "1970-01-01T00:00:00Z",
    "owned_by": "amp",
}
_DECISIONS = ("GET", "/v1/amp/decisions")
_PAGE = "/"
_PAGE_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_HERE = ("127.0.0.1", "::1")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


class Gateway:
    """Takes the calls below ``/v1`` and passes them on, as an ASGI application.

    Args:
        fleet: where to.
        accounts: who may spend what.
        metrics: where it is counted.
        bounds: what it takes on.
        watch: keeps what clients are answered; None keeps nothing.
        desk: where calls are decided.
        spans: writes spans of chats; None writes none.

    Attributes:
        running: calls that are under way.
    """

    def __init__(
        self,
        fleet: Fleet,
        accounts: Accounts,
        metrics: Metrics,
        bounds: Bounds,
        desk: Desk,
        watch: Watch | None = None,
        spans: CallSpans | None = None,
    ) -> None:
        self.running = 0
        self._dropped: list[Upstream] = []  # until the last of their calls has ended
        self._accounts = accounts
        self._metrics = metrics
        self._watch = watch
        self._bounds = bounds
        self._desk = desk
        self._chats = Chats(fleet, accounts, metrics, desk, watch, spans)
        self._dialects = {dialect.path: dialect for dialect in DIALECTS}

    @property
    def fleet(self) -> Fleet:
        """The upstreams."""
        return self._chats.fleet

    def turn_to(self, fleet: Fleet, bounds: Bounds) -> None:
        """Takes other upstreams and bounds for the calls to come; those under way go on.

        Raises:
            InvalidInputError: if the policy of a route is none; then all stays as it was.
        """
        before = self.fleet.upstreams.values()
        self._chats.turn_to(fleet)
        if self._watch is not None:
            self._watch.turn_to(fleet)
        self._bounds = bounds
        self._dropped += [each for each in before if each not in fleet.upstreams.values()]

    async def close(self) -> None:
        """Closes all connections."""
        await self._close_dropped()
        await self.fleet.close()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope, receive, send)
        exchange.stalled_seconds = self._bounds.stalled_seconds
        # However the path is written: what an upstream takes for a chat is to be measured.
        is_post = exchange.method == "POST"
        chat = self._dialects.get(plain_path(exchange.path)) if is_post else None
        spoken = chat or (MESSAGES if exchange.header("anthropic-version") else CHAT)
        try:
            with self._place():
                self._check(exchange)
                body = b""
                if exchange.path != _PAGE:
                    # Strangers are turned away before they can keep others waiting.
                    await self._name_of(client_key(exchange.headers))
                    body = await exchange.body(self._bounds)
                if chat:
                    work = self._chats.answer(exchange, chat, body)
                elif exchange.path == OUTCOME_PATH:
                    traffic = None if self._watch is None else self._watch.traffic
                    work = take_outcome(exchange, body, self._accounts, traffic)
                elif exchange.path == _PAGE:
                    work = self._show_page(exchange, (scope.get("client") or ("",))[0])
                elif (exchange.method, exchange.path) == _DECISIONS:
                    work = self._show_decisions(exchange, (scope.get("client") or ("",))[0])
                elif exchange.method == "GET" and f"{exchange.path}/".startswith(_MODELS):
                    work = self._list(exchange)
                else:
                    work = self._pass(exchange, body)
                await exchange.unless_gone(work)
        except RefusedCallError as error:
            await exchange.refuse(spoken, error)
        except UpstreamRefusedError as error:
            await exchange.begin(error.status, [*error.headers, length_of(error.body)])
            await exchange.end(error.body)
        except UpstreamError as error:
            await exchange.refuse(spoken, RefusedCallError(error.status, str(error)))
        except InvalidInputError as error:
            await exchange.refuse(spoken, RefusedCallError(400, str(error)))
        except ClientWentError:
            exchange.status = _CLIENT_WENT
        except asyncio.CancelledError:  # the time to drain is over
            await exchange.refuse(spoken, RefusedCallError(503, _ENDS, retry_after_seconds=1.0))
        finally:
            path = "other" if chat is None else chat.path
            if self._dropped and not self.running:
                await self._close_dropped()
            seconds = time.monotonic() - exchange.started
            self._metrics.call(path, exchange.status, seconds)

    async def _close_dropped(self) -> None:
        dropped, self._dropped = self._dropped, []
        for upstream in dropped:
            await upstream.close()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Back pressure: a call too many is told to come back, instead of waiting in memory."""
        if self.running >= self._bounds.concurrent:
            raise RefusedCallError(
                429, f"{self.running} calls are under way; come back later", retry_after_seconds=1.0
            )
        self.running += 1
        self._metrics.running.set(self.running)
        try:
            yield
        finally:
            self.running -= 1
            self._metrics.running.set(self.running)

    def _check(self, exchange: Exchange) -> None:
        """Turns away web pages, and paths that lead out of the API."""
        host = exchange.header("host")
        if self._bounds.local_only and not _is_local(host):
            raise RefusedCallError(
                403, "the gateway serves this machine alone, under the name localhost or 127.0.0.1"
            )
        origin = exchange.header("origin")
        if origin and origin.partition("://")[2] != host:
            raise RefusedCallError(403, "web pages of other servers are not served")
        if exchange.path != _PAGE and not is_below_v1(exchange.target):
            raise RefusedCallError(404, "there is no such path; the APIs are below /v1/")

    async def _show_decisions(self, exchange: Exchange, address: str) -> None:
        """Shows the last decisions."""
        viewer = await self._viewer(exchange, address, client_key(exchange.headers))
        wanted = parse_qs(exchange.target.partition("?")[2]).get("n", ["50"])[-1]
        count = min(int(wanted), KEPT) if wanted.isdigit() and wanted.isascii() else KEPT
        shown = json.dumps({"decisions": self._desk.last(count, viewer)}).encode()
        await exchange.begin(200, [(b"content-type", b"application/json"), length_of(shown)])
        await exchange.end(shown)

    async def _show_page(self, exchange: Exchange, address: str) -> None:
        """Shows the page; a browser is asked for the key, which stands for the password."""
        key = client_key(exchange.headers) or _password(exchange.header("authorization"))
        try:
            viewer = await self._viewer(exchange, address, key)
        except RefusedCallError as error:
            if error.status != _WHO:
                raise
            told = f"{error}\n".encode()
            asks = (b"www-authenticate", b'Basic realm="a key as the password", charset="UTF-8"')
            await exchange.begin(_WHO, [(b"content-type", b"text/plain"), asks, length_of(told)])
            await exchange.end(told)
            return
        traffic = None if self._watch is None else self._watch.traffic
        page, policy = await page_of(self._desk, traffic, viewer)
        allowed = (b"content-security-policy", policy.encode())
        await exchange.begin(200, [*_PAGE_HEADERS, allowed, length_of(page)])
        await exchange.end(page)

    async def _name_of(self, key: str) -> str:
        """The name of a key.

        Raises:
            RefusedCallError: if it is none.
        """
        name = await self._accounts.name_of(key)
        if isinstance(name, Refusal):
            raise RefusedCallError(name.status, name.reason, name.retry_after_seconds)
        return name

    async def _viewer(self, exchange: Exchange, address: str, key: str) -> str | None:
        """Who looks: a key, which sees its own; None for the operator, or for this machine where
        there are no keys, who see all.

        Raises:
            RefusedCallError: if it is nobody who may.
        """
        name = await self._name_of(key)
        # A page of another server could reach this machine under a name of its own.
        if not name and (address not in _HERE or not _is_local(exchange.header("host"))):
            raise RefusedCallError(
                403, "this is shown to this machine, or to a key of the gateway's accounts"
            )
        return None if name in ("", self._bounds.operator) else name

    async def _list(self, exchange: Exchange) -> None:
        """Lists the models of all upstreams, or one, in a form that clients of both APIs read.

        Raises:
            RefusedCallError: if there is none of that name.
        """
        fleet = self.fleet
        if len(fleet.upstreams) == 1 and not fleet.names():
            await self._pass(exchange, b"")
            return
        reservation = await reserve(self._accounts, exchange, dollars=0.0, tokens=0)
        try:
            names = await fleet.listed(exchange.headers)
        finally:
            await self._accounts.release(reservation)
        rows = [{"id": name, **_LISTED, "display_name": name} for name in names]
        said: dict[str, Any] = {"object": "list", "data": rows, "has_more": False}
        if wanted := unquote(exchange.path[len(_MODELS) :]):
            found = [row for row in rows if row["id"] == wanted]
            if not found:
                raise RefusedCallError(404, f"no upstream lists the model {wanted[:100]!r}")
            said = found[0]
        body = json.dumps(said).encode()
        await exchange.begin(200, [(b"content-type", b"application/json"), length_of(body)])
        await exchange.end(body)

    def _where(self, exchange: Exchange, body: bytes) -> tuple[Upstream, bytes]:
        """Who is passed on what is no chat, and as what: the model's upstream, if it names one.

        Raises:
            RefusedCallError: if nobody has the model.
            InvalidInputError: if two readers could read another one.
        """
        fields = (fields_of(body) or {}) if exchange.method == "POST" else {}
        if not isinstance(model := fields.get("model"), str):
            return self.fleet.first, body
        places = self.fleet.places(model)
        place = next((each for each in places if each.breaker.state == "closed"), places[0])
        renamed = place.model != model
        return place.upstream, with_members(body, {"model": place.model}) if renamed else body

    async def _pass(self, exchange: Exchange, body: bytes) -> None:
        """Passes on what is no chat, byte by byte, unread and unmeasured."""
        free = exchange.method in _FREE or exchange.path in _FREE_PATHS
        upstream, body = self._where(exchange, body)
        reservation = await reserve(
            self._accounts, exchange, dollars=0.0 if free else None, tokens=0
        )
        last = b""
        try:
            async with upstream.asked(
                exchange.method, exchange.target, exchange.headers, body, plain=False
            ) as answer:
                refused = answer.status >= 400
                headers = upstream.passed_back(answer.headers, unpacked=refused)
                if refused:
                    last = upstream.hidden(await refusal(answer))
                    headers.append(length_of(last))
                elif (length := answer.header(b"content-length")) and answer.status != _UNCHANGED:
                    headers.append((b"content-length", length))
                await exchange.begin(answer.status, headers)
                if not refused:
                    async for chunk in answer.chunks:
                        await exchange.go_on(chunk)
        finally:
            await self._accounts.release(reservation)
        await exchange.end(last)


def _is_local(host: str) -> bool:
    return host.rpartition(":")[0] in _LOCAL or host in _LOCAL


def _password(authorization: str) -> str:
    """What a browser sends as the password; empty if it sends none."""
    scheme, _, packed = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(packed, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
