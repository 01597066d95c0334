"""What comes through the gateway is what the upstream sent, and what it cost is in the books."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.fakes.upstream import Asked, Reply, chat, either, messages, serving
from tests.serve.running import Running, gateway, given_up, until

from amp.serve.accounts.base import Claim, OpenAccounts, Refusal, Reservation
from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.serve.exchange import Bounds
from amp.serve.upstreams.upstream import UpstreamConfig, is_below_v1

pytestmark = pytest.mark.slow

KEY = "sk-upstream-0123456789abcdef"
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def slow(asked: Asked) -> Reply:
    """A word every 50 milliseconds."""
    return (messages if "messages" in asked.target else chat)(asked, 0.05)


async def chat_with(amp: Running, path: str = "/chat/completions", **fields: Any) -> Any:
    async with httpx2.AsyncClient(timeout=60) as client:
        return await client.post(amp.v1 + path, json={**CHAT, **fields})


async def settled(accounts: OpenAccounts, calls: int) -> None:
    await until(lambda: accounts.spent.model_calls >= calls and not accounts.reserved)


async def test_unknown_paths_and_fields_pass_to_the_byte() -> None:
    body, answer = b'{ "odd" : 1.10,\n "\xc3\xa9":[] }', bytes(range(256)) * 300

    def echo(asked: Asked) -> Reply:
        return Reply(
            [answer], 203, {"content-type": "x/y", "x-thing": "1", "content-encoding": "z"}
        )

    async with (
        serving(echo) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
        client.stream(
            "PUT", f"{amp.v1}/odd%2Fpath?a=%20b&a=2", content=body, headers={"x-mine": "2"}
        ) as got,
    ):
        raw = b"".join([chunk async for chunk in got.aiter_raw()])
        (asked,) = upstream.asked
        assert (asked.method, asked.target, asked.body) == (
            "PUT",
            "/v1/odd%2Fpath?a=%20b&a=2",
            body,
        )
        assert asked.headers["x-mine"] == "2"
        assert (raw, got.status_code) == (answer, 203)
        assert got.headers["content-type"] == "x/y"
        assert (got.headers["x-thing"], got.headers["content-encoding"]) == ("1", "z")
        assert amp.accounts.reserved == {}


@pytest.mark.parametrize("options", [None, {"include_usage": True}])
@pytest.mark.parametrize("path", ["/chat/completions", "/messages", "/responses"])
async def test_a_stream_is_the_upstreams_own(path: str, options: Any) -> None:
    fields = {"stream": True, **({"stream_options": options} if options else {})}
    async with serving(either) as upstream, gateway(upstream.url) as amp:
        got = await chat_with(amp, path, **fields)
        body = json.dumps({**CHAT, **fields}).encode()
        own = either(Asked("POST", path, {}, body)).parts
        assert got.content == b"".join(part for part in own if isinstance(part, bytes))
        assert amp.accounts.spent.estimated_calls == 0
        assert amp.accounts.spent.completion_tokens == 9


async def test_a_server_that_knows_no_usage_in_streams_is_not_asked_for_it() -> None:
    def old(asked: Asked) -> Reply:
        if "stream_options" in asked.json:
            said = b'{"error":{"message":"Unrecognized request argument: stream_options"}}'
            return Reply([said], 400)
        return chat(asked)

    async with serving(old) as upstream, gateway(upstream.url) as amp:
        for _ in range(2):
            got = await chat_with(amp, stream=True)
            assert (got.status_code, got.content[-14:]) == (200, b"data: [DONE]\n\n")
        assert len(upstream.asked) == 3  # found out once
        await settled(amp.accounts, 2)
        assert amp.accounts.spent.estimated_calls == 2
        asked = await chat_with(amp, stream=True, stream_options={"include_usage": True})
        assert asked.status_code == 400


@pytest.mark.parametrize("count", [1, 2, 7])
async def test_a_stream_comes_as_it_is_sent(count: int) -> None:
    def held(asked: Asked) -> Reply:
        """Says nothing more for ten minutes, after so many events."""
        reply = chat(asked)
        return replace(reply, parts=[*reply.parts[:count], 600.0])

    async with (
        serving(held) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        body, come = {**CHAT, "stream": True}, b""
        async with client.stream("POST", f"{amp.v1}/chat/completions", json=body) as got:
            async for chunk in got.aiter_raw():
                come += chunk
                if come.count(b"\n\n") == count:
                    break
        assert upstream.hung_up == 0


@pytest.mark.parametrize("path", ["/chat/completions", "/messages"])
async def test_a_client_that_goes_away_ends_the_upstreams_work_and_pays_what_came(
    path: str,
) -> None:
    async with (
        serving(slow) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        body = {**CHAT, "stream": True, "max_tokens": 1000}
        async with client.stream("POST", amp.v1 + path, json=body) as got:
            async for chunk in got.aiter_raw():
                if b"and" in chunk:
                    break
        await settled(amp.accounts, 1)
        spent = amp.accounts.spent
        assert spent.estimated_calls == 1
        assert len("Two and") <= spent.completion_tokens <= len("Two and two")
        await until(lambda: upstream.hung_up == 1)


async def test_an_answer_without_a_stream_that_is_given_up_costs_its_bounds() -> None:
    async with (
        serving(lambda asked: Reply([30.0], streams=True)) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        body = {**CHAT, "max_tokens": 50, "n": 2}
        call = client.post(f"{amp.v1}/chat/completions", json=body)
        await given_up(call, lambda: len(upstream.asked) == 1)
        await settled(amp.accounts, 1)
        assert amp.accounts.spent.completion_tokens == 100
        assert amp.accounts.spent.estimated_calls == 1


async def test_an_upstream_that_breaks_off_is_told_in_the_stream() -> None:
    def broken(asked: Asked) -> Reply:
        whole = either(asked)
        return Reply([*whole.parts[:3], 0.01], 200, whole.headers, streams=True, breaks=True)

    async with serving(broken) as upstream, gateway(upstream.url) as amp:
        for path, mark in (
            ("/chat/completions", b'\n\ndata: {"error"'),
            ("/messages", b"\nevent: error\n"),
        ):
            got = await chat_with(amp, path, stream=True)
            assert mark in got.content
            assert b"broke off" in got.content
        assert amp.accounts.spent.estimated_calls == 2
        assert amp.accounts.reserved == {}


async def test_refusals_of_the_upstream_pass_free_and_without_its_key() -> None:
    said = json.dumps({"error": {"message": f"bad key {KEY}", "odd": 1}}).encode()

    def refuse(asked: Asked) -> Reply:
        return Reply([said], 429, {"retry-after": "7", "content-type": "application/json"})

    async with (
        serving(refuse) as upstream,
        gateway(UpstreamConfig(upstream.url, key=KEY)) as amp,
    ):
        for path in ("/chat/completions", "/embeddings"):
            got = await chat_with(amp, path)
            assert (got.status_code, got.headers["retry-after"]) == (429, "7")
            assert got.content == said.replace(KEY.encode(), b"[key]")
        assert amp.accounts.spent.model_calls == 0
        assert amp.accounts.reserved == {}
        assert {asked.headers["authorization"] for asked in upstream.asked} == {f"Bearer {KEY}"}


async def test_the_upstreams_key_stands_in_the_form_of_the_clients_api() -> None:
    async with (
        serving(either) as upstream,
        gateway(UpstreamConfig(upstream.url, key=KEY)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        mine = {"x-api-key": "mine", "anthropic-version": "2023-06-01", "x-amp-episode": "e"}
        await client.post(f"{amp.v1}/messages", json=CHAT, headers=mine)
        await client.post(
            f"{amp.v1}/chat/completions", json=CHAT, headers={"authorization": "Bearer mine"}
        )
        first, second = upstream.asked
        assert first.headers["x-api-key"] == KEY
        assert first.headers["anthropic-version"] == "2023-06-01"
        assert second.headers["authorization"] == f"Bearer {KEY}"
        assert not any("mine" in str(each.headers) for each in upstream.asked)
        assert not any(name.startswith("x-amp") for name in first.headers)
        shown = (await client.get(f"{amp.url}/metrics")).text
        assert 'amp_tokens_total{kind="completion",model="m"} 18.0' in shown
        assert KEY not in shown
        assert "mine" not in shown


class Poor(OpenAccounts):
    """Accounts that know one key, and a limit."""

    async def reserve(self, key: str, claim: Claim) -> Reservation | Refusal:
        if key != "known":
            return Refusal("no such key", 401)
        if claim.tokens > 1000:
            return Refusal("the day's tokens are spent")
        return await OpenAccounts.reserve(self, key, claim)


async def test_the_accounts_decide_before_the_upstream_is_asked() -> None:
    async with (
        serving(either) as upstream,
        gateway(upstream.url, accounts=Poor()) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        known = {"authorization": "Bearer known"}
        for path in ("/chat/completions", "/embeddings", "/models"):
            assert (await client.post(amp.v1 + path, json=CHAT)).status_code == 401
        url = f"{amp.v1}/chat/completions"
        dear = await client.post(url, json={**CHAT, "max_tokens": 2000}, headers=known)
        assert (dear.status_code, dear.headers["x-should-retry"]) == (429, "false")
        assert dear.json()["error"]["message"] == "the day's tokens are spent"
        assert upstream.asked == []
        cheap = await client.post(url, json={**CHAT, "max_tokens": 20}, headers=known)
        assert cheap.status_code == 200


async def test_a_budget_holds_however_many_call_at_once(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[openai.m]\nprompt = 10.0\ncached = 1.0\ncompletion = 100.0\n")
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    token = accounts.accounts.add("ann", KeyLimits(dollars_per_day=0.02))
    headers = {"authorization": f"Bearer {token}", "x-amp-episode": "e"}
    async with (
        serving(either) as upstream,
        gateway(
            UpstreamConfig(upstream.url, passes_keys=False), prices=prices, accounts=accounts
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        url = f"{amp.v1}/chat/completions"
        body = {**CHAT, "max_tokens": 20}
        calls = [client.post(url, json=body, headers=headers) for _ in range(64)]
        got = [answer.status_code for answer in await asyncio.gather(*calls)]
        assert set(got) == {200, 429}
        assert len(upstream.asked) == got.count(200)
        (spend,) = accounts.accounts.spend()
        cost = 5 * 10 + 16 * 1 + 9 * 100  # of every answer, in millionths
        assert spend.day.dollars == got.count(200) * cost * 1000  # nano-dollars
        assert spend.day.dollars <= 20_000_000
        assert (spend.day.held_dollars, spend.day.over_dollars, spend.open_calls) == (0, 0, 0)

        assert (await client.post(url, json=body)).status_code == 401
        unpriced = await client.post(url, json={**body, "model": "other"}, headers=headers)
        assert unpriced.status_code == 403
        for dearer in ({"service_tier": "priority"}, {"speed": "fast"}):
            refused = await client.post(url, json={**body, **dearer}, headers=headers)
            assert refused.status_code == 403
        unread = await client.post(f"{amp.v1}/audio/speech", json={}, headers=headers)
        assert unread.status_code == 403
        for path in ("messages/count_tokens", "responses/input_tokens"):  # these cost nothing
            counted = await client.post(f"{amp.v1}/{path}", json={}, headers=headers)
            assert counted.status_code != 403
        assert (await client.get(f"{amp.v1}/models", headers=headers)).status_code == 200
        assert not any(token in str(asked.headers) for asked in upstream.asked)


async def test_embeddings_are_charged_to_keys_with_a_limit_of_dollars(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[openai.m]\nprompt = 10.0\ncached = 10.0\ncompletion = 0.0\n")
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    token = accounts.accounts.add("ann", KeyLimits(dollars_per_day=0.001))
    headers = {"authorization": f"Bearer {token}"}
    async with (
        serving(either) as upstream,
        gateway(upstream.url, prices=prices, accounts=accounts) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        url, asked = f"{amp.v1}/embeddings", {"model": "m", "input": ["a", "b"]}
        got = await client.post(url, json=asked, headers=headers)
        assert (got.status_code, got.headers["x-amp-dollars"]) == (200, "0.000070000")
        (spend,) = accounts.accounts.spend()
        assert (spend.day.dollars, spend.day.tokens, spend.open_calls) == (70_000, 7, 0)
        dear = await client.post(url, json={**asked, "input": "x" * 100}, headers=headers)
        assert dear.status_code == 429
        other = await client.post(url, json={**asked, "model": "other"}, headers=headers)
        assert other.status_code == 403
        assert len(upstream.asked) == 1


async def test_what_the_gateway_refuses_is_said_in_the_dialect() -> None:
    bounds = Bounds(request_bytes=1000)
    async with (
        serving(either) as upstream,
        gateway(UpstreamConfig(upstream.url, api="openai", models=("m",)), bounds=bounds) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        wordless = await chat_with(amp, "/messages", container="c")
        assert wordless.status_code == 400
        assert wordless.json()["type"] == "error"
        assert "field container cannot be translated" in wordless.json()["error"]["message"]
        large = await chat_with(amp, more="x" * 2000)
        assert (large.status_code, large.json()["error"]["type"]) == (413, "invalid_request_error")
        assert (await chat_with(amp, model="other")).status_code == 404
        assert (await client.get(f"{amp.v1}/models")).json()["data"][0]["id"] == "m"
        page = {"origin": "https://elsewhere.example"}
        url = f"{amp.v1}/chat/completions"
        assert (await client.post(url, json=CHAT, headers=page)).status_code == 403
        rebound = {"host": "elsewhere.example"}
        assert (await client.post(url, json=CHAT, headers=rebound)).status_code == 403
        assert (await client.post(url, content=b"[")).status_code == 400
        assert upstream.asked == []
        assert amp.accounts.reserved == {}


async def test_one_call_too_many_is_told_to_come_back() -> None:
    async with serving(slow) as upstream, gateway(upstream.url, bounds=Bounds(concurrent=2)) as amp:
        calls = [chat_with(amp, stream=True) for _ in range(6)]
        got = sorted(each.status_code for each in await asyncio.gather(*calls))
        assert got == [200, 200, 429, 429, 429, 429]
        assert (await chat_with(amp, stream=True)).status_code == 200
        await settled(amp.accounts, 3)


async def test_an_upstream_that_is_not_there() -> None:
    async with gateway("http://127.0.0.1:9/v1") as amp, httpx2.AsyncClient(timeout=60) as client:
        got = await chat_with(amp)
        assert got.status_code == 502
        assert "cannot be reached" in got.json()["error"]["message"]
        assert amp.accounts.spent.model_calls == 0
        assert amp.accounts.reserved == {}
        assert (await client.get(f"{amp.url}/healthz")).status_code == 200
        assert (await client.get(f"{amp.url}/readyz")).status_code == 503


@pytest.mark.parametrize(
    ("target", "below"),
    [
        ("/v1/models", True),
        ("/v1/a%2Fb?x=..", True),
        ("/v1/../admin", False),
        ("/v1/%2e%2e/admin", False),
        ("/v1/a/..%5c..%5cadmin", False),
        ("/v2/models", False),
    ],
)
def test_paths_stay_below_v1(target: str, below: bool) -> None:
    assert is_below_v1(target) is below
