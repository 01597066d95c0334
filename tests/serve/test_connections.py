"""What holds of connections, to clients and to upstreams, whatever is said on them."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable

import httpx2
import pytest
from tests.fakes.upstream import Asked, Reply, either, serving, with_headers
from tests.serve.running import gateway

from amp.errors import InvalidInputError
from amp.serve.app import HEAD_BYTES
from amp.serve.upstreams.answer import UpstreamError
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import Upstream, UpstreamConfig, proxy_to

ASKED = {"model": "m", "messages": [{"role": "user", "content": "2 + 2?"}]}
KEY = "sk-of-the-gateway-4711"


async def test_what_an_upstream_sets_for_one_client_is_not_sent_for_the_next() -> None:
    baker = with_headers({"set-cookie": "session=ann; Path=/"})
    async with serving(baker) as upstream, gateway(upstream.url) as amp:
        for path in ("chat/completions", "files"):
            async with httpx2.AsyncClient(timeout=60) as client:
                got = await client.post(f"{amp.v1}/{path}", json=ASKED)
            assert "ann" in got.headers["set-cookie"]
        async with httpx2.AsyncClient(timeout=60) as client:
            await client.get(f"{amp.v1}/models", headers={"cookie": "mine=1"})
        assert [asked.headers.get("cookie") for asked in upstream.asked] == [None, None, "mine=1"]


@pytest.mark.parametrize("size", [5, 3_000_000])
async def test_a_body_passes_whatever_its_size(size: int) -> None:
    def echo(asked: Asked) -> Reply:
        return Reply([asked.body])

    async with (
        serving(echo) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await client.post(f"{amp.v1}/files", content=b"x" * size)
        assert got.content == b"x" * size
        assert "transfer-encoding" not in upstream.asked[0].headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT"])
async def test_no_body_is_announced_where_there_is_none(method: str) -> None:
    """Servers refuse a GET with one, and may take what follows on the connection for it."""
    async with (
        serving(lambda asked: Reply()) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        for _ in range(2):
            assert (await client.request(method, f"{amp.v1}/files/1")).status_code == 200
        asked = [each.headers for each in upstream.asked]
        assert {each.get("content-length", "0") for each in asked} == {"0"}
        assert not any("transfer-encoding" in each for each in asked)


async def test_what_has_not_changed_has_no_body() -> None:
    """Its length may be told all the same."""
    async with (
        serving(lambda asked: Reply([], 304, {"etag": "7", "content-length": "100"})) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        for _ in range(2):
            got = await client.get(f"{amp.v1}/files/1", headers={"if-none-match": "7"})
            assert (got.status_code, got.content, got.headers["etag"]) == (304, b"", "7")
        assert len(upstream.asked) == 2


async def test_a_status_that_there_is_not_is_no_answer() -> None:
    async with (
        serving(lambda asked: Reply([b"denied"], 999)) as upstream,
        gateway(upstream.url, patience=Patience(retries=0)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        for path in ("chat/completions", "files"):
            got = await client.post(f"{amp.v1}/{path}", json=ASKED)
            assert (got.status_code, "status 999" in got.text) == (502, True)
        assert amp.accounts.spent.model_calls == 0


async def test_headers_that_no_client_would_read_are_no_answer() -> None:
    """Each is allowed; together they are more than clients take."""
    many = {f"x-{number}": "a" * 7_000 for number in range(10)}
    async with (
        serving(lambda asked: Reply([b"{}"], headers=many)) as upstream,
        gateway(upstream.url, patience=Patience(retries=0)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await client.post(f"{amp.v1}/files", json=ASKED)
        assert (got.status_code, "headers of over 65,536 bytes" in got.text) == (502, True)


async def test_what_came_before_a_connection_broke_is_given_first() -> None:
    """Also where the client is so slow that it is still to be read then."""
    parts = [b"a" * 10_000, b"b" * 10_000]
    async with serving(lambda asked: Reply(parts, streams=True, breaks=True)) as server:
        upstream, came = Upstream(UpstreamConfig(server.url)), b""
        with pytest.raises(UpstreamError, match="broke off") as error:
            async with upstream.asked("GET", "/v1/x", [], b"", plain=True) as answer:
                await asyncio.sleep(0.3)
                async for chunk in answer.chunks:
                    came += chunk
        assert (came, error.value.begun) == (b"".join(parts), True)
        await upstream.close()


async def test_an_upstream_that_takes_nothing_says_nothing() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # a socket's
        ends.append(writer)

    ends: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    behind = UpstreamConfig(f"http://{host}:{port}/v1", timeout_seconds=0.5)
    async with (
        gateway(behind, patience=Patience(retries=0)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await client.post(f"{amp.v1}/files", content=b"x" * 30_000_000)
        assert (got.status_code, "said nothing" in got.text) == (504, True)
    for writer in ends:
        writer.transport.abort()
    server.close()


@pytest.mark.parametrize(
    ("coding", "pack", "readable"),
    [
        ("gzip", gzip.compress, True),
        ("gzip", lambda text: text, False),
        ("gzip", lambda text: gzip.compress(text)[:-9], False),
        ("br", lambda text: text, False),
    ],
)
async def test_a_refusal_does_not_show_the_key_however_it_is_packed(
    coding: str, pack: Callable[[bytes], bytes], readable: bool
) -> None:
    def refuse(asked: Asked) -> Reply:
        said = f"no such file; you are {asked.headers['authorization']}"
        return Reply([pack(said.encode())], 404, {"content-encoding": coding})

    async with (
        serving(refuse) as upstream,
        gateway(UpstreamConfig(upstream.url, key=KEY)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await client.get(f"{amp.v1}/files/1")
        assert (got.status_code, "content-encoding" in got.headers) == (404, False)
        assert KEY.encode() not in got.content
        assert ("no such file" in got.text) == readable
        assert ("cannot be read" in got.text) == (not readable)


async def test_a_client_may_offer_to_speak_otherwise() -> None:
    body = json.dumps(ASKED).encode()
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\n"
    async with serving(either) as upstream, gateway(upstream.url) as amp:
        address = amp.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*address.split(":"))
        for _ in range(2):
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\n".encode() + offer
            writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            async with asyncio.timeout(60):
                told = await reader.readuntil(b"\r\n\r\n")
                assert b" 200 " in told
                length = next(line for line in told.split(b"\r\n") if b"content-length" in line)
                await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()
        assert [asked.body for asked in upstream.asked] == [body, body]


async def cut_off(writer: asyncio.StreamWriter) -> None:
    """Sends one header after the other, until the connection is closed."""
    line = b"x-more: " + b"x" * 1_000 + b"\r\n"
    with pytest.raises(ConnectionError):
        for _ in range(100 * HEAD_BYTES // len(line)):
            writer.write(line)
            await writer.drain()
            await asyncio.sleep(0)
    writer.close()


async def test_a_head_without_an_end_is_not_kept() -> None:
    async with serving(either) as upstream, gateway(upstream.url) as amp:
        address = amp.url.removeprefix("http://")
        _, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n")
        await cut_off(writer)
        assert upstream.asked == []


async def test_a_head_without_an_end_is_not_kept_while_an_answer_is_made() -> None:
    slow = Reply(
        [b"data: {}\n\n", 60.0], headers={"content-type": "text/event-stream"}, streams=True
    )
    async with serving(lambda asked: slow) as upstream, gateway(upstream.url) as amp:
        address, body = amp.url.removeprefix("http://"), json.dumps(ASKED).encode()
        reader, writer = await asyncio.open_connection(*address.split(":"))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\n".encode()
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"data: {}")
        writer.write(head)
        await cut_off(writer)


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_request_that_is_sent_ahead_is_answered(size: int) -> None:
    turns = iter((Reply([b"first"]), Reply([b"second"])))
    async with serving(lambda asked: next(turns)) as upstream, gateway(upstream.url) as amp:
        address = amp.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*address.split(":"))
        head = f"POST /v1/files HTTP/1.1\r\nhost: {address}\r\ncontent-length: {size}\r\n\r\n"
        writer.write((head.encode() + b"x" * size) * 2)
        async with asyncio.timeout(60):
            assert await reader.readuntil(b"first")
            assert await reader.readuntil(b"second")
        writer.close()
        assert [len(asked.body) for asked in upstream.asked] == [size, size]


async def test_the_environment_names_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(either) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "elsewhere.example")
        async with (
            gateway("http://there.example/v1") as amp,
            httpx2.AsyncClient(timeout=60, trust_env=False) as client,
        ):
            got = await client.post(f"{amp.v1}/chat/completions", json=ASKED)
            assert got.status_code == 200
        assert proxy.asked[0].target == "http://there.example/v1/chat/completions"
        assert proxy_to("http://elsewhere.example/v1") is None
        assert proxy_to("https://there.example/v1") is None
        monkeypatch.setenv("all_proxy", "user:pass@there.example:3128")
        assert proxy_to("https://there.example/v1") == "http://user:pass@there.example:3128"
        monkeypatch.setenv("https_proxy", "socks5://user:SECRET@there.example:1080")
        with pytest.raises(InvalidInputError, match="'socks5' for there.example") as error:
            proxy_to("https://there.example/v1")
        assert "SECRET" not in str(error.value)
