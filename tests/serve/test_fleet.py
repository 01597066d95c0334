"""Which upstreams answer for a model, in which order, and what each is asked."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.upstream import Asked, Reply, either, serving
from tests.serve.running import gateway, until

from amp.models.breaker import Breaker
from amp.serve.decide.base import CallArm
from amp.serve.dialects.apis import CHAT as DIALECT
from amp.serve.exchange import RefusedCallError
from amp.serve.upstreams import fleet as fleet_module
from amp.serve.upstreams.fleet import Fleet, Route
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import UpstreamConfig

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
NOWHERE = "http://127.0.0.1:9/v1"


def names(fleet: Fleet, model: str) -> list[tuple[str, str]]:
    return [(place.upstream.name, place.model) for place in fleet.places(model)]


@pytest.mark.slow  # each upstream reads the certificates
async def test_a_route_says_the_order_and_an_upstream_what_it_has() -> None:
    fleet = Fleet(
        [
            UpstreamConfig(NOWHERE, name="one", models=("gpt-*",)),
            UpstreamConfig(NOWHERE, name="two", rename={"amp/cheap": "small", "gpt-5": "gpt-5-x"}),
            UpstreamConfig(NOWHERE, name="three", models=("claude-*",), rename={"c": "claude-1"}),
        ],
        [Route("amp/*", ("two",)), Route("gpt-4*", ("two", "one"))],
    )
    assert names(fleet, "amp/cheap") == [("two", "small")]
    assert names(fleet, "gpt-4.1") == [("two", "gpt-4.1"), ("one", "gpt-4.1")]
    assert names(fleet, "gpt-5") == [("one", "gpt-5"), ("two", "gpt-5-x")]
    assert names(fleet, "c") == [("two", "c"), ("three", "claude-1")]
    assert fleet.names() == ["amp/cheap", "gpt-5", "c"]
    await fleet.close()


async def test_a_model_that_nobody_has_is_refused_by_name() -> None:
    fleet = Fleet([UpstreamConfig(NOWHERE, models=("gpt-5.4", "other"))])
    with pytest.raises(RefusedCallError, match=r"'gtp-5.4'; did you mean 'gpt-5.4'.*gpt-5.4, othe"):
        fleet.places("gtp-5.4")
    await fleet.close()


TEXT = st.text(max_size=12) | st.sampled_from(['"model":"x"', "\\", '\\"', "m"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("model"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(TEXT, JSON, max_size=3), TEXT, TEXT, st.randoms(use_true_random=False))
def test_a_renamed_request_is_the_same_but_for_the_model(
    rest: dict[str, Any], model: str, other: str, chance: Any
) -> None:
    items = [*rest.items(), ("model", model)]
    chance.shuffle(items)
    fields = {**dict(items), "model": model}
    body = json.dumps(fields, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1]))
    try:
        sent = body.encode()
    except UnicodeEncodeError:
        return
    renamed = DIALECT.with_arm(sent, CallArm(other))
    assert json.loads(renamed) == {**fields, "model": other}
    assert list(json.loads(renamed)) == list(fields)
    assert DIALECT.with_arm(sent, CallArm(model)) == sent


def test_numbers_and_spaces_of_a_renamed_request_stay() -> None:
    body = b'{ "x": [{"model": "a"}], "t": 1.10,\n  "model" :  "a" }'
    assert DIALECT.with_arm(body, CallArm("b\n")) == body[:-6] + b' "b\\n" }'


@pytest.mark.slow
async def test_the_next_upstream_is_asked_where_one_does_not_answer() -> None:
    def busy(asked: Asked) -> Reply:
        return Reply([b'{"error":{"message":"busy"}}'], 503)

    async with (
        serving(busy) as first,
        serving(either) as second,
        gateway(
            UpstreamConfig(NOWHERE, name="gone"),
            UpstreamConfig(first.url, name="busy"),
            UpstreamConfig(second.url, name="good", rename={"m": "m-large"}),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        for streams in (False, True):
            body = {**CHAT, "stream": streams}
            got = await client.post(f"{amp.v1}/chat/completions", json=body)
            assert got.status_code == 200
            assert got.headers["x-amp-upstream"] == "good"
        assert [asked.json["model"] for asked in first.asked] == ["m", "m"]
        assert [asked.json["model"] for asked in second.asked] == ["m-large", "m-large"]
        assert amp.accounts.spent.model_calls == 2
        assert amp.accounts.spent.completion_tokens == 18
        assert amp.accounts.reserved == {}


@pytest.mark.slow
async def test_what_is_not_measured_goes_where_its_model_is() -> None:
    def echo(asked: Asked) -> Reply:
        return Reply([asked.body])

    async with (
        serving(echo) as first,
        serving(echo) as second,
        gateway(
            UpstreamConfig(first.url, name="first", models=("a",)),
            UpstreamConfig(second.url, name="second", models=("b",), rename={"c": "whisper"}),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        for model in ("a", "b", "c"):
            body = f'{{ "input": 1.10,  "model": "{model}" }}'.encode()
            got = await client.post(f"{amp.v1}/moderations", content=body)
            assert got.content == body.replace(b'"c"', b'"whisper"')
        assert (len(first.asked), len(second.asked)) == (1, 2)
        got = await client.post(f"{amp.v1}/moderations", json={"model": "d"})
        assert got.status_code == 404
        await client.post(f"{amp.v1}/files", content=b"no JSON")
        assert len(first.asked) == 2


async def test_each_model_that_is_listed_can_be_looked_up() -> None:
    def lists(asked: Asked) -> Reply:
        return Reply([b'{"data":[{"id":"org/own"}]}'])

    async with (
        serving(lists) as first,
        gateway(
            UpstreamConfig(first.url, name="first", models=("a", "org/*")),
            UpstreamConfig(NOWHERE, name="second", rename={"amp/b": "b"}),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        listed = (await client.get(f"{amp.v1}/models")).json()["data"]
        assert sorted(row["id"] for row in listed) == ["a", "amp/b", "org/own"]
        for row in listed:
            for name in (row["id"], row["id"].replace("/", "%2F")):
                assert (await client.get(f"{amp.v1}/models/{name}")).json() == row
        got = await client.get(f"{amp.v1}/models/other")
        assert (got.status_code, "no upstream lists the model 'other'" in got.text) == (404, True)


@pytest.mark.slow
async def test_calls_stay_away_from_an_upstream_that_is_not_there_until_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ill, now = True, 0.0
    monkeypatch.setattr(fleet_module, "Breaker", partial(Breaker, clock=lambda: now))

    def first_says(asked: Asked) -> Reply:
        return Reply([b'{"error":{"message":"down"}}'], 503) if ill else either(asked)

    patience = Patience(retries=0, failures=3, rest_seconds=0.4)
    async with (
        serving(first_says) as first,
        serving(either) as second,
        gateway(
            UpstreamConfig(first.url, name="first"),
            UpstreamConfig(second.url, name="second", models=("m",)),
            patience=patience,
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):

        async def who(model: str = "m") -> str:
            got = await client.post(f"{amp.v1}/chat/completions", json={**CHAT, "model": model})
            return str(got.headers.get("x-amp-upstream", got.status_code))

        assert [await who() for _ in range(8)] == ["second"] * 8
        assert len(first.asked) == 3
        shown = (await client.get(f"{amp.url}/metrics")).text
        assert 'amp_breaker_open{upstream="first"} 1.0' in shown
        assert 'amp_failovers_total{upstream="second"} 3.0' in shown
        got = await client.post(f"{amp.v1}/chat/completions", json={**CHAT, "model": "other"})
        assert (got.status_code, got.headers["retry-after"]) == (503, "1")
        assert "left alone" in got.json()["error"]["message"]
        now = 0.45
        assert await who() == "second"  # one call looked, in vain
        assert len(first.asked) == 4
        ill = False
        now += 0.85  # twice as long
        assert [await who() for _ in range(3)] == ["first"] * 3
        assert amp.accounts.reserved == {}


@pytest.mark.slow
async def test_the_last_refusal_is_the_clients_with_what_was_tried() -> None:
    said = b'{"error":{"message":"slow down"}}'

    def busy(asked: Asked) -> Reply:
        return Reply([said], 429, {"retry-after-ms": "10", "content-type": "application/json"})

    async with (
        serving(busy) as upstream,
        gateway(upstream.url, patience=Patience(retries=2, pause_seconds=0.01)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await client.post(f"{amp.v1}/chat/completions", json=CHAT)
        assert (got.status_code, got.content) == (429, said)
        assert (got.headers["x-amp-attempts"], got.headers["x-amp-upstream"]) == ("3", "upstream")
        assert len(upstream.asked) == 3
        assert amp.accounts.spent.model_calls == 0
        shown = (await client.get(f"{amp.url}/metrics")).text
        assert 'amp_retries_total{upstream="upstream"} 2.0' in shown


@pytest.mark.slow
async def test_a_client_that_leaves_during_a_pause_is_charged_nothing_and_nobody_is_asked() -> None:
    def busy(asked: Asked) -> Reply:
        return Reply([b"{}"], 429, {"retry-after": "1"})

    async with (
        serving(busy) as upstream,
        gateway(upstream.url) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        call = asyncio.create_task(client.post(f"{amp.v1}/chat/completions", json=CHAT))
        await until(lambda: len(upstream.asked) == 1)
        await asyncio.sleep(0.3)  # now it pauses
        call.cancel()
        await until(lambda: not amp.accounts.reserved)
        await asyncio.sleep(1.5)
        assert len(upstream.asked) == 1
        assert amp.accounts.spent.model_calls == 0


@pytest.mark.slow
async def test_an_answer_that_is_lost_on_its_way_is_charged_before_it_is_asked_for_again() -> None:
    times = iter(range(9))

    def once_lost(asked: Asked) -> Reply:
        return either(asked) if next(times) else Reply(status=0, breaks=True)

    async with (
        serving(once_lost) as upstream,
        gateway(upstream.url, patience=Patience(pause_seconds=0.01)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        got = await client.post(f"{amp.v1}/chat/completions", json={**CHAT, "max_tokens": 50})
        assert (got.status_code, got.headers["x-amp-attempts"]) == (200, "2")
        spent = amp.accounts.spent
        assert (spent.model_calls, spent.estimated_calls) == (2, 1)
        assert spent.completion_tokens == 50 + 9
        assert len(upstream.asked) == 2
