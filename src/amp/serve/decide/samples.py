"""Several answers to one call, and a vote among them.

Two are asked for at first, and the others only where these two differ. Each sample is a call like
any other: it is reserved, made and charged by itself, only that its answer goes to the vote instead
of the client. Where the server takes ``n``, one call has all
samples, whose prompt is paid once. The answer that wins reaches the client as if it had come alone;
its usage is that of all, and ``usage.amp`` says how many voted. A stream begins once it is settled.

NOT covered: weights, for which a model would have to tell its probabilities.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from amp.errors import InvalidInputError
from amp.models.bill import table
from amp.serve.dialects.apis import CHAT, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect, parsed
from amp.serve.dialects.said import Said
from amp.serve.exchange import Exchange, Message, RefusedCallError, length_of
from amp.serve.translate.meaning import UntranslatableError
from amp.serve.upstreams.answer import UpstreamError
from amp.types import Candidate
from amp.votes import weighted_vote

Ask = Callable[[Exchange, bytes], Awaitable[None]]
"""Answers a request to an exchange."""

_EXPECTED = (RefusedCallError, UpstreamError, InvalidInputError)
_PARTS = {CHAT.path: "choices", MESSAGES.path: "content", RESPONSES.path: "output"}
_OF_A_STREAM = ("stream", "stream_options")
_REFUSED, _MOST_MODELS = (400, 422, 500, 501), 1_000

_ENOUGH = 2
"""Answers that say the same; then no more are asked for."""


@dataclass(slots=True)
class _Hidden:
    """What is sent to nobody: an answer that goes to the vote."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    async def send(self, message: Message) -> None:
        self.headers |= dict(message.get("headers", ()))
        self.body += message.get("body", b"")

    @property
    def dollars(self) -> float | None:
        """What it cost; None where that is not known."""
        told = self.headers.get(b"x-amp-dollars")
        return None if told is None else float(told)


class Votes:
    """Answers calls by votes, and remembers which models take no ``n``."""

    def __init__(self) -> None:
        self._one_by_one: set[object] = set()

    async def answer(
        self,
        exchange: Exchange,
        dialect: Dialect,
        fields: Mapping[str, Any],
        samples: int,
        ask: Ask,
    ) -> None:
        """Answers a call by a vote.

        Raises:
            RefusedCallError: if no sample may be taken.
            UpstreamError: if none is answered.
        """
        whole = {name: value for name, value in fields.items() if name not in _OF_A_STREAM}
        made: list[_Hidden] = []
        answers: list[dict[str, Any]] = []
        while len(answers) < samples and not _is_settled(answers):
            # Two at first, then all others together: nobody waits for more than two rounds.
            count = _ENOUGH - len(answers) if len(answers) < _ENOUGH else samples - len(answers)
            more = await self._take(exchange, dialect, whole, count, ask, needed=not answers)
            found = [one for hidden in more for one in _parts(hidden, dialect)]
            if not found:  # no more can be had
                break
            made += more
            answers += found
        if not answers:
            raise UpstreamError(
                "the upstream's answers say nothing that can be read", 502, may_be_billed=True
            )
        await _send(exchange, dialect, fields, made, answers)

    async def _take(
        self,
        exchange: Exchange,
        dialect: Dialect,
        fields: Mapping[str, Any],
        count: int,
        ask: Ask,
        *,
        needed: bool,
    ) -> list[_Hidden]:
        """Calls for so many samples; those of them that were answered.

        Raises:
            RefusedCallError: if none was, and one is needed.
            UpstreamError: likewise.
        """
        model = fields.get("model")
        at_once = count > 1 and dialect is CHAT and model not in self._one_by_one
        if at_once:
            made, error = await _asked(exchange, {**fields, "n": count}, 1, ask)
            wordless = isinstance(error, UntranslatableError)  # where it is to be asked
            if getattr(error, "status", 0) not in _REFUSED and not wordless:
                if error is not None and needed:
                    raise error
                return made
        made, error = await _asked(exchange, fields, count, ask)
        # Else it was no word on how many are asked for.
        if at_once and made and len(self._one_by_one) < _MOST_MODELS:
            self._one_by_one.add(model)
        if error is not None and needed and not made:
            raise error
        return made


async def _send(
    exchange: Exchange,
    dialect: Dialect,
    fields: Mapping[str, Any],
    made: Sequence[_Hidden],
    answers: Sequence[dict[str, Any]],
) -> None:
    """Sends the answer that wins, as a stream where the client wants one."""
    winner, votes = elected(answers)
    costs = [hidden.dollars for hidden in made]
    dollars = None if None in costs else sum(cost or 0.0 for cost in costs)
    own = {"calls": len(made), "samples": len(answers), "votes": votes, "dollars": dollars}
    used = _summed([table(parsed(bytes(hidden.body)) or {}, "usage") for hidden in made])
    answer = {**answers[winner], "usage": {**used, "amp": own}}
    kept = (b"x-amp-arm", b"x-amp-decision", b"x-amp-upstream")
    headers = [(name, value) for name, value in made[0].headers.items() if name in kept]
    headers.append((b"x-amp-votes", f"{votes} of {len(answers)}".encode()))
    if dollars is not None:
        headers.append((b"x-amp-dollars", f"{dollars:.9f}".encode()))
    if fields.get("stream") is True:
        asks_usage = bool(table(fields, "stream_options").get("include_usage"))
        events = _chat(answer, asks_usage) if dialect is CHAT else _message(answer)
        await exchange.begin(200, [*headers, (b"content-type", b"text/event-stream")])
        for event in events:
            await exchange.go_on(event)
        await exchange.end()
        return
    body = json.dumps(answer).encode()
    content = (b"content-type", b"application/json")
    await exchange.begin(200, [*headers, content, length_of(body)])
    await exchange.end(body)


def _is_settled(answers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no more answers are worth their price: enough agree, or they can't be compared."""
    if len(answers) < _ENOUGH:
        return False
    _, votes = elected(answers)
    return votes >= _ENOUGH or not votes


def elected(answers: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Which answer wins, and how many say the same; the first, and 0, where none can be compared.

    Answers are compared in the normal form that `amp.serve.dialects.said` has for them.
    """
    candidates = []
    for answer in answers:
        said = Said()
        said.hear(answer)
        candidates.append(Candidate("", said.normal().text))
    winner = weighted_vote(candidates)
    if winner is None:
        return 0, 0
    same = [place for place, each in enumerate(candidates) if each.action == winner.action]
    return same[0], len(same)


async def _asked(
    exchange: Exchange, fields: Mapping[str, Any], count: int, ask: Ask
) -> tuple[list[_Hidden], Exception | None]:
    """The calls of so many that were answered, and the first error of the others."""
    body = json.dumps(fields).encode()
    hidden = [_Hidden() for _ in range(count)]
    calls = [ask(replace(exchange, send=each.send, status=0), body) for each in hidden]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    first: Exception | None = None
    for end in ends:
        if isinstance(end, _EXPECTED):
            first = first or end
        elif end is not None:
            raise end
    return [each for each, end in zip(hidden, ends, strict=True) if end is None], first


def _parts(hidden: _Hidden, dialect: Dialect) -> list[dict[str, Any]]:
    """The answers that one call has brought, each as if it had come alone; none of another form."""
    answer = parsed(bytes(hidden.body)) or {}
    parts = answer.get(_PARTS[dialect.path])
    if not isinstance(parts, list):
        return []
    found = [part for part in parts if isinstance(part, dict)]
    if dialect is not CHAT:
        return [answer] if len(found) == len(parts) else []
    return [{**answer, "choices": [{**choice, "index": 0}]} for choice in found]


def _summed(usages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of several usages together; of what is no number, the first."""
    found: dict[str, Any] = {}
    for usage in usages:
        for name, value in usage.items():
            before = found.get(name)
            if isinstance(value, dict):
                found[name] = _summed([before if isinstance(before, dict) else {}, value])
            elif isinstance(value, int) and isinstance(before, int):
                found[name] = before + value
            else:
                found.setdefault(name, value)
    return found


def _chat(answer: Mapping[str, Any], asks_usage: bool) -> Iterator[bytes]:
    """A chat completion as a stream."""
    base = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    base["object"] = "chat.completion.chunk"
    choice = answer["choices"][0]
    delta = {name: value for name, value in table(choice, "message").items() if value is not None}
    for each, end in ((delta, None), ({}, choice.get("finish_reason"))):
        yield _event({**base, "choices": [{"index": 0, "delta": each, "finish_reason": end}]})
    if asks_usage:
        yield _event({**base, "choices": [], "usage": answer["usage"]})
    yield b"data: [DONE]\n\n"


def _message(answer: Mapping[str, Any]) -> Iterator[bytes]:
    """A message as a stream."""
    usage = answer["usage"]
    end = {"stop_reason": None, "stop_sequence": None}
    begun = {**answer, "content": [], **end, "usage": {**usage, "output_tokens": 0}}
    yield _named({"type": "message_start", "message": begun})
    content = answer.get("content")
    for index, block in enumerate(content if isinstance(content, list) else ()):
        at = {"index": index}
        text = str(block.get("text", ""))
        empty = {**block, "text": ""} if text else block
        yield _named({"type": "content_block_start", **at, "content_block": empty})
        if text:
            delta = {"type": "text_delta", "text": text}
            yield _named({"type": "content_block_delta", **at, "delta": delta})
        yield _named({"type": "content_block_stop", **at})
    ended = {name: answer.get(name) for name in end}
    yield _named({"type": "message_delta", "delta": ended, "usage": usage})
    yield _named({"type": "message_stop"})


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _named(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\n".encode() + _event(data)
