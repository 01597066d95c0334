"""The books of the gateway agree with the upstream, whatever breaks on either side of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
from tests.fakes.upstream import Asked, Reply, chat, messages, serving, sse
from tests.serve.running import gateway, until

from amp.serve.accounting import OpenAccounts, Reservation
from amp.usage import Usage

KINDS = {
    "whole": 4,
    "stream": 4,
    "drip": 2,  # an event in pieces, torn anywhere
    "busy": 1,  # 429
    "broken": 1,  # 500
    "half": 2,  # a stream that breaks off
    "no usage": 1,  # a stream that tells none
    "leaves": 2,  # a client that hangs up in the stream
    "leaves early": 1,  # and one that does before the answer
}
"""What happens to a call, and how often."""


@dataclass
class Books(OpenAccounts):
    """Accounts that remember every call by its model, which is its number here."""

    calls: dict[str, list[Usage]] = field(default_factory=dict)

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
        await OpenAccounts.settle(self, reservation, usage, model=model)
        self.calls.setdefault(model, []).append(usage)


def respond(asked: Asked) -> Reply:
    """Answers as the request says."""
    kind = asked.json["kind"]
    if kind in ("busy", "broken"):
        status = 429 if kind == "busy" else 500
        return Reply([b'{"error":{"message":"no"}}'], status, {"retry-after": "1"})
    if kind == "leaves early":
        return Reply([30.0], streams=True)
    reply = (messages if asked.target.endswith("messages") else chat)(asked)
    if kind == "half":
        return Reply([*reply.parts[:4], 0.01], 200, reply.headers, streams=True, breaks=True)
    if kind == "no usage":
        parts = [part for part in reply.parts if b"tokens" not in bytes(part)]  # type: ignore[arg-type]  # all bytes
        return Reply(parts, 200, reply.headers, streams=True)
    if kind == "leaves":
        return Reply([*reply.parts[:4], 30.0], 200, reply.headers, streams=True)
    if kind == "drip":
        whole = b"".join(part for part in reply.parts if isinstance(part, bytes))
        size = 1 + len(whole) % 97
        pieces: list[bytes | float] = []
        for begin in range(0, len(whole), size):
            pieces += [whole[begin : begin + size], 0.001]
        return Reply(pieces, 200, reply.headers, streams=True)
    return reply


async def play(client: httpx2.AsyncClient, base: str, number: int, kind: str, path: str) -> str:
    """Makes a call; returns what came of it."""
    body: dict[str, Any] = {"model": f"call {number}", "messages": [], "kind": kind}
    body |= {"max_tokens": 50, "stream": kind not in ("whole", "busy", "broken")}
    url = f"{base}/{path}"
    if kind == "leaves early":
        try:
            await client.post(url, json=body, timeout=0.3)
        except httpx2.TimeoutException:
            return kind
    if kind == "leaves":
        async with client.stream("POST", url, json=body) as got:
            await anext(got.aiter_raw())
        return kind
    got = await client.post(url, json=body)
    if kind in ("busy", "broken"):
        return kind if got.status_code in (429, 500) and b'"no"' in got.content else "lost"
    asked = Asked("POST", path, {}, json.dumps(body).encode())
    own = b"".join(part for part in respond(asked).parts if isinstance(part, bytes))
    if kind == "half":
        return kind if got.content.startswith(own) and b"broke off" in got.content else "lost"
    return kind if got.content == own else "lost"


def fits(kind: str, usages: list[Usage]) -> bool:
    """Whether what was charged is what the upstream gave."""
    if kind in ("busy", "broken"):
        return not usages
    if len(usages) != 1:
        return False
    (usage,) = usages
    if kind in ("whole", "stream", "drip"):
        exact = (usage.prompt_tokens, usage.completion_tokens) in ((21, 9), (28, 9))
        return exact and usage.estimated_calls == 0
    return usage.estimated_calls == 1


async def test_no_call_is_lost_or_charged_twice(thorough: bool) -> None:
    calls, chance, books = 10_000 if thorough else 300, random.Random(7), Books()
    kinds = chance.choices(list(KINDS), list(KINDS.values()), k=calls)
    paths = chance.choices(["chat/completions", "messages"], k=calls)
    turns = asyncio.Semaphore(64)
    async with (
        serving(respond) as upstream,
        gateway(upstream.url, accounts=books) as amp,
        httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=None)) as client,
    ):

        async def one(number: int) -> str:
            async with turns:
                return await play(client, amp.v1, number, kinds[number], paths[number])

        outcomes = await asyncio.gather(*map(one, range(calls)))
        await until(lambda: not books.reserved)
        assert Counter(outcomes) == Counter(kinds)
        sent = Counter(asked.json["model"] for asked in upstream.asked)
        assert set(sent.values()) == {1}
        for number, kind in enumerate(kinds):
            charged = books.calls.get(f"call {number}", [])
            if f"call {number}" in sent:
                assert fits(kind, charged), (number, kind, charged)
            else:  # it left before anybody had heard of it
                assert kind == "leaves early"
                assert len(charged) <= 1
        left = [f"call {number}" for number, kind in enumerate(kinds) if kind.startswith("leaves")]
        await until(lambda: upstream.hung_up >= sum(sent[call] for call in left))


async def test_what_an_upstream_sends_by_mistake_reaches_the_client_as_it_is() -> None:
    odd = [
        *sse("{", "[]", '{"choices": 7, "usage": {"prompt_tokens": NaN}}', '{"usage": []}'),
        b"data: \xff\xfe\n\n: comment\n\n\r\n\r\nevent: x\n\n",
        b'data: {"choices":[{"delta":{"content":[[[]]]}},3]}\r\n\r\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: no end",
    ]

    def answer(asked: Asked) -> Reply:
        parts: list[bytes | float] = [*odd]
        return Reply(parts, headers={"content-type": "text/event-stream"}, streams=True)

    async with (
        serving(answer) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient() as client,
    ):
        for path in ("chat/completions", "messages"):
            body = {"model": "m", "messages": [], "stream": True}
            got = await client.post(f"{amp.v1}/{path}", json=body)
            assert got.content == b"".join(odd)
        assert amp.accounts.spent.estimated_calls == 2
        assert amp.accounts.reserved == {}
