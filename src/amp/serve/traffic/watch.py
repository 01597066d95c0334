"""Watches what clients are answered, for those who learn from it; it changes and delays nothing.

What is sent to a client is kept until its answer is whole, and read only then. What came of it a
client can say itself, with ``POST /v1/amp/outcome``:

    {"episode": "ticket-17", "success": 1}
    {"episode": "ticket-17", "step": 3, "success": 0.5, "note": "half of the tests pass"}

The episode is the name that the client gave its calls (``x-amp-episode``). Only the key that made
them may say what came of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field

from amp.errors import InvalidInputError
from amp.serve.accounts.base import Accounts, Refusal
from amp.serve.decide.conversation import kind_of
from amp.serve.decide.desk import Ruling
from amp.serve.decide.offers import arms_of, read_arms
from amp.serve.dialects.apis import EMBEDDINGS
from amp.serve.dialects.base import Asked, Dialect, Events, data_of, fields_of, parsed
from amp.serve.dialects.said import Said
from amp.serve.exchange import Exchange, RefusedCallError, Send, length_of
from amp.serve.metrics import Metrics
from amp.serve.traffic.shadow import Answered, Operator, Shadow
from amp.serve.traffic.tables import WHOLE_EPISODE, Call, TrafficFile
from amp.serve.traffic.writer import Traffic, Watching
from amp.serve.upstreams.fleet import Fleet, Route
from amp.serve.upstreams.upstream import client_key
from amp.settings import Config, checked

OUTCOME_PATH = "/v1/amp/outcome"

_LONGEST_EPISODE, _LONGEST_NOTE, _LARGEST_OUTCOME = 200, 1_000, 10_000
_MOST_BYTES = 2_000_000
_MOST_OPEN = 500
_SLICE = 20


@dataclass(slots=True)
class Overheard:
    """What one client is sent."""

    send: Send
    content: bytearray = field(default_factory=bytearray)

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if len(self.content) <= _MOST_BYTES:
            self.content += message.get("body", b"")
        await self.send(message)

    async def said(self) -> Said:
        """What the whole of it says, read a slice at a time; nothing if it is too long."""
        said, content = Said(), bytes(self.content)
        if len(content) > _MOST_BYTES:
            return said
        if (answer := parsed(content)) is not None:
            said.hear(answer)
            return said
        events = Events()
        for at, event in enumerate((*events.feed(content), events.rest())):
            said.hear(data_of(event) or {})
            if at % _SLICE == 0:  # other calls go on
                await asyncio.sleep(0)
        return said


class Watch:
    """Keeps the calls that were answered, and has other arms asked the same.

    Args:
        watching: what is watched.
        fleet: the upstreams.
        metrics: where it is counted.

    Attributes:
        traffic: where calls are kept.
        shadow: who asks other arms; None for nobody.

    Raises:
        InvalidInputError: if the file can't be written, or nobody can pay for shadows.
    """

    def __init__(self, watching: Watching, fleet: Fleet, metrics: Metrics) -> None:
        self._open: set[asyncio.Task[None]] = set()
        operator = _operator(watching, fleet) if watching.shadow else None
        self.traffic = Traffic(watching.traffic, watching.keep)
        metrics.dropped(lambda: self.traffic.dropped)
        self.shadow: Shadow | None = None
        if operator is not None:
            self.shadow = Shadow(watching.shadow, fleet, operator, self.traffic, metrics)

    def turn_to(self, fleet: Fleet) -> None:
        """Asks other upstreams from now on."""
        if self.shadow is not None:
            self.shadow.turn_to(fleet)

    def overhear(self, exchange: Exchange) -> Overheard:
        """Listens to what a client is sent from now on."""
        exchange.send = heard = Overheard(exchange.send)
        return heard

    def answered(
        self,
        heard: Overheard,
        exchange: Exchange,
        dialect: Dialect,
        asked: Asked,
        route: Route,
        ruling: Ruling,
    ) -> None:
        """Keeps a call whose client has its answer; returns at once."""
        if dialect is EMBEDDINGS:  # says nothing that could be the same
            return
        if len(self._open) >= _MOST_OPEN:
            self.traffic.dropped += 1
            return
        seconds = time.monotonic() - exchange.started
        task = asyncio.create_task(
            self._keep(heard, seconds, exchange, dialect, asked, route, ruling)
        )
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _keep(
        self,
        heard: Overheard,
        seconds: float,
        exchange: Exchange,
        dialect: Dialect,
        asked: Asked,
        route: Route,
        ruling: Ruling,
    ) -> None:
        normal, keep = (await heard.said()).normal(), self.traffic.keep
        conversation, decision = ruling.conversation, ruling.decision
        call = Call(
            ruling.key,
            conversation.episode,
            conversation.step,
            dialect.name,
            decision.arm.name,
            decision.policy,
            decision.why,
            kind_of(conversation),
            decision.features,
            conversation.prompt_tokens,
            replace(ruling.usage, seconds=seconds),
            exchange.status,
            hashlib.blake2b(asked.body, key=self.traffic.salt, digest_size=16).hexdigest(),
            normal.digest(self.traffic.salt),
            asked.body.decode(json.detect_encoding(asked.body), "replace")
            if keep.content
            else None,
            normal.text if keep.content else None,
        )
        self.traffic.call(call)
        if self.shadow is not None:
            arms = read_arms(route.arms) or arms_of(route, asked.model, 1, votes_as_asked=False)
            answered = Answered(call.id, dialect, asked, exchange.headers, route, ruling, normal)
            self.shadow.after(answered, arms)

    async def settled(self) -> None:
        """Waits until all that was answered is kept."""
        while self._open:
            await asyncio.wait(list(self._open))

    async def close(self) -> None:
        """Ends shadows, writes what waits, and closes the files."""
        await self.settled()
        if self.shadow is not None:
            await self.shadow.close()
        self.traffic.close()


def check_watching(watching: Watching, fleet: Fleet) -> None:
    """Makes sure that what is watched can be kept, and shadows can be paid.

    Raises:
        InvalidInputError: if not.
    """
    if watching.shadow:
        _operator(watching, fleet).accounts.close()
    TrafficFile(watching.traffic).close()


def _operator(watching: Watching, fleet: Fleet) -> Operator:
    """Who pays for shadows.

    Raises:
        InvalidInputError: if nobody can.
    """
    if watching.accounts is None:
        raise InvalidInputError("shadow needs a file of keys, one of which pays for it")
    if all(each.takes_clients_keys for each in fleet.upstreams.values()):
        raise InvalidInputError(
            "shadow asks in nobody's name, but the upstream is sent the clients' keys; give it a"
            " key of its own (--upstream-key-env)"
        )
    return Operator(watching.accounts)


class _Outcome(Config):
    """What came of an episode, or of one of its steps."""

    episode: Annotated[str, Field(min_length=1, max_length=_LONGEST_EPISODE)]
    success: Annotated[float, Field(ge=0.0, le=1.0)]
    step: Annotated[int, Field(ge=0, le=2**31)] | None = None
    note: Annotated[str, Field(max_length=_LONGEST_NOTE)] = ""


async def take_outcome(
    exchange: Exchange, body: bytes, accounts: Accounts, traffic: Traffic | None
) -> None:
    """Keeps an outcome, and says so.

    Raises:
        RefusedCallError: if nothing is kept here, the key is none, or has no such episode.
        InvalidInputError: if it is no outcome; names the field.
    """
    if exchange.method != "POST":
        raise RefusedCallError(405, "an outcome is posted: POST {episode, success, step, note}")
    if traffic is None:
        raise RefusedCallError(404, "no traffic is kept here (amp serve --traffic FILE)")
    key = await accounts.name_of(client_key(exchange.headers))
    if isinstance(key, Refusal):
        raise RefusedCallError(key.status, key.reason, key.retry_after_seconds)
    if len(body) > _LARGEST_OUTCOME:
        raise RefusedCallError(413, f"the outcome is larger than {_LARGEST_OUTCOME:,} bytes")
    fields = fields_of(body)
    if fields is None:
        raise InvalidInputError("the outcome is no JSON object, expected episode and success")
    said = checked(_Outcome, fields, "outcome")
    step = WHOLE_EPISODE if said.step is None else said.step
    found = await traffic.outcome(key, said.episode, step, said.success, said.note)
    if found is None:
        raise RefusedCallError(503, "the outcome cannot be kept now; send it again", 5.0)
    if not found:
        what = "episode" if said.step is None else f"step {said.step} of an episode"
        raise RefusedCallError(404, f"there is no {what} {said.episode!r} of this key")
    content = json.dumps({"object": "amp.outcome", **said.model_dump()}).encode()
    await exchange.begin(200, [(b"content-type", b"application/json"), length_of(content)])
    await exchange.end(content)
