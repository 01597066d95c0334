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

from amp.serve.accounts.base import OpenAccounts, Reservation
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import UpstreamConfig
from amp.usage import Usage

KINDS = {
    "whole": 4,
    "stream": 4,
    "drip": 2,  # an event in pieces, torn anywhere
    "half": 2,  # a stream that breaks off
    "no usage": 1,  # a stream that tells none
    "leaves": 2,  # a client that hangs up in the stream
    "leaves early": 1,  # and one that does before the answer
}
"""How a call ends, and how often."""

FAILURES = {"busy": 429, "broken": 500, "down": 503, "closed": 0}  # without a word
"""What an upstream says before another one answers."""

PATIENCE = Patience(retries=3, pause_seconds=0.01, longest_wait_seconds=0.1, failures=10**9)


@dataclass
class Books(OpenAccounts):
    """Accounts that remember every call by its model, which is its number here."""

    calls: dict[str, list[Usage]] = field(default_factory=dict)

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
        await OpenAccounts.settle(self, reservation, usage, model=model)
        self.calls.setdefault(model, []).append(usage)


class Script:
    """What happens to each call, whichever upstream is asked."""

    def __init__(self, failures: list[list[str]]) -> None:
        self.failures = failures
        self.asked: Counter[int] = Counter()

    def __call__(self, asked: Asked) -> Reply:
        """Fails as often as it is to, then answers."""
        number = int(asked.json["model"].partition(" ")[2])
        failures, time = self.failures[number], self.asked[number]
        self.asked[number] += 1
        if time < len(failures):
            if failures[time] == "closed":
                return Reply(status=0, breaks=True)
            headers = {"retry-after-ms": "20"} if failures[time] == "busy" else {}
            return Reply([b'{"error":{"message":"no"}}'], FAILURES[failures[time]], headers)
        return answered(asked)


def answered(asked: Asked) -> Reply:
    """Answers as the request says."""
    kind = asked.json["kind"]
    if kind == "leaves early":
        return Reply([300.0], streams=True)
    reply = (messages if asked.target.endswith("messages") else chat)(asked)
    if kind == "half":
        return Reply([*reply.parts[:4], 0.01], 200, reply.headers, streams=True, breaks=True)
    if kind == "no usage":
        parts = [part for part in reply.parts if b"tokens" not in bytes(part)]  # type: ignore[arg-type]  # all bytes
        return Reply(parts, 200, reply.headers, streams=True)
    if kind == "leaves":
        return Reply([*reply.parts[:4], 300.0], 200, reply.headers, streams=True)
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
    body |= {"max_tokens": 50, "stream": kind != "whole"}
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
    asked = Asked("POST", path, {}, json.dumps(body).encode())
    own = b"".join(part for part in answered(asked).parts if isinstance(part, bytes))
    if kind == "half":
        return kind if got.content.startswith(own) and b"broke off" in got.content else "lost"
    return kind if got.content == own else "lost"


def fits(kind: str, failures: list[str], usages: list[Usage]) -> bool:
    """Whether what was charged is what the upstreams gave; who hung up may have given something."""
    *before, last = usages
    if len(before) != failures.count("closed") or not all(
        usage.estimated_calls for usage in before
    ):
        return False
    if kind in ("whole", "stream", "drip"):
        exact = (last.prompt_tokens, last.completion_tokens) in ((21, 9), (28, 9))
        return exact and last.estimated_calls == 0
    return last.estimated_calls == 1


async def test_no_call_is_lost_or_charged_twice(thorough: bool) -> None:
    calls, chance, books = 10_000 if thorough else 300, random.Random(7), Books()
    kinds = chance.choices(list(KINDS), list(KINDS.values()), k=calls)
    paths = chance.choices(["chat/completions", "messages"], k=calls)
    failures = [chance.choices(list(FAILURES), k=int(chance.expovariate(1))) for _ in kinds]
    failures = [each[:5] for each in failures]  # two upstreams, asked four times
    script, turns = Script(failures), asyncio.Semaphore(64)
    async with (
        serving(script) as first,
        serving(script) as second,
        gateway(
            UpstreamConfig(first.url, name="first", connect_seconds=60.0),
            UpstreamConfig(second.url, name="second", connect_seconds=60.0),
            accounts=books,
            patience=PATIENCE,
        ) as amp,
        httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=None)) as client,
    ):

        async def one(number: int) -> str:
            async with turns:
                return await play(client, amp.v1, number, kinds[number], paths[number])

        outcomes = await asyncio.gather(*map(one, range(calls)))
        await until(lambda: not books.reserved)
        assert Counter(outcomes) == Counter(kinds)
        given = sum(kind in ("whole", "stream", "drip") for kind in kinds)
        exact = [each for charged in books.calls.values() for each in charged]
        assert sum(not each.estimated_calls for each in exact) == given
        assert (
            sum(each.completion_tokens for each in exact if not each.estimated_calls) == 9 * given
        )
        for number, kind in enumerate(kinds):
            charged = books.calls.get(f"call {number}", [])
            if script.asked[number] == len(failures[number]) + 1:
                assert fits(kind, failures[number], charged), (number, kind, charged)
            else:  # it left before anybody had answered
                assert kind == "leaves early"
                assert len(charged) <= 1 + failures[number].count("closed")
        left = [number for number, kind in enumerate(kinds) if kind.startswith("leaves")]
        reached = [number for number in left if script.asked[number] > len(failures[number])]
        await until(lambda: first.hung_up + second.hung_up >= len(reached))
        shown = (await client.get(f"{amp.url}/metrics")).text
        again = sum(
            float(line.rpartition(" ")[2])
            for line in shown.splitlines()
            if line.startswith(("amp_retries_total", "amp_failovers_total"))
        )
        asked = sum(script.asked.values()) - len(script.asked)
        assert asked <= again <= asked + kinds.count("leaves early")  # cut short on their way


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
        httpx2.AsyncClient(timeout=60) as client,
    ):
        for path in ("chat/completions", "messages"):
            body = {"model": "m", "messages": [], "stream": True}
            got = await client.post(f"{amp.v1}/{path}", json=body)
            assert got.content == b"".join(odd)
        assert amp.accounts.spent.estimated_calls == 2
        assert amp.accounts.reserved == {}
