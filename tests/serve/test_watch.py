"""What a gateway keeps of calls, whom it asks the same, who pays for that, and what it takes in."""

from __future__ import annotations

import asyncio
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.fakes.two_models import CHEAP, DEAR, EASY, HARD, priced, question, two_models
from tests.fakes.upstream import Asked, Reply, Upstream, serving
from tests.serve.running import Running, gateway, until

from amp.errors import InvalidInputError
from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.serve.traffic.shadow import Operator, unfit
from amp.serve.traffic.tables import Labelled, TrafficFile
from amp.serve.traffic.writer import Keep, Watching
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.upstream import UpstreamConfig

ROUTE = Route("amp/auto", arms=(CHEAP, DEAR))
CALL_OF_DEAR = (50 * 10 + 50 * 1 + 10 * 40) * 1e-6


@pytest.fixture(autouse=True)
def _chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever draws an arm draws the first one."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


def kept(path: Path) -> tuple[list[Labelled], tuple[int, int, int]]:
    file = TrafficFile(path, create=False)
    try:
        return list(file.labelled()), file.counts()
    finally:
        file.close()


def watching(folder: Path, shadow: float = 1.0, **keep: Any) -> Watching:
    accounts = AccountsFile(folder / "accounts.sqlite")
    if "shadow" not in [key.name for key in accounts.keys()]:  # noqa: SIM118  # no dictionary
        accounts.add("shadow", KeyLimits(dollars_per_day=1.0))
    accounts.close()
    return Watching(folder / "t.sqlite", Keep(**keep), shadow, folder / "accounts.sqlite")


async def told(client: httpx2.AsyncClient, amp: Running, figure: str) -> None:
    """Waits until the gateway's metrics say something."""
    async with asyncio.timeout(60):
        while figure not in (await client.get(f"{amp.url}/metrics")).text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def asked_by(upstream: Upstream, calls: int) -> bool:
    return len(upstream.asked) >= calls


def behind(url: str) -> UpstreamConfig:
    return UpstreamConfig(url, key="sk-of-the-gateway")


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
async def test_a_shadow_says_whether_the_dear_arm_does_the_same(
    tmp_path: Path, stream: bool
) -> None:
    """It is asked after the answer, without a stream, and the operator pays."""
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    ann = accounts.accounts.add("ann")
    headers = {"authorization": f"Bearer {ann}", "x-amp-episode": "sum"}
    async with (
        serving(two_models) as upstream,
        gateway(
            behind(upstream.url), routes=[ROUTE], prices=priced(tmp_path), accounts=accounts,
            watching=watching(tmp_path),
        ) as amp,
        httpx2.AsyncClient(headers=headers, timeout=60) as client,
    ):  # fmt: skip
        url, options = f"{amp.v1}/chat/completions", {"stream": True} if stream else {}
        for at, system in enumerate((EASY, HARD)):
            await client.post(url, json=question(system, 3, 4, **options))
            await until(partial(asked_by, upstream, 2 * at + 2))
        (spend, _) = sorted(accounts.accounts.spend(), key=lambda each: each.key.name)
        assert spend.day.dollars == 2 * (50 * 1 + 50 * 0.1 + 10 * 4) * 1000
        await told(client, amp, 'outcome="other"} 1.0')
        models = [asked.json["model"] for asked in upstream.asked]
        assert models == [CHEAP, DEAR] * 2
        assert not any(asked.json.get("stream") for asked in upstream.asked[1::2])
        assert ann not in str([asked.headers for asked in upstream.asked])
    easy, hard = kept(tmp_path / "t.sqlite")[0]
    assert (easy.call.key, easy.call.episode, easy.call.arm) == ("ann", "sum", CHEAP)
    assert easy.call.usage.dollars == pytest.approx(95e-6)
    assert easy.call.usage.seconds > 0.0
    assert easy.shadow is not None
    assert hard.shadow is not None
    assert (easy.shadow.arm, easy.shadow.dear, easy.shadow.same) == (CHEAP, DEAR, True)
    assert (hard.shadow.arm, hard.shadow.same) == (CHEAP, False)
    assert easy.shadow.own.dollars == pytest.approx(95e-6)
    assert easy.shadow.reference.dollars == pytest.approx(CALL_OF_DEAR)
    assert easy.shadow.paid == pytest.approx(CALL_OF_DEAR)
    assert easy.call.kind != hard.call.kind
    assert (easy.call.asked, easy.call.said) == (None, None)
    books = AccountsFile(tmp_path / "accounts.sqlite")
    (spend,) = books.spend("shadow")
    assert (spend.day.dollars, spend.open_calls) == (round(2 * CALL_OF_DEAR * 1e9), 0)
    books.close()


@pytest.mark.slow
@pytest.mark.parametrize("cached", [0, 40])
async def test_a_shadow_costs_what_it_would_without_the_call_before_it(
    tmp_path: Path, cached: int
) -> None:
    """That has put the prompt into the cache, where the dear arm finds it when asked again."""

    def caching(asked: Asked) -> Reply:
        told = json.loads(two_models(asked).parts[0])  # type: ignore[arg-type]  # it is whole
        found = cached if len(upstream.asked) == 1 else told["usage"]["prompt_tokens"]
        told["usage"]["prompt_tokens_details"] = {"cached_tokens": found}
        return Reply([json.dumps(told).encode()], headers={"content-type": "application/json"})

    async with (
        serving(caching) as upstream,
        gateway(
            behind(upstream.url), routes=[Route("amp/auto", arms=(DEAR, CHEAP))],
            prices=priced(tmp_path), watching=watching(tmp_path),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip
        await client.post(f"{amp.v1}/chat/completions", json=question(EASY, 3, 4))
        await told(client, amp, 'outcome="same"} 1.0')
    ((one,), _) = kept(tmp_path / "t.sqlite")
    assert one.shadow is not None
    assert (one.call.arm, one.shadow.arm, one.shadow.dear) == (DEAR, DEAR, DEAR)
    assert one.shadow.own.dollars == pytest.approx(one.call.usage.dollars)
    assert one.shadow.paid < one.call.usage.dollars


@pytest.mark.slow
async def test_a_shadow_is_asked_in_whatever_api_its_upstream_speaks(tmp_path: Path) -> None:
    upstream_of_chats = partial(UpstreamConfig, key="sk-of-the-gateway", api="chat")
    asked = question(HARD, 3, 4)
    body = {**asked, "system": HARD, "messages": asked["messages"][1:]}
    async with (
        serving(two_models) as upstream,
        gateway(
            upstream_of_chats(upstream.url), routes=[ROUTE], prices=priced(tmp_path),
            watching=watching(tmp_path),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip
        got = await client.post(f"{amp.v1}/messages", json=body)
        assert got.json()["content"][0]["text"] == "#### 7"
        await until(partial(asked_by, upstream, 2))
        await told(client, amp, 'outcome="other"} 1.0')
    ((row,), _) = kept(tmp_path / "t.sqlite")
    assert row.shadow is not None
    assert (row.call.api, row.shadow.dear, row.shadow.same) == ("anthropic", DEAR, False)
    assert row.shadow.reference.dollars == pytest.approx(CALL_OF_DEAR)


@pytest.mark.slow
async def test_shadows_end_with_their_budget_and_calls_go_on(tmp_path: Path) -> None:
    books = AccountsFile(tmp_path / "accounts.sqlite")
    books.add("shadow", KeyLimits(requests_per_day=2))
    books.close()
    async with (
        serving(two_models) as upstream,
        gateway(
            behind(upstream.url), routes=[ROUTE], prices=priced(tmp_path),
            watching=watching(tmp_path, content=True),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip
        for at in range(5):
            body = question(EASY, at, at)
            got = await client.post(f"{amp.v1}/chat/completions", json=body)
            assert got.status_code == 200
            await until(partial(asked_by, upstream, min(2 * at + 2, at + 3)))
        await told(client, amp, 'outcome="budget"} 3.0')
        assert len(upstream.asked) == 7
    rows, counts = kept(tmp_path / "t.sqlite")
    assert counts == (5, 2, 0)
    assert "You add" in (rows[0].call.asked or "")
    assert rows[0].call.said == "0"


@pytest.mark.slow
async def test_no_shadow_of_what_does_something_and_none_in_a_clients_name(tmp_path: Path) -> None:
    async with (
        serving(two_models) as upstream,
        gateway(
            behind(upstream.url), routes=[ROUTE], prices=priced(tmp_path),
            watching=watching(tmp_path),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip
        body = question(EASY, 1, 2, tools=[{"type": "web_search_preview"}])
        await client.post(f"{amp.v1}/chat/completions", json=body)
        await told(client, amp, 'outcome="unfit"} 1.0')
        assert len(upstream.asked) == 1
    with pytest.raises(InvalidInputError, match="is sent the clients' keys"):
        async with gateway("http://127.0.0.1:9/v1", watching=watching(tmp_path)):
            pass


@pytest.mark.slow
async def test_an_arm_whose_effort_is_refused_is_not_judged(tmp_path: Path) -> None:
    """What answered in its place is another arm."""

    def refuses(asked: Asked) -> Reply:
        if "reasoning_effort" in asked.json:
            error = {"error": {"message": "Unsupported parameter: 'reasoning_effort'"}}
            return Reply([json.dumps(error).encode()], status=400)
        return two_models(asked)

    route = Route("amp/auto", arms=(f"{CHEAP}@low", DEAR))
    async with (
        serving(refuses) as upstream,
        gateway(
            behind(upstream.url), routes=[route], prices=priced(tmp_path),
            watching=watching(tmp_path),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip
        got = await client.post(f"{amp.v1}/chat/completions", json=question(EASY, 1, 2))
        assert got.headers["x-amp-arm"] == CHEAP
        await told(client, amp, 'outcome="failed"} 1.0')
    _, counts = kept(tmp_path / "t.sqlite")
    assert counts == (1, 0, 0)


@pytest.mark.slow
async def test_an_outcome_is_taken_from_the_key_whose_episode_it_is(tmp_path: Path) -> None:
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    ann, bob = (
        {"authorization": f"Bearer {accounts.accounts.add(name)}"} for name in ("ann", "bob")
    )
    async with (
        serving(two_models) as upstream,
        gateway(
            behind(upstream.url), routes=[ROUTE], accounts=accounts,
            watching=watching(tmp_path, 0.0),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip
        await client.post(
            f"{amp.v1}/chat/completions", json=question(EASY, 1, 2),
            headers={**ann, "x-amp-episode": "sum"},
        )  # fmt: skip
        url, good = f"{amp.v1}/amp/outcome", {"episode": "sum", "success": 1}
        told = await client.post(url, json=good, headers=ann)
        assert (told.status_code, told.json()["object"]) == (200, "amp.outcome")
        for headers, body, status, said in (
            (bob, good, 404, "there is no episode 'sum' of this key"),
            ({}, good, 401, "unknown key"),
            (ann, {**good, "success": 1.5}, 400, "success"),
            (ann, {**good, "success": float("nan")}, 400, "number NaN"),
            (ann, {**good, "step": 7}, 404, "no step 7"),
            (ann, {**good, "step": -1}, 400, "step"),
            (ann, {**good, "note": "x" * 1001}, 400, "note"),
            (ann, {"success": 1}, 400, "episode"),
            (ann, {**good, "more": 1}, 400, "more"),
            (ann, [1], 400, "no JSON object"),
            (ann, {**good, "note": "x" * 20_000}, 413, "larger"),
        ):
            content = json.dumps(body)
            refused = await client.post(url, content=content, headers=headers)
            assert refused.status_code == status, refused.text
            assert said in refused.json()["error"]["message"]
        assert (await client.get(url, headers=ann)).status_code == 405
        assert len(upstream.asked) == 1
    ((row,), counts) = kept(tmp_path / "t.sqlite")
    assert (row.success, counts) == (1.0, (1, 0, 1))


async def test_where_nothing_is_kept_no_outcome_is_taken() -> None:
    async with (
        gateway("http://127.0.0.1:9/v1") as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await client.post(f"{amp.v1}/amp/outcome", json={"episode": "e", "success": 1})
        assert (got.status_code, "amp serve --traffic" in got.text) == (404, True)


@pytest.mark.slow
async def test_a_shadow_that_fails_or_hangs_costs_no_client_anything(tmp_path: Path) -> None:
    def fails(asked: Asked) -> Reply:
        if asked.json["model"] == DEAR:
            return Reply([300.0, b"{}"])
        return two_models(asked)

    async with asyncio.timeout(60):
        async with (
            serving(fails) as upstream,
            gateway(
                behind(upstream.url), routes=[ROUTE], prices=priced(tmp_path),
                watching=watching(tmp_path),
            ) as amp,
            httpx2.AsyncClient(timeout=60) as client,
        ):  # fmt: skip
            got = await client.post(f"{amp.v1}/chat/completions", json=question(EASY, 1, 2))
            assert got.status_code == 200
            await until(lambda: len(upstream.asked) == 2)
    books = AccountsFile(tmp_path / "accounts.sqlite")
    (spend,) = books.spend("shadow")
    assert spend.open_calls == 0
    assert spend.day.dollars > 0  # what it may have cost
    books.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "r"},
        {"background": True},
        {"conversation": {"id": "c"}},
        {"mcp_servers": [{"url": "https://x"}]},
        {"container": "c"},
        {"n": 2},
        {"tools": [{"type": "function"}, {"type": "mcp"}]},
        {"tools": [{"type": "web_search_20260101", "name": "web_search"}]},
    ],
)
def test_what_does_something_is_not_asked_again(fields: dict[str, Any]) -> None:
    assert unfit(fields)
    assert not unfit({"tools": [{"type": "function"}, {"name": "of_anthropic"}], "n": 1})


def test_who_pays_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    with pytest.raises(InvalidInputError, match="no good key 'shadow'.*amp keys add shadow"):
        Operator(path)
    accounts = AccountsFile(path)
    accounts.add("shadow", KeyLimits(max_concurrent=2))
    with pytest.raises(InvalidInputError, match="has no limit of a day"):
        Operator(path)
    accounts.close()
