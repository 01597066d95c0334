"""Which upstreams answer for a model, in which order, and what each is asked."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.upstream import Asked, Reply, either, serving
from tests.serve.running import gateway

from amp.serve.decide.base import Arm
from amp.serve.dialects.all import CHAT as DIALECT
from amp.serve.exchange import RefusedCallError
from amp.serve.upstreams.fleet import Fleet, Route
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
    renamed = DIALECT.with_arm(sent, Arm(other))
    assert json.loads(renamed) == {**fields, "model": other}
    assert list(json.loads(renamed)) == list(fields)
    assert DIALECT.with_arm(sent, Arm(model)) == sent


def test_numbers_and_spaces_of_a_renamed_request_stay() -> None:
    body = b'{ "x": [{"model": "a"}], "t": 1.10,\n  "model" :  "a" }'
    assert DIALECT.with_arm(body, Arm("b\n")) == body[:-6] + b' "b\\n" }'


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
        httpx2.AsyncClient() as client,
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
