"""What happens to a chat: it is reserved, passed on as it is, measured, and settled.

The upstreams of a model are asked in order, until one answers (`amp.serve.upstreams.trying`). Each
of these attempts is settled by itself, in one place, whatever ended it:

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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from amp.cost import is_priced
from amp.models.base import ModelCard
from amp.models.breaker import Breaker, Ticket
from amp.serve.accounts.base import Accounts
from amp.serve.decide.base import CallArm
from amp.serve.decide.desk import Desk, Ruling
from amp.serve.decide.samples import Votes
from amp.serve.dialects.base import Asked, Dialect, Events, Told, data_of, object_of, parsed
from amp.serve.exchange import Exchange, RefusedCallError, length_of
from amp.serve.held import Held
from amp.serve.metrics import Metrics
from amp.serve.translate.meaning import UntranslatableError, without_marks
from amp.serve.translate.translation import Translation, dialect_for, translated_headers
from amp.serve.upstreams.answer import (
    HttpAnswer,
    UpstreamError,
    UpstreamRefusedError,
    is_stream,
    whole,
)
from amp.serve.upstreams.fleet import Fleet, Place, Route, bound_of, priced
from amp.serve.upstreams.trying import Trying, is_outage
from amp.serve.upstreams.upstream import Headers, client_key
from amp.usage import Usage

if TYPE_CHECKING:
    from amp.serve.spans import CallSpans
    from amp.serve.traffic.watch import Watch

_GAVE_UP_WAITING = (504, 524)
_DEARER = (("service_tier", "priority"), ("speed", "fast"))
_UNREAD, _MOST_UNWILLING = (400, 422), 1_000


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
        arm: the model there, and the effort that is written into it.
        otherwise: the same attempt with another arm.
        obstacle: why the effort that was decided is not written into it; empty if it is.
        gave_up_effort: whether the same was refused with an effort.
        translation: to this dialect and back, where the client speaks another one.
    """

    place: Place
    dialect: Dialect
    asked: Asked
    unasked: Asked
    card: ModelCard
    bound: Usage
    arm: CallArm
    otherwise: Callable[[CallArm], Attempt]
    obstacle: str = ""
    gave_up_effort: bool = False
    translation: Translation | None = None

    def sent(self, exchange: Exchange) -> tuple[str, Headers]:
        """Where it is asked for, and the headers."""
        if self.translation is None:
            return exchange.target, exchange.headers
        key = client_key(exchange.headers)
        return self.dialect.path, translated_headers(exchange.headers, key, self.dialect)

    @property
    def is_priced(self) -> bool:
        """Whether the price is known; tables have that of the standard tier."""
        is_dearer = any(self.asked.fields.get(name) == value for name, value in _DEARER)
        return is_priced(self.card) and not (is_dearer and self.bound.dollars > 0)

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
        desk: where it is decided.
        watch: keeps what clients are answered; None keeps nothing.
        spans: writes spans of calls; None writes none.
    """

    def __init__(
        self,
        fleet: Fleet,
        accounts: Accounts,
        metrics: Metrics,
        desk: Desk,
        watch: Watch | None = None,
        spans: CallSpans | None = None,
    ) -> None:
        self.fleet = fleet
        self.desk = desk
        self._watch, self._spans = watch, spans
        self._accounts = accounts
        self._metrics = metrics
        self._votes = Votes()
        # Models whose server tells no usage in a stream.
        self._unwilling: set[tuple[str, str]] = set()

    def turn_to(self, fleet: Fleet) -> None:
        """Asks other upstreams from now on.

        Raises:
            InvalidInputError: if the policy of a route is none; then all stays as it was.
        """
        self.desk.turn_to(fleet)
        self.fleet = fleet

    async def answer(self, exchange: Exchange, dialect: Dialect, body: bytes) -> None:
        """Decides what one gets, and answers it.

        Raises:
            RefusedCallError: if nobody may be asked.
            UpstreamError: if none answers; that of the last one, or that of the one that broke off.
        """
        asked = dialect.read(body)
        route = self.fleet.route(asked.model)
        ruling = self.desk.decide(exchange, dialect, asked, route)

        heard = None if self._watch is None else self._watch.overhear(exchange)

        async def sample(exchange: Exchange, body: bytes) -> None:
            await self.once(exchange, dialect, body, route, ruling)

        samples = ruling.decision.arm.samples
        with self._spans.call(exchange, dialect, ruling) if self._spans else nullcontext():
            if samples > 1:
                await self._votes.answer(exchange, dialect, asked.fields, samples, sample)
            else:
                await self.once(exchange, dialect, body, route, ruling, asked)
        if self._watch is not None and heard is not None:
            self._watch.answered(heard, exchange, dialect, asked, route, ruling)

    async def once(
        self,
        exchange: Exchange,
        dialect: Dialect,
        body: bytes,
        route: Route,
        ruling: Ruling,
        asked: Asked | None = None,
    ) -> None:
        """Gives one answer, by the first upstream of the decided model that does.

        Args:
            exchange: whose answer it becomes.
            dialect: the client's.
            body: the request.
            route: of the name that the client asked for.
            ruling: what was decided.
            asked: the body as it was read, if it was.
        """
        arm = ruling.decision.arm
        places = self.fleet.places(arm.model, route)
        attempts = attempts_of(places, dialect, body, arm, asked)
        trying = Trying(attempts, self.fleet.patience)
        bounds = [attempt.bound for attempt in attempts]
        known = all(attempt.is_priced for attempt in attempts)
        async with Held(
            self._accounts,
            exchange,
            dollars=max(bound.dollars for bound in bounds) if known else None,
            tokens=max(bound.tokens for bound in bounds),
        ) as held:
            while True:
                attempt, ticket = await trying.next()
                name = attempt.place.upstream.name
                if trying.tried > 1:
                    self._metrics.once_more(name, is_other=not trying.is_again)
                try:
                    self.desk.begun(ruling, await held.reserve())
                    await self._ask(exchange, attempt, held, ruling, ticket, trying.tried)
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
        self,
        exchange: Exchange,
        attempt: Attempt,
        held: Held,
        ruling: Ruling,
        ticket: Ticket,
        tried: int,
    ) -> None:
        """Asks one upstream, and charges what it cost.

        Args:
            exchange: whose answer it becomes.
            attempt: what is asked.
            held: what pays.
            ruling: what was decided, and is told what came of it.
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
        told, status, translation = Told(), 0, attempt.translation
        this, begun = attempt, time.time_ns()
        try:
            async with upstream.asked(
                exchange.method, *attempt.sent(exchange), asked.body, plain=True
            ) as answer:
                status = answer.status
                headers = upstream.passed_back(answer.headers, unpacked=True)
                headers.append((b"x-amp-upstream", upstream.name.encode("ascii", "replace")))
                headers.append((b"x-amp-attempts", str(tried).encode()))
                if translation is not None:
                    headers.append((b"x-amp-translated", dialect.path.encode()))
                if status >= 300:
                    may_be_billed = status in _GAVE_UP_WAITING
                    charge = charge if may_be_billed else None
                    refusal = upstream.hidden(await whole(answer))
                    if translation is not None:
                        headers = _typed(headers, b"application/json")
                        refusal = translation.refusal(status, refusal)
                        status = status if status >= 400 else 502  # it leads elsewhere
                    raise UpstreamRefusedError(
                        status, headers, refusal, may_be_billed=may_be_billed
                    )
                ticket.ended(well=True)
                if attempt.gave_up_effort:
                    self.desk.effort_refused(ruling)
                elif attempt.obstacle:
                    self.desk.effort_left_out(ruling, attempt.obstacle)
                headers += ruling.headers()
                if is_stream(answer.header(b"content-type")):
                    try:
                        chunks = _heard(answer, attempt, asked, told)
                        await self._stream(exchange, status, headers, chunks)
                    finally:
                        charge = priced(told.usage(asked), card, told.surcharge)
                    last = b""
                else:
                    last = await whole(answer)
                    read = parsed(last)
                    dialect.hear(read or {}, told)
                    cost = priced(told.usage(asked), card, told.surcharge)
                    # Of what cannot be read nothing tells what it cost.
                    charge = cost if read is not None else attempt.bound
                    if is_priced(card):
                        headers.append((b"x-amp-dollars", f"{charge.dollars:.9f}".encode()))
                    if translation is not None:
                        last = translation.answer(last)
                        headers = _typed(headers, translation.media_type)
        except UpstreamRefusedError as error:
            # The client did not ask for what is refused, so it is not to hear of it.
            if error.status not in _UNREAD:
                raise
            if asked.adds_usage and b"stream_options" in error.body:
                if len(self._unwilling) < _MOST_UNWILLING:
                    self._unwilling.add(key)
                attempt = replace(attempt, asked=attempt.unasked)
            elif attempt.arm.effort:
                again = attempt.otherwise(replace(ruling.decision.arm, effort=""))
                attempt = replace(again, gave_up_effort=True)
            else:
                raise
            await self._ask(exchange, attempt, held, ruling, ticket, tried)
            return
        except UpstreamError as error:
            charge = charge if error.may_be_billed else None
            raise
        finally:
            self.desk.settled(ruling, status, charge)
            if self._spans is not None:
                self._spans.attempt(this, begun, status, charge, told, tried)
            if charge is not None:
                self._metrics.usage(asked.model, charge)
                await held.settle(charge, asked.model)
        if not exchange.status:
            await exchange.begin(status, [*headers, length_of(last)])
        await exchange.end(last)

    async def _stream(
        self,
        exchange: Exchange,
        status: int,
        headers: list[tuple[bytes, bytes]],
        chunks: AsyncIterator[bytes],
    ) -> None:
        """Passes a stream on as it comes."""
        await exchange.begin(status, headers)
        first = True
        async for chunk in chunks:
            if first:
                self._metrics.first_byte(time.monotonic() - exchange.started)
                first = False
            await exchange.go_on(chunk)


def attempts_of(
    places: Sequence[Place], dialect: Dialect, body: bytes, arm: CallArm, known: Asked | None = None
) -> list[Attempt]:
    """What each of the upstreams would be asked.

    One that would have to be asked in another dialect, which has no words for what the client says,
    is left out.

    Raises:
        UntranslatableError: if that is so of all of them; names the field.
        RefusedCallError: if none of them speaks a dialect that is translated.
    """
    attempts: list[Attempt] = []
    wordless: UntranslatableError | None = None
    for place in places:
        theirs = dialect_for(dialect, place.upstream.dialects)
        if theirs is None:
            continue
        try:
            attempts.append(_attempt(place, dialect, theirs, body, arm, known))
        except UntranslatableError as error:
            wordless = wordless or error
    if attempts:
        return attempts
    raise wordless or RefusedCallError(
        501, f"no upstream of this model speaks an API that {dialect.path} could be translated to"
    )


def _attempt(
    place: Place,
    client: Dialect,
    dialect: Dialect,
    body: bytes,
    arm: CallArm,
    known: Asked | None = None,
) -> Attempt:
    translation, is_openai = None, place.upstream.is_openai
    if dialect is not client:
        translation = Translation(client, dialect, body, place.model, is_openai=is_openai)
    sent = without_marks(body) if translation is None else translation.body
    here = CallArm(place.model, arm.effort)
    fields = known.fields if sent is body and known else object_of(sent)
    obstacle = dialect.obstacle(fields, here)
    if obstacle:
        here = CallArm(place.model)
    asked = known if sent is body and known and here == CallArm(known.model) else None
    if asked is None:
        sent = dialect.with_arm(sent, here, fields)
        asked = dialect.read(sent)
    card = place.card(dialect.name, asked.model)
    return Attempt(
        place,
        dialect,
        asked,
        replace(asked, body=sent, adds_usage=False),
        card,
        bound_of(asked, card),
        here,
        partial(_attempt, place, client, dialect, body),
        obstacle,
        translation=translation,
    )


def _typed(headers: list[tuple[bytes, bytes]], kind: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a body of another type."""
    return [*(each for each in headers if each[0] != b"content-type"), (b"content-type", kind)]


async def _heard(
    answer: HttpAnswer, attempt: Attempt, asked: Asked, told: Told
) -> AsyncIterator[bytes]:
    """The bytes of a stream as they come, read on their way."""
    events, dialect, translation = Events(), attempt.dialect, attempt.translation
    stream = None if translation is None else translation.stream()

    def hear(event: bytes) -> bytes:
        dialect.hear(data_of(event) or {}, told)
        if stream is not None:
            return stream.feed(event)
        return dialect.without_usage(event) if asked.adds_usage else event

    changes = asked.adds_usage or stream is not None
    async for chunk in answer.chunks:
        complete = b""
        for event in events.feed(chunk):
            try:
                complete += hear(event)
            except UpstreamError:
                yield complete  # what came before it broke
                raise
        # What nothing is taken out of need not wait for the end of its event.
        if passed := complete if changes else chunk:
            yield passed
    rest = hear(events.rest()) + (b"" if stream is None else stream.end())
    if changes and rest:
        yield rest
