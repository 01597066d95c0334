"""`amp serve` as people start it and as systems end it."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from tests.fakes.upstream import Asked, Reply, chat, either, serving
from typer.testing import CliRunner

from amp.cli.app import app
from amp.errors import InvalidInputError
from amp.serve.app import listen
from amp.serve.config import ServeConfig
from amp.serve.upstreams.upstream import Upstream, UpstreamConfig, read_api

KEY = "sk-upstream-0123456789abcdef"


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["serve", *arguments])
    assert done.exception is not None
    return str(done.exception)


@pytest.mark.slow
def test_what_is_wrong_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    url = "http://127.0.0.1:9/v1"
    assert "expected one where there is no" in refused("--model", "a", "--model", "b")
    assert "unknown model 'a'" in refused("--model", "a")
    assert "expected http" in refused("--upstream", "nonsense")
    assert "NO_SUCH_KEY is not set" in refused(
        "--upstream", url, "--upstream-key-env", "NO_SUCH_KEY"
    )
    assert "did you mean 'openai'" in refused("--upstream", url, "--upstream-api", "openay")
    assert "unknown effort 'lo'" in refused("--upstream", url, "--policy", "rules", "--arm", "m@lo")
    assert "no-such-policy" in refused("--upstream", url, "--policy", "no-such-policy")
    assert "did you mean 'rules'?" in refused("--upstream", url, "--policy", "rulse")
    assert "name the place of the keys" in refused("--upstream", url, "--operator", "boss")


@pytest.mark.slow
def test_a_check_sees_that_traffic_cannot_be_kept_or_shadows_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    Path("other.sqlite").write_text("no traffic")
    asked = ["--check", "--upstream", "http://127.0.0.1:9/v1", "--traffic"]
    assert "other.sqlite is damaged or holds no" in refused(*asked, "other.sqlite")
    shadow = [*asked, "traffic.sqlite", "--shadow", "0.1"]
    assert "the upstream is sent the clients' keys" in refused(*shadow)
    own = ["--upstream-key-env", "UPSTREAM_KEY"]
    assert "no good key 'shadow' that pays for shadows" in refused(*shadow, *own)


def test_nothing_waits_for_more_to_send() -> None:
    with listen(ServeConfig([UpstreamConfig("http://127.0.0.1:9/v1")], port=0)) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("--upstream", "http://127.0.0.1:9/v1", "--port", port)
    assert "cannot be listened at (Address already in use)" in said


@pytest.mark.parametrize(
    ("url", "api", "base"),
    [
        ("https://api.openai.com/v1", "openai", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/chat/completions", "openai", "https://api.openai.com/v1"),
        ("https://api.anthropic.com", "anthropic", "https://api.anthropic.com/v1"),
        ("http://127.0.0.1:8000", "both", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/api/v3/", "both", "http://127.0.0.1:8000/api/v3"),
    ],
)
async def test_an_address_is_what_clients_are_given(url: str, api: str, base: str) -> None:
    upstream = Upstream(UpstreamConfig(url))
    assert (upstream.api, upstream.base) == (api, base)
    await upstream.close()


def test_an_api_has_a_name() -> None:
    assert read_api(None) is None
    assert read_api("both") == "both"
    with pytest.raises(InvalidInputError, match="unknown API"):
        read_api("bot")


async def started(folder: Path, *options: str) -> tuple[asyncio.subprocess.Process, str]:
    """A gateway in a process of its own, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "amp", "serve", *options, "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=PIPE, stderr=PIPE)
    address = f"http://127.0.0.1:{port}"
    try:
        async with httpx2.AsyncClient(timeout=60) as client, asyncio.timeout(60):
            while True:
                try:
                    await client.get(f"{address}/healthz")
                    return process, address
                except httpx2.ConnectError:
                    await asyncio.sleep(0.05)
    except TimeoutError:
        process.kill()  # it would go on when the test is over
        raise


@pytest.mark.slow
async def test_calls_under_way_end_after_sigterm(tmp_path: Path) -> None:
    def slow(asked: Asked) -> Reply:
        return chat(asked, 0.1)

    async with serving(slow) as upstream, httpx2.AsyncClient(timeout=60) as client:
        process, address = await started(tmp_path, "--upstream", upstream.url)
        body = {"model": "m", "messages": [], "stream": True}
        content = b""
        async with client.stream("POST", f"{address}/v1/chat/completions", json=body) as got:
            async for chunk in got.aiter_raw():
                if not content:
                    process.send_signal(signal.SIGTERM)
                content += chunk
        assert content.endswith(b"data: [DONE]\n\n")
        out, err = await process.communicate()
        assert process.returncode == 0
        assert out.startswith(b"amp serves http://127.0.0.1:")
        assert b"Traceback" not in err


@pytest.mark.slow
async def test_decisions_are_explained_in_a_line(tmp_path: Path) -> None:
    async with serving(chat) as upstream, httpx2.AsyncClient(timeout=60) as client:
        options = ("--upstream", upstream.url, "--policy", "rules", "--arm", "m@low", "--explain")
        process, address = await started(tmp_path, *options)
        body = {"model": "m", "messages": [{"role": "user", "content": "zebra"}]}
        headers = {"x-amp-episode": "mine"}
        await client.post(f"{address}/v1/chat/completions", json=body, headers=headers)
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
        said = "mine step 0: m (rules: nothing speaks for more or less)"
        assert out.decode().splitlines()[1:] == [said]


@pytest.mark.slow
async def test_a_check_reaches_the_upstream_and_shows_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    async with serving(either) as upstream:
        command = [sys.executable, "-m", "amp", "serve", "--check", "--upstream", upstream.url]
        process = await asyncio.create_subprocess_exec(
            *command, "--upstream-key-env", "UPSTREAM_KEY", cwd=tmp_path, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert out.decode().splitlines() == [
            f"upstream at {upstream.url}, OpenAI and Anthropic APIs, a key of its own: it answers"
        ]
        assert KEY.encode() not in out
        (asked,) = upstream.asked
        assert asked.headers["authorization"] == f"Bearer {KEY}"


TWO = """
[serve]
retries = 0
[serve.upstreams.one]
url = "{one}"
free = true
models = ["m", "small-*"]
[serve.upstreams.two]
url = "{two}"
free = true
rename = {{ "amp/cheap" = "small" }}
[[serve.routes]]
model = "m"
upstreams = ["{first}", "{second}"]
"""


@pytest.mark.slow
async def test_a_check_says_of_each_upstream_whether_it_answers(tmp_path: Path) -> None:
    async with serving(either) as upstream:
        nowhere = "http://127.0.0.1:9/v1"
        told = TWO.format(one=upstream.url, two=nowhere, first="one", second="two")
        (tmp_path / "amp.toml").write_text(told)
        command = [sys.executable, "-m", "amp", "serve", "--check"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate()
        apis = "OpenAI and Anthropic APIs, no key"
        assert out.decode().splitlines() == [
            f"one at {upstream.url}, {apis}: it answers",
            f"two at {nowhere}, {apis}: the upstream cannot be reached (ClientConnectorError)",
        ]
        assert err == b"amp: 1 of 2 upstreams cannot be used: two\n"
        assert process.returncode != 0


@pytest.mark.slow
async def test_what_is_told_anew_counts_and_what_is_wrong_does_not(tmp_path: Path) -> None:
    def slow(asked: Asked) -> Reply:
        return either(asked) if asked.method == "GET" else chat(asked, 0.1)

    async with (
        serving(slow) as one,
        serving(slow) as two,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        file = tmp_path / "amp.toml"
        file.write_text(TWO.format(one=one.url, two=two.url, first="one", second="two"))
        process, address = await started(tmp_path)
        assert process.stderr is not None

        async def asked() -> str:
            got = await client.post(
                f"{address}/v1/chat/completions", json={"model": "m", "messages": []}
            )
            return str(got.headers["x-amp-upstream"])

        assert await asked() == "one"
        listed = (await client.get(f"{address}/v1/models")).json()["data"]
        assert [row["id"] for row in listed] == ["m", "amp/cheap", "gpt-5.4-mini"]

        url = f"{address}/v1/chat/completions"
        body = {"model": "m", "messages": [], "stream": True}
        async with client.stream("POST", url, json=body) as under_way:
            gone = TWO.format(one=two.url, two=two.url, first="two", second="one")
            file.write_text(gone)
            process.send_signal(signal.SIGHUP)
            said = await process.stderr.readline()
            assert said == b"amp: turned to 2 upstreams (one, two)\n"
            assert await asked() == "two"
            content = await under_way.aread()
            assert content.endswith(b"data: [DONE]\n\n")  # of an upstream that is gone since
        assert len(one.asked) == 3

        for wrong, complaint in (
            ("[serve", b"amp.toml is not TOML"),
            (gone.replace("url", "ulr"), b"amp.toml: unknown key 'serve.upstreams.one.ulr'"),
            (gone + '[[serve.routes]]\nmodel = "x"\npolicy = "no.npz"\n', b"no.npz"),
            (
                gone.replace("retries", 'accounts = "x"\nretries'),
                b"serve.accounts is another place",
            ),
            (
                gone.replace("retries", "drain_seconds = 9\nretries"),
                b"; drain_seconds will be, after",
            ),
        ):
            file.write_text(wrong)
            process.send_signal(signal.SIGHUP)
            said = await process.stderr.readline()
            assert complaint in said
            assert await asked() == "two"
        process.send_signal(signal.SIGTERM)
        assert (await process.communicate())[1] == b""
        assert process.returncode == 0


@pytest.mark.slow
async def test_a_model_on_this_machine_is_served_in_both_apis(smollm2: str, tmp_path: Path) -> None:
    process, address = await started(tmp_path, "--model", smollm2)
    long = "Tell a long story."  # more than 8 tokens
    body: dict[str, Any] = {"model": smollm2, "max_tokens": 8}
    body["messages"] = [{"role": "user", "content": long}]
    try:
        async with (
            AsyncOpenAI(base_url=f"{address}/v1", api_key="any") as openai,
            AsyncAnthropic(base_url=address, api_key="any") as anthropic,
        ):
            assert [model.id for model in (await openai.models.list()).data] == [smollm2]
            assert (await openai.models.retrieve(smollm2)).id == smollm2
            assert (await openai.chat.completions.create(**body)).model == smollm2
            stream = await openai.chat.completions.create(**body, stream=True)
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            whole = await anthropic.messages.create(**body)
            assert 1 <= whole.usage.output_tokens <= 8
        async with httpx2.AsyncClient(timeout=60) as client:
            shown = (await client.get(f"{address}/metrics")).text
        told = re.search(rf'amp_tokens_total{{kind="completion",model="{smollm2}"}} (\S+)', shown)
        assert told is not None
        assert whole.usage.output_tokens < float(told[1]) <= 24
        assert f'amp_estimated_calls_total{{model="{smollm2}"}} 0.0' in shown
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
