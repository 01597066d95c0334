"""What odd requests and odd upstreams do to a gateway that runs: none breaks it, or is free.

Every example is one that once got through.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APIConnectionError, AsyncOpenAI
from tests.fakes.upstream import Asked, Reply, either, serving, with_headers
from tests.serve.running import Running, gateway, until
from tests.serve.test_odd_calls import ASKED

import amp as amp_
from amp.serve import app
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.serve.exchange import Bounds
from amp.serve.traffic.writer import Keep, Watching
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import UpstreamConfig

KEY = "sk-upstream-0123456789abcdef"


async def post(amp: Running, path: str, content: bytes = b"", **headers: Any) -> httpx2.Response:
    """Sends what is no request of an SDK."""
    raw = [(name.encode(), value) for name, value in headers.items()]
    async with httpx2.AsyncClient(timeout=60) as client:
        body = content or json.dumps(ASKED).encode()
        return await client.post(f"{amp.v1}/{path}", content=body, headers=raw)


def fixed(reply: Reply) -> Callable[[Asked], Reply]:
    return lambda asked: reply


async def test_a_request_is_kept_in_whatever_encoding_it_came(tmp_path: Path) -> None:
    watching = Watching(tmp_path / "traffic.sqlite", keep=Keep(content=True))
    sent = [json.dumps(ASKED).encode(form) for form in ("utf-8", "utf-16", "utf-32-le")]
    async with serving(either) as upstream, gateway(upstream.url, watching=watching) as amp:
        for body in sent:
            assert (await post(amp, "chat/completions", body)).status_code == 200
    with sqlite3.connect(tmp_path / "traffic.sqlite") as file:
        kept = [text for (text,) in file.execute("SELECT asked FROM calls")]
    assert [json.loads(text) for text in kept] == [ASKED] * len(sent)


@pytest.mark.parametrize("path", ["chat/completions", "images/generations", "amp/outcome"])
async def test_a_name_that_stands_twice_is_refused_wherever_it_is_sent(
    path: str, tmp_path: Path
) -> None:
    watching = Watching(tmp_path / "traffic.sqlite")
    async with (
        serving(either) as upstream,
        gateway(upstream.url, watching=watching) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        body = b'{"model":"cheap","episode":"e","success":1,"model":"dear"}'
        got = await client.post(f"{amp.v1}/{path}", content=body)
        assert got.status_code == 400
        assert "'model' stands twice" in got.json()["error"]["message"]
        form = b'--b\r\n\r\n{"model":1,"model":2}\r\n--b--'
        if path != "amp/outcome":
            assert upstream.asked == []
            got = await client.post(f"{amp.v1}/files", content=form)
            assert upstream.asked[-1].body == form


@pytest.mark.slow
async def test_an_answer_that_cannot_be_read_costs_its_bounds() -> None:
    page = Reply([b"<html>"], headers={"content-type": "text/html"})
    async with serving(fixed(page)) as upstream, gateway(upstream.url) as amp:
        content = json.dumps({**ASKED, "max_tokens": 50}).encode()
        got = await post(amp, "chat/completions", content)
        assert got.content == b"<html>"
        assert amp.accounts.spent.completion_tokens == 50
        assert amp.accounts.spent.prompt_tokens == len(content)
        assert amp.accounts.spent.estimated_calls == 1


async def test_the_type_of_a_stream_is_one_however_it_is_written() -> None:
    loud = with_headers({"content-type": "Text/Event-Stream;charset=UTF-8"})
    async with serving(loud) as upstream, gateway(upstream.url) as amp:
        got = await post(amp, "chat/completions", json.dumps({**ASKED, "stream": True}).encode())
        assert b"usage" not in got.content  # nobody asked for it
        spent = amp.accounts.spent
        assert (spent.completion_tokens, spent.estimated_calls) == (9, 0)


@pytest.mark.parametrize("sent", ["Aufgabe für 日本", "für"])
async def test_an_episode_is_one_however_its_name_is_written(sent: str, tmp_path: Path) -> None:
    """In a header it is bytes, in JSON a text; cut or mangled it would be another's, too."""
    coding = "utf-8" if "日" in sent else "latin-1"
    watching = Watching(tmp_path / "traffic.sqlite")
    async with serving(either) as upstream, gateway(upstream.url, watching=watching) as amp:
        path = "chat/completions"
        got = await post(amp, path, **{"x-amp-episode": sent.encode(coding)})
        assert got.status_code == 200
        told = json.dumps({"episode": sent, "success": 1}).encode()
        assert (await post(amp, "amp/outcome", told)).status_code == 200
        for name in (b"x" * 201, b"a\tb", b"\xc2\x9b31m"):
            got = await post(amp, path, **{"x-amp-episode": name})
            assert (got.status_code, "episode is" in got.text) == (400, True)
        assert len(upstream.asked) == 1


async def test_who_asks_whether_it_is_ready_has_nobody_flooded() -> None:
    async with (
        serving(either) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await asyncio.gather(*(client.get(f"{amp.url}/readyz") for _ in range(20)))
        assert {each.status_code for each in got} == {200}
        assert len(upstream.asked) <= 2  # one a second


@pytest.mark.slow
async def test_headers_need_not_be_ascii() -> None:
    note = "für 日本".encode()

    def echo(asked: Asked) -> Reply:
        reply = either(asked)
        reply.headers["x-note"] = asked.headers["x-title"]
        return reply

    async with serving(echo) as upstream, gateway(upstream.url) as amp:
        for path in ("chat/completions", "models"):
            got = await post(amp, path, **{"x-title": note})
            assert got.status_code == 200
            assert dict(got.headers.raw)[b"x-note"] == note


@pytest.mark.slow
async def test_what_an_upstream_says_in_headers_is_without_the_keys_that_it_was_sent() -> None:
    def moved(asked: Asked) -> Reply:
        away = {"location": f"https://elsewhere{asked.target}"}
        return Reply([b"moved"], 307, {**away, "x-echo": asked.headers["authorization"]})

    async with serving(moved) as upstream:
        behind = UpstreamConfig(f"{upstream.url}?api_key=sk-in-the-address-0123", key=KEY)
        async with gateway(behind) as amp:
            for path in ("chat/completions", "files"):
                got = await post(amp, path)
                assert got.status_code == 307
                assert KEY not in str(got.headers)
                assert "sk-in-the-address" not in str(got.headers)


@pytest.mark.slow
async def test_of_two_gateways_the_client_is_told_what_the_first_says() -> None:
    async with (
        serving(either) as upstream,
        gateway(UpstreamConfig(upstream.url, is_free=True)) as behind,
        gateway(UpstreamConfig(behind.v1, is_free=True)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await client.post(f"{amp.v1}/chat/completions", json=ASKED)
        own = [name for name, _ in got.headers.multi_items() if name.startswith("x-amp-")]
        assert "x-amp-arm" in own
        assert len(own) == len(set(own))


async def test_a_chat_under_another_path_is_measured() -> None:
    async with serving(either) as upstream, gateway(upstream.url) as amp:
        for number, path in enumerate(("chat/completions/", "/chat%2Fcompletions"), start=1):
            address = amp.url.removeprefix("http://")
            reader, writer = await asyncio.open_connection(*address.split(":"))
            body = json.dumps(ASKED).encode()
            writer.write(
                f"POST /v1/{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n"
                f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            assert b"200" in await reader.readline()
            await reader.read()
            writer.close()
            assert amp.accounts.spent.model_calls == number
            assert upstream.asked[-1].target == f"/v1/{path}"


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 500])
async def test_a_server_that_gives_one_answer_at_a_time_is_asked_for_them_one_by_one(
    status: int,
) -> None:
    no = b'{"error":{"message":"Only one completion choice is allowed"}}'

    def one(asked: Asked) -> Reply:
        return Reply([no], status) if "n" in asked.json else either(asked)

    async with (
        serving(one) as upstream,
        gateway(upstream.url, patience=Patience(retries=0)) as amp,
    ):
        content = json.dumps({**ASKED, "max_tokens": 50}).encode()
        got = await post(amp, "chat/completions", content, **{"x-amp-samples": b"3"})
        assert got.headers["x-amp-votes"] == "2 of 2"


@pytest.mark.slow
async def test_what_breaks_off_unread_is_not_taken_for_whole() -> None:
    sound = Reply(
        [b"x" * 100, 0.01], headers={"content-type": "audio/mpeg"}, streams=True, breaks=True
    )
    async with serving(fixed(sound)) as upstream, gateway(upstream.url) as amp:
        with pytest.raises(httpx2.RemoteProtocolError):
            await post(amp, "audio/speech")
        client = amp_.wrap(AsyncOpenAI(base_url=upstream.url, api_key="k", max_retries=0))
        with pytest.raises(APIConnectionError):
            await client.audio.speech.create(model="m", voice="alloy", input="Hi")


@pytest.mark.slow
async def test_who_has_no_key_keeps_nobody_waiting(tmp_path: Path) -> None:
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    key = accounts.accounts.add("ann")
    async with (
        serving(either) as upstream,
        gateway(upstream.url, accounts=accounts, bounds=Bounds(concurrent=2)) as amp,
    ):
        address = amp.url.removeprefix("http://")
        strangers = [await asyncio.open_connection(*address.split(":")) for _ in range(3)]
        for path, (reader, writer) in zip(("/v1/x", "/v1/responses", "/"), strangers, strict=True):
            head = f"POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 500\r\n\r\n{{"
            writer.write(head.encode())
            assert b" 40" in await reader.readline()
        got = await post(amp, "chat/completions", authorization=f"Bearer {key}".encode())
        assert got.status_code == 200
        for _, writer in strangers:
            writer.close()


@pytest.mark.slow
async def test_who_is_cut_off_at_the_end_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(fixed(Reply([30.0], status=0))) as upstream:
        async with gateway(upstream.url) as amp:
            call = asyncio.create_task(post(amp, "chat/completions"))
            await until(lambda: bool(upstream.asked))
        got = await call
        assert got.status_code == 503
        assert "the gateway ends" in got.text
        assert amp.accounts.spent.estimated_calls == 1
        assert amp.accounts.reserved == {}
    assert "Traceback" not in caplog.text
    assert "Exception" not in caplog.text


@pytest.mark.slow
async def test_who_takes_nothing_of_an_answer_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    """Else it would hold a place, and the upstream's work, for as long as it likes."""
    endless = Reply(
        [b"data: " + b"x" * 1_000_000 + b"\n\n"] * 50,
        headers={"content-type": "text/event-stream"},
        streams=True,
    )
    async with (
        serving(fixed(endless)) as upstream,
        gateway(upstream.url, bounds=Bounds(stalled_seconds=0.2)) as amp,
    ):
        address = amp.url.removeprefix("http://")
        _, writer = await asyncio.open_connection(*address.split(":"))
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket
        body = json.dumps({**ASKED, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await until(lambda: upstream.hung_up == 1)
        await until(lambda: amp.accounts.reserved == {})
        assert amp.accounts.spent.estimated_calls == 1
        writer.close()
    assert "Traceback" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/comple"])
async def test_a_connection_on_which_no_request_comes_is_closed(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "HEAD_SECONDS", 2.0)
    async with serving(fixed(Reply([b"{}"]))) as upstream, gateway(upstream.url) as amp:
        address = amp.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*address.split(":"))
        head = f"POST /v1/files HTTP/1.1\r\nhost: {address}\r\ncontent-length: 2\r\n\r\n".encode()
        for _ in range(2):  # what comes in time is answered, however it is torn
            for part in (head[:9], head[9:], b"{", b"}"):
                writer.write(part)
                await asyncio.sleep(0.01)
            assert b" 200 " in await reader.readline()
            while await reader.readline() not in (b"\r\n", b""):
                pass
            await reader.read(100_000)
        writer.write(sent or head[:1])
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection(*address.split(":"))
        async with asyncio.timeout(30):
            assert await reader.read() == b""  # nothing at all has come
        writer.close()
