"""Whatever an upstream does wrong, clients of other APIs get answers of theirs, or errors."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import httpx2
import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from tests.fakes.upstream import Asked, Reply, either, serving
from tests.faults.honest import DIALECTS, Dialect
from tests.faults.quirks import of
from tests.faults.server import serving as misbehaving
from tests.serve.running import gateway, until

from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import Api, UpstreamConfig

CLIENTS: dict[str, tuple[dict[str, Any], Any]] = {
    "chat/completions": ({"messages": [{"role": "user", "content": "12 * 7?"}]}, ChatCompletion),
    "messages": (
        {"messages": [{"role": "user", "content": "12 * 7?"}], "max_tokens": 40},
        Message,
    ),
    "responses": ({"input": "12 * 7?"}, Response),
}
NATIVE: dict[Dialect, tuple[Api, str]] = {
    "openai": ("chat", "chat/completions"),
    "anthropic": ("anthropic", "messages"),
}
SLOW = ("endless", "endless-refusal", "drips", "slow", "never", "gzip-bomb")
"""Quirks that are about time and size, which no translation changes."""

ONCE = Patience(retries=0)
EVENTS = {
    "chat/completions": b"data: [DONE]\n\n",
    "messages": b"event: message_stop\n",
    "responses": b"event: response.completed\n",
}


def is_error(path: str, told: Any) -> bool:
    """Whether it is an error in the form of an API, with something to read."""
    if path == "messages" and told.get("type") != "error":
        return False
    return bool(told["error"]["message"]) and bool(told["error"]["type"])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_fault_is_an_answer_or_an_error_of_the_clients_api(
    dialect: Dialect, thorough: bool
) -> None:
    quirks = [quirk for quirk in of(dialect) if quirk not in SLOW]
    if not thorough:
        quirks = random.Random(dialect).sample(quirks, 60)
    api, native = NATIVE[dialect]
    paths = [path for path in CLIENTS if path != native]
    with misbehaving() as server:
        upstreams = [
            UpstreamConfig(server.of(dialect, quirk), api=api, name=quirk, models=(quirk,))
            for quirk in quirks
        ]
        async with (
            gateway(*upstreams, patience=ONCE) as amp,
            httpx2.AsyncClient(timeout=60) as client,
        ):
            answered = 0
            for quirk in quirks:
                for path in paths:
                    body, kind = CLIENTS[path]
                    got = await client.post(f"{amp.v1}/{path}", json={"model": quirk, **body})
                    if got.status_code == 200:
                        kind.model_validate(got.json())
                        answered += 1
                    else:
                        assert is_error(path, got.json()), (quirk, path, got.text)
                        assert got.status_code in range(400, 530), (quirk, path)
            await until(lambda: not amp.accounts.reserved)
            assert answered > len(quirks) // 2
            assert amp.accounts.spent.model_calls >= answered


@pytest.mark.parametrize("path", CLIENTS)
async def test_every_torn_stream_ends_as_an_error_or_is_whole(path: str, thorough: bool) -> None:
    """Streams are torn into pieces anywhere, and cut off anywhere, once with a proper end."""
    chance = random.Random(path)
    spoken: dict[Api, str] = {"chat": "chat/completions", "anthropic": "messages"}
    spoken["responses"] = "responses"
    apis = [api for api, native in spoken.items() if native != path]
    body = {"model": "m", "stream": True, **CLIENTS[path][0]}

    def torn(asked: Asked) -> Reply:
        reply = either(asked)
        own = b"".join(part for part in reply.parts if isinstance(part, bytes))
        kept = own[: chance.randint(1, len(own))] if chance.random() < 0.7 else own
        places = sorted(chance.sample(range(len(kept)), min(5, len(kept))))
        begins, ends = [0, *places], [*places, len(kept)]
        parts: list[bytes | float] = []
        for begin, end in zip(begins, ends, strict=True):
            parts += [kept[begin:end], 0.001] if end > begin else []
        whole.append(kept == own)
        breaks.append(chance.random() < 0.3)
        return Reply(parts, 200, reply.headers, streams=True, breaks=breaks[-1])

    whole: list[bool] = []
    breaks: list[bool] = []
    async with serving(torn) as upstream, httpx2.AsyncClient(timeout=60) as client:
        for api in apis:
            config = UpstreamConfig(upstream.url, api=api)
            async with gateway(config, patience=ONCE) as amp:
                calls = 200 if thorough else 15
                for _ in range(calls):
                    got = await client.post(f"{amp.v1}/{path}", json=body)
                    ends = EVENTS[path] in got.content
                    fails = b"event: error\n" in got.content or b'data: {"error"' in got.content
                    if got.status_code != 200:
                        assert is_error(path, got.json())
                    elif not whole[-1]:
                        assert ends != fails
                    else:  # it may break off once all is told
                        assert ends or breaks[-1]
                await until(lambda: not amp.accounts.reserved)  # in this turn
                assert amp.accounts.spent.model_calls == calls


async def test_who_leaves_a_translated_stream_pays_what_came() -> None:
    def slow(asked: Asked) -> Reply:
        reply = either(asked)
        parts = [each for part in reply.parts for each in (part, 0.05)]
        return Reply(parts, 200, reply.headers, streams=True)

    body = {"model": "m", "stream": True, **CLIENTS["messages"][0]}
    async with (
        serving(slow) as upstream,
        gateway(UpstreamConfig(upstream.url, api="chat")) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        async with client.stream("POST", f"{amp.v1}/messages", json=body) as got:
            async for chunk in got.aiter_raw():
                if b" and" in chunk:
                    break
        await until(lambda: amp.accounts.spent.model_calls == 1 and not amp.accounts.reserved)
        spent = amp.accounts.spent
        assert spent.estimated_calls == 1
        assert len("Two and") <= spent.completion_tokens <= len("Two and two")
        await until(lambda: upstream.hung_up == 1)


async def test_garbage_in_a_stream_is_said_to_be_no_answer() -> None:
    odd: list[bytes] = [
        b'data: {"choices": 7, "usage": {"prompt_tokens": NaN}}\n\n',
        b'data: {"usage": []}\n\ndata: \xff\xfe\n\n: comment\n\n\r\n\r\nevent: x\n\n',
        b'data: {"choices":[{"delta":{"content":[[[]]]}},3]}\r\n\r\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: no end",
    ]

    def answer(asked: Asked) -> Reply:
        parts: list[bytes | float] = [*odd]
        return Reply(parts, headers={"content-type": "text/event-stream"}, streams=True)

    async with (
        serving(answer) as upstream,
        gateway(UpstreamConfig(upstream.url, api="chat"), patience=ONCE) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        for path in ("messages", "responses"):
            body = {"model": "m", "stream": True, **CLIENTS[path][0]}
            got = await client.post(f"{amp.v1}/{path}", json=body)
            last = json.loads(got.content.rpartition(b"data: ")[2])
            assert last["type"] == "error"
        await asyncio.sleep(0)
        assert amp.accounts.reserved == {}


async def test_what_came_before_an_error_in_one_piece_with_it_reaches_the_client() -> None:
    def failing(asked: Asked) -> Reply:
        parts = [part for part in either(asked).parts if isinstance(part, bytes)]
        torn = b"".join(parts[:4]) + b'data: {"error": {"message": "overloaded"}}\n\n'
        return Reply([torn], headers={"content-type": "text/event-stream"}, streams=True)

    async with (
        serving(failing) as upstream,
        gateway(UpstreamConfig(upstream.url, api="chat"), patience=ONCE) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        body = {"model": "m", "stream": True, **CLIENTS["messages"][0]}
        got = await client.post(f"{amp.v1}/messages", json=body)
        assert b'"text":" and"' in got.content
        assert b"event: error" in got.content
        assert b"overloaded" in got.content
