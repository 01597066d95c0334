"""What happens to a chat: it is reserved, passed on as it is, measured, and settled.

The upstreams of a model are asked in order, until one answers (`amp.serve.trying`). Each of these
attempts is settled by itself, in one place, whatever ended it:

| what ended it | what is charged |
|---|---|
| the answer | what the upstream told |
| a refusal of the upstream, or no connection to it | nothing |
| a connection that is closed without an answer, or is silent for too long | the bounds |
| the client went away, or the upstream broke off, in a stream | what had come, as an estimate |
| the same, in an answer that is no stream | the bounds of prompt and answer, as an estimate |

NOT covered: thinking that a stream does not show, of a call that is broken off before its end.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from amp.cost import dollars, is_priced
from amp.models.base import ModelCard
from amp.serve.accounting import Accounts, Refusal, Reservation
from amp.serve.breaker import Breaker, Ticket
from amp.serve.decide import Arm
from amp.serve.dialect import Asked, Dialect, Events, Told, data_of, parsed
from amp.serve.dialects import DIALECTS
from amp.serve.exchange import Exchange, RefusedCallError, length_of
from amp.serve.fleet import Fleet, Place
from amp.serve.metrics import Metrics
from amp.serve.trying import Trying, is_outage
from amp.serve.upstream import (
    Answer,
    UpstreamError,
    UpstreamRefusedError,
    client_key,
    passed_back,
)
from amp.usage import Usage

_GAVE_UP_WAITING = (504, 524)
_UNREAD, _MOST_UNWILLING = (400, 422), 1_000
_LARGEST_ANSWER = 256_000_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """A chat as one upstream is asked for it.

    Attributes:
        place: which one.
        dialect: that it is asked in.
        asked: what it is sent.
        unasked: the same without the wish for a usage that the client did not ask for.
        card: the prices there.
        bound: the most that it can cost.
    """

    place: Place
    dialect: Dialect
    asked: Asked
    unasked: Asked
    card: ModelCard
    bound: Usage

    @property
    def breaker(self) -> Breaker:
        """Of its upstream."""
        return self.place.breaker


class Chats:
    """Makes calls of chats.

    Args:
        fleet: the upstreams.
        accounts: who may spend what.
        metrics: where it is counted.
    """

    def __init__(self, fleet: Fleet, accounts: Accounts, metrics: Metrics) -> None:
        self.fleet = fleet
        self._accounts = accounts
        self._metrics = metrics
        # Models whose server tells no usage in a stream.
        self._unwilling: set[tuple[str, str]] = set()

    async def answer(self, exchange: Exchange, dialect: Dialect, body: bytes) -> None:
        """Answers one, by the first upstream of its model that does.

        Raises:
            RefusedCallError: if nobody may be asked.
            UpstreamError: if none answers; that of the last one, or that of the one that broke off.
        """
        asked = dialect.read(body)
        attempts = attempts_of(self.fleet.places(asked.model), dialect, body)
        trying = Trying(attempts, self.fleet.patience)
        async with Held(self._accounts, exchange, attempts) as held:
            while True:
                attempt, ticket = await trying.next()
                name = attempt.place.upstream.name
                if trying.tried > 1:
                    self._metrics.once_more(name, is_other=not trying.is_again)
                try:
                    await held.reserve()
                    await self._ask(exchange, attempt, held, ticket, trying.tried)
                    self._metrics.attempt(name, "answered")
                    return
                except UpstreamError as error:
                    self._metrics.attempt(name, "refused" if error.told else "failed")
                    ticket.ended(well=not is_outage(error))
                    if error.begun:
                        raise
                    trying.failed(attempt, error)
                finally:
                    ticket.drop()

    async def _ask(
        self, exchange: Exchange, attempt: Attempt, held: Held, ticket: Ticket, tried: int
    ) -> None:
        """Asks one upstream, and charges what it cost.

        Args:
            exchange: whose answer it becomes.
            attempt: what is asked.
            held: what pays.
            ticket: told as soon as the upstream is seen to be there.
            tried: attempts of this call, this one among them.

        Raises:
            UpstreamError: if it does not answer, or breaks off; `UpstreamRefusedError` if it does
                not want to.
        """
        upstream, dialect, card = attempt.place.upstream, attempt.dialect, attempt.card
        key = (upstream.name, attempt.asked.model)
        asked = attempt.unasked if key in self._unwilling else attempt.asked
        charge: Usage | None = attempt.bound  # what it costs if it ends here
        told = Told()
        try:
            async with upstream.asked(
                exchange.method, exchange.target, exchange.headers, asked.body, plain=True
            ) as answer:
                status = answer.status_code
                headers = passed_back(answer.headers, unpacked=True)
                headers.append((b"x-amp-upstream", upstream.name.encode("ascii", "replace")))
                headers.append((b"x-amp-attempts", str(tried).encode()))
                if status >= 300:
                    may_be_billed = status in _GAVE_UP_WAITING
                    charge = charge if may_be_billed else None
                    refusal = upstream.hidden(await whole(answer))
                    raise UpstreamRefusedError(
                        status, headers, refusal, may_be_billed=may_be_billed
                    )
                ticket.ended(well=True)
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    try:
                        await self._stream(exchange, answer, headers, attempt.dialect, asked, told)
                    finally:
                        charge = _priced(told.usage(asked), card, told.surcharge)
                    last = b""
                else:
                    last = await whole(answer)
                    dialect.hear(parsed(last) or {}, told)
                    charge = _priced(told.usage(asked), card, told.surcharge)
                    if is_priced(card):
                        headers.append((b"x-amp-dollars", f"{charge.dollars:.9f}".encode()))
        except UpstreamRefusedError as error:
            unread = asked.adds_usage and error.status in _UNREAD
            if not (unread and b"stream_options" in error.body):
                raise
            # The client did not ask for it, so it is not to hear of it.
            if len(self._unwilling) < _MOST_UNWILLING:
                self._unwilling.add(key)
            await self._ask(exchange, replace(attempt, asked=attempt.unasked), held, ticket, tried)
            return
        except UpstreamError as error:
            charge = charge if error.may_be_billed else None
            raise
        finally:
            if charge is not None:
                self._metrics.usage(asked.model, charge)
                await held.settle(charge, asked.model)
        if not exchange.status:
            await exchange.begin(status, [*headers, length_of(last)])
        await exchange.end(last)

    async def _stream(
        self,
        exchange: Exchange,
        answer: Answer,
        headers: list[tuple[bytes, bytes]],
        dialect: Dialect,
        asked: Asked,
        told: Told,
    ) -> None:
        """Passes a stream on as it comes."""
        await exchange.begin(answer.status_code, headers)
        first = True
        async for chunk in _heard(answer, dialect, asked, told):
            if first:
                self._metrics.first_byte(time.monotonic() - exchange.started)
                first = False
            await exchange.go_on(chunk)


class Held:
    """What is reserved for a call, until each of its attempts is settled or it is given back.

    Args:
        accounts: whose.
        exchange: the call.
        attempts: what it may become; the dearest one is reserved for.
    """

    def __init__(self, accounts: Accounts, exchange: Exchange, attempts: Sequence[Attempt]) -> None:
        self._accounts = accounts
        self._exchange = exchange
        bounds = [attempt.bound for attempt in attempts]
        priced = all(is_priced(attempt.card) for attempt in attempts)
        self._dollars = max(bound.dollars for bound in bounds) if priced else None
        self._tokens = max(bound.tokens for bound in bounds)
        self._reservation: Reservation | None = None

    async def __aenter__(self) -> Held:
        return self

    async def reserve(self) -> None:
        """Makes sure that something is reserved; an attempt that was charged has used it up.

        Raises:
            RefusedCallError: if the accounts do not allow it.
        """
        if self._reservation is None:
            self._reservation = await reserve(
                self._accounts, self._exchange, dollars=self._dollars, tokens=self._tokens
            )

    async def settle(self, usage: Usage, model: str) -> None:
        """Charges what an attempt cost."""
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            await self._accounts.settle(reservation, usage, model=model)

    async def __aexit__(self, *error: object) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            await self._accounts.release(reservation)


async def reserve(
    accounts: Accounts, exchange: Exchange, *, dollars: float | None, tokens: int
) -> Reservation:
    """Sets aside what a call can cost at most.

    Raises:
        RefusedCallError: if the accounts do not allow it.
    """
    reserved = await accounts.reserve(
        client_key(exchange.headers),
        dollars=dollars,
        tokens=tokens,
        episode=exchange.header("x-amp-episode")[:200],
    )
    if isinstance(reserved, Refusal):
        raise RefusedCallError(reserved.status, reserved.reason, reserved.retry_after_seconds)
    return reserved


def attempts_of(places: Sequence[Place], dialect: Dialect, body: bytes) -> list[Attempt]:
    """What each of the upstreams would be asked.

    Raises:
        RefusedCallError: if none of them speaks the client's dialect.
    """
    spoken = [place for place in places if place.upstream.speaks(dialect)]
    if not spoken:
        other = next(each for each in DIALECTS if places[0].upstream.speaks(each))
        raise RefusedCallError(
            501,
            f"the upstream does not speak the {dialect.name} API, and the gateway does not"
            f" translate; post to {other.path}",
        )
    return [_attempt(place, dialect, body) for place in spoken]


def _attempt(place: Place, dialect: Dialect, body: bytes) -> Attempt:
    sent = dialect.with_arm(body, Arm(place.model))
    asked = dialect.read(sent)
    card = place.card(dialect.name, asked.model)
    unasked = replace(asked, body=sent, adds_usage=False)
    return Attempt(place, dialect, asked, unasked, card, _bound(asked, card))


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


async def whole(answer: Answer) -> bytes:
    """An answer that is no stream.

    Raises:
        UpstreamError: if it is larger than any.
    """
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            raise UpstreamError(
                f"the upstream's answer is larger than {_LARGEST_ANSWER:,} bytes",
                502,
                may_be_billed=True,
                begun=True,
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
