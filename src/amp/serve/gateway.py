"""What happens to one call: it is reserved, passed on as it is, measured, and settled.

A call of a chat is measured; every other path below ``/v1`` is passed through unread. Bytes go out
as they come in, but for the usage that a client of a stream did not ask for (`amp.serve.dialect`).

One coroutine has a call from its first byte to its last, so there is one place where it is settled,
whatever ended it:

| what ended it | what is charged |
|---|---|
| the answer | what the upstream told |
| a refusal of the upstream, or no connection to it | nothing |
| the client went away, or the upstream broke off, in a stream | what had come, as an estimate |
| the same, in an answer that is no stream | the bounds of prompt and answer, as an estimate |

NOT covered: thinking that a stream does not show, of a call that is broken off before its end.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from amp.cost import dollars, is_priced
from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.serve.accounting import Accounts, Refusal, Reservation
from amp.serve.dialect import DIALECTS, Asked, Dialect, Events, Told, data_of, parsed
from amp.serve.exchange import (
    Bounds,
    ClientWentError,
    Exchange,
    Receive,
    RefusedCallError,
    Send,
    length_of,
)
from amp.serve.metrics import Metrics
from amp.serve.upstream import (
    Answer,
    Upstream,
    UpstreamError,
    client_key,
    is_below_v1,
    passed_back,
)
from amp.usage import Usage

_CLIENT_WENT = 499
_GAVE_UP_WAITING = (504, 524)
_REFUSED, _MOST_UNWILLING = (400, 422), 1_000
_FREE = ("GET", "HEAD", "OPTIONS", "DELETE")
_LARGEST_ANSWER = 256_000_000
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


class Gateway:
    """Takes the calls below ``/v1`` and passes them on, as an ASGI application.

    Args:
        upstream: where to.
        accounts: who may spend what.
        metrics: where it is counted.
        card: prices of a model, by dialect and name.
        bounds: what it takes on.

    Attributes:
        running: calls that are under way.
    """

    def __init__(
        self,
        upstream: Upstream,
        accounts: Accounts,
        metrics: Metrics,
        card: Callable[[str, str], ModelCard],
        bounds: Bounds,
    ) -> None:
        self.upstream = upstream
        self.running = 0
        self._accounts = accounts
        self._metrics = metrics
        self._card = card
        self._bounds = bounds
        self._unwilling: set[str] = set()  # models whose server tells no usage in a stream
        self._chats = {dialect.path: dialect for dialect in DIALECTS}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope, receive, send)
        chat = self._chats.get(exchange.path) if exchange.method == "POST" else None
        spoken = chat or DIALECTS["anthropic-version" in dict(exchange.headers)]
        try:
            with self._place():
                self._check(exchange)
                body = await exchange.body(self._bounds)
                await exchange.unless_gone(
                    self._chat(exchange, chat, body) if chat else self._pass(exchange, body)
                )
        except RefusedCallError as error:
            await exchange.refuse(spoken, error)
        except UpstreamError as error:
            await exchange.refuse(spoken, RefusedCallError(error.status, str(error)))
        except InvalidInputError as error:
            await exchange.refuse(spoken, RefusedCallError(400, str(error)))
        except ClientWentError:
            exchange.status = _CLIENT_WENT
        finally:
            path = "other" if chat is None else chat.path
            seconds = time.monotonic() - exchange.started
            self._metrics.call(path, exchange.status, seconds)

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
        if self._bounds.local_only and host.rpartition(":")[0] not in _LOCAL and host not in _LOCAL:
            raise RefusedCallError(
                403, "the gateway serves this machine alone, under the name localhost or 127.0.0.1"
            )
        origin = exchange.header("origin")
        if origin and origin.partition("://")[2] != host:
            raise RefusedCallError(403, "web pages of other servers are not served")
        if not is_below_v1(exchange.target):
            raise RefusedCallError(404, "there is no such path; the APIs are below /v1/")

    async def _reserve(
        self, exchange: Exchange, *, dollars: float | None, tokens: int
    ) -> Reservation:
        reserved = await self._accounts.reserve(
            client_key(exchange.headers),
            dollars=dollars,
            tokens=tokens,
            episode=exchange.header("x-amp-episode")[:200],
        )
        if isinstance(reserved, Refusal):
            raise RefusedCallError(reserved.status, reserved.reason, reserved.retry_after_seconds)
        return reserved

    async def _pass(self, exchange: Exchange, body: bytes) -> None:
        """Passes on what is no chat, byte by byte, unread and unmeasured."""
        free = exchange.method in _FREE
        reservation = await self._reserve(exchange, dollars=0.0 if free else None, tokens=0)
        last = b""
        try:
            async with self.upstream.asked(
                exchange.method, exchange.target, exchange.headers, body, plain=False
            ) as answer:
                refused = answer.status_code >= 400
                headers = passed_back(answer.headers, unpacked=refused)
                if refused:
                    last = self._hidden(await _whole(answer))
                    headers.append(length_of(last))
                elif length := answer.headers.get("content-length"):
                    headers.append((b"content-length", length.encode()))
                await exchange.begin(answer.status_code, headers)
                if not refused:
                    async for chunk in answer.aiter_raw():
                        await exchange.go_on(chunk)
        finally:
            await self._accounts.release(reservation)
        await exchange.end(last)

    async def _chat(
        self, exchange: Exchange, dialect: Dialect, body: bytes, *, asks_usage: bool = True
    ) -> None:
        """Passes on a chat, and measures it."""
        asked = dialect.read(body)
        if not asks_usage or asked.model in self._unwilling:
            asked = replace(asked, body=body, adds_usage=False)
        self._check_chat(dialect, asked)
        card, told = self._card(dialect.name, asked.model), Told()
        bound = _bound(asked, card)
        price = bound.dollars if is_priced(card) else None
        reservation = await self._reserve(exchange, dollars=price, tokens=bound.tokens)
        charge: Usage | None = bound  # what it costs if it ends here
        last, headers = b"", []
        try:
            async with self.upstream.asked(
                exchange.method, exchange.target, exchange.headers, asked.body, plain=True
            ) as answer:
                headers = passed_back(answer.headers, unpacked=True)
                if answer.status_code >= 300:
                    if answer.status_code not in _GAVE_UP_WAITING:
                        charge = None
                    last = self._hidden(await _whole(answer))
                elif answer.headers.get("content-type", "").startswith("text/event-stream"):
                    try:
                        await exchange.begin(answer.status_code, headers)
                        async for chunk in _heard(answer, dialect, asked, told):
                            if not last:  # the first one
                                self._metrics.first_byte(time.monotonic() - exchange.started)
                            last = chunk
                            await exchange.go_on(chunk)
                        last = b""
                    finally:
                        charge = _priced(told.usage(asked), card, told.surcharge)
                else:
                    last = await _whole(answer)
                    dialect.hear(parsed(last) or {}, told)
                    charge = _priced(told.usage(asked), card, told.surcharge)
                    if is_priced(card):
                        headers.append((b"x-amp-dollars", f"{charge.dollars:.9f}".encode()))
                status = answer.status_code
        except UpstreamError as error:
            charge = charge if error.may_be_billed else None
            raise
        finally:
            await self._end(reservation, charge, asked.model)
        if asked.adds_usage and status in _REFUSED and b"stream_options" in last:
            # The client did not ask for it, so it is not to hear of it.
            if len(self._unwilling) < _MOST_UNWILLING:
                self._unwilling.add(asked.model)
            await self._chat(exchange, dialect, body, asks_usage=False)
            return
        if not exchange.status:
            await exchange.begin(status, [*headers, length_of(last)])
        await exchange.end(last)

    def _check_chat(self, dialect: Dialect, asked: Asked) -> None:
        models = self._bounds.models
        if models and asked.model not in models:
            raise RefusedCallError(
                404, f"there is no model {asked.model[:100]!r} here (models: {', '.join(models)})"
            )
        if not self.upstream.speaks(dialect):
            other = next(each for each in DIALECTS if self.upstream.speaks(each))
            raise RefusedCallError(
                501,
                f"the upstream does not speak the {dialect.name} API, and the gateway does not"
                f" translate; post to {other.path}",
            )

    async def _end(self, reservation: Reservation, charge: Usage | None, model: str) -> None:
        """Settles a call, or releases it where it cost nothing."""
        if charge is None:
            await self._accounts.release(reservation)
            return
        self._metrics.usage(model, charge)
        await self._accounts.settle(reservation, charge, model=model)

    def _hidden(self, content: bytes) -> bytes:
        """An error of the upstream, which may repeat the key that it was sent."""
        text = content.decode("utf-8", "surrogateescape")
        if not self.upstream.secrets.occur(text):
            return content
        return self.upstream.secrets.hide(text).encode("utf-8", "surrogateescape")


async def _heard(
    answer: Answer, dialect: Dialect, asked: Asked, told: Told
) -> AsyncIterator[bytes]:
    """The bytes of a stream as they come, read on their way."""
    events = Events()

    def hear(event: bytes) -> bytes:
        dialect.hear(data_of(event) or {}, told)
        return dialect.without_usage(event) if asked.adds_usage else event

    async for chunk in answer.aiter_bytes():
        complete = b"".join([hear(event) for event in events.feed(chunk)])
        # What nothing is taken out of need not wait for the end of its event.
        if passed := complete if asked.adds_usage else chunk:
            yield passed
    rest = hear(events.rest())
    if asked.adds_usage and rest:
        yield rest


async def _whole(answer: Answer) -> bytes:
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            raise UpstreamError(
                f"the upstream's answer is larger than {_LARGEST_ANSWER:,} bytes",
                502,
                may_be_billed=True,
            )
    return bytes(content)


def _bound(asked: Asked, card: ModelCard) -> Usage:
    """The most that a call can cost."""
    usage = Usage(
        model_calls=1,
        prompt_tokens=asked.prompt_bound,
        completion_tokens=asked.completion_bound,
        estimated_calls=1,
    )
    dear = Usage(completion_tokens=asked.completion_bound, reasoning_tokens=asked.completion_bound)
    thinking = max(0.0, dollars(dear, card) - dollars(replace(dear, reasoning_tokens=0), card))
    surcharge = (asked.dearest_prompt - 1.0) * asked.prompt_bound
    priced = _priced(usage, card, surcharge)
    return replace(priced, dollars=priced.dollars + thinking)


def _priced(usage: Usage, card: ModelCard, surcharge: float) -> Usage:
    """The usage with its dollars; tokens written into a cache cost more than others."""
    dearer = surcharge * (card.dollars_per_million_prompt_tokens or 0.0) / 1e6
    return replace(usage, dollars=dollars(usage, card) + dearer)
