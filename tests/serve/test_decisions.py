"""Decisions through a running gateway: what reaches the upstream, and what the client hears."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.fakes.upstream import Asked, Reply, chat, either, messages, responses, serving
from tests.serve.running import Running, gateway, given_up, until

from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import Api, UpstreamConfig

pytestmark = pytest.mark.slow

PATHS = ("/chat/completions", "/messages", "/responses")
RULES = [Route("*", policy="rules")]


def asking(path: str, **fields: Any) -> dict[str, Any]:
    """A request after a tool's result that is fine."""
    call = {"name": "add", "arguments": "{}"}
    if path == "/messages":
        use = {"type": "tool_use", "id": "c", "name": "add", "input": {}}
        back = {"type": "tool_result", "tool_use_id": "c", "content": "4"}
        said = [
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [back]},
        ]
        return {"model": "m", "max_tokens": 500, "messages": said, **fields}
    if path == "/responses":
        items = [
            {"role": "user", "content": "2 + 2?"},
            {"type": "function_call", "call_id": "c", **call},
            {"type": "function_call_output", "call_id": "c", "output": "4"},
        ]
        return {"model": "m", "input": items, **fields}
    calls = [{"id": "c", "type": "function", "function": call}]
    said = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "4"},
    ]
    return {"model": "m", "messages": said, **fields}


async def post(amp: Running, path: str, fields: Any, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=60) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(amp.v1 + path, json=fields, headers=named)


EFFORT: dict[str, dict[str, Any]] = {
    "/chat/completions": {"reasoning_effort": "low"},
    "/messages": {"output_config": {"effort": "low"}},
    "/responses": {"reasoning": {"effort": "low"}},
}


@pytest.mark.parametrize("path", PATHS)
async def test_a_routine_call_gets_less_effort_in_each_api(path: str) -> None:
    async with serving(either) as upstream, gateway(upstream.url, routes=RULES) as amp:
        got = await post(amp, path, asking(path))
        assert got.status_code == 200
        assert upstream.asked[0].json == {**asking(path), **EFFORT[path]}
        assert got.headers["x-amp-arm"] == "m@low"
        assert got.headers["x-amp-decision"] == "rules: goes on after a result that is fine"


@pytest.mark.parametrize("path", PATHS)
async def test_the_clients_effort_reaches_the_upstream_to_the_byte(path: str) -> None:
    own = {**EFFORT[path], "odd": 1.5}
    async with serving(either) as upstream, gateway(upstream.url, routes=RULES) as amp:
        got = await post(amp, path, asking(path, **own))
        assert upstream.asked[0].json == asking(path, **own)
        assert got.headers["x-amp-arm"] == "m"


async def test_an_effort_that_is_refused_is_left_out_and_not_tried_again() -> None:
    def old(asked: Asked) -> Reply:
        if "reasoning_effort" in asked.json:
            return Reply([b'{"error":{"message":"Unrecognized argument: reasoning_effort"}}'], 400)
        return chat(asked)

    path = PATHS[0]
    async with serving(old) as upstream, gateway(upstream.url, routes=RULES) as amp:
        for _ in range(2):
            got = await post(amp, path, asking(path))
            assert (got.status_code, got.headers["x-amp-arm"]) == (200, "m")
        assert len(upstream.asked) == 3  # found out once
        shown = (await decisions(amp)).json()["decisions"]
        assert [each["status"] for each in shown] == [200, 200]
        assert amp.accounts.spent.model_calls == 2


async def test_what_is_refused_without_an_effort_too_teaches_nothing() -> None:
    def never(asked: Asked) -> Reply:
        return Reply([b'{"error":{"message":"messages: too long"}}'], 400)

    path = PATHS[0]
    async with serving(never) as upstream, gateway(upstream.url, routes=RULES) as amp:
        for _ in range(2):
            got = await post(amp, path, asking(path))
            assert (got.status_code, got.json()["error"]["message"]) == (400, "messages: too long")
        assert ["reasoning_effort" in asked.json for asked in upstream.asked] == [1, 0, 1, 0]


async def test_an_effort_that_the_upstreams_api_can_not_take_is_left_out() -> None:
    # A client of OpenAI's API, and a model of Anthropic's that takes a budget of thinking.
    routes = [Route("*", policy="rules", arms=("claude-haiku-4-5@high",))]
    fields = {"model": "best", "messages": QUESTION, "temperature": 0.5, "max_tokens": 9_000}
    async with (
        serving(either) as upstream,
        gateway(UpstreamConfig(upstream.url, api="anthropic"), routes=routes) as amp,
    ):
        got = await post(amp, PATHS[0], fields)
        assert "thinking" not in upstream.asked[0].json
        assert got.headers["x-amp-arm"] == "claude-haiku-4-5"
        why = "; effort high is left out: the client sets temperature, which the API refuses"
        assert why in got.headers["x-amp-decision"]


async def test_a_name_of_ours_stands_for_an_arm() -> None:
    routes = [Route("amp/cheap", arms=("small@low",))]
    fields = {"model": "amp/cheap", "messages": [{"role": "user", "content": "Hi"}]}
    async with serving(either) as upstream, gateway(upstream.url, routes=routes) as amp:
        await post(amp, PATHS[0], fields)
        assert upstream.asked[0].json == {**fields, "model": "small", "reasoning_effort": "low"}


def saying(*texts: str, takes_n: bool) -> Callable[[Asked], Reply]:
    """An upstream that answers with one text after another."""
    left = list(texts)

    def answer(asked: Asked) -> Reply:
        fields = asked.json
        assert not fields.get("stream")
        api = next(each for each in (messages, responses, chat) if each.__name__ in asked.target
                   or each is chat)  # fmt: skip
        if fields.get("n", 1) > 1 and not takes_n:
            return Reply([b'{"error":{"message":"n is not supported"}}'], 400)
        (body,) = api(asked).parts
        assert isinstance(body, bytes)
        found = json.loads(body)
        if api is chat:
            for choice in found["choices"]:
                choice["message"]["content"] = left.pop(0)
        elif api is messages:
            found["content"][0]["text"] = left.pop(0)
        else:
            found["output"][-1]["content"][0]["text"] = left.pop(0)
        return Reply([json.dumps(found).encode()], headers={"content-type": "application/json"})

    return answer


def said_in(path: str, answer: dict[str, Any]) -> str:
    if path == "/messages":
        return str(answer["content"][0]["text"])
    if path == "/responses":
        return str(answer["output"][-1]["content"][0]["text"])
    return str(answer["choices"][0]["message"]["content"])


QUESTION = [{"role": "user", "content": "2 + 2?"}]


@pytest.mark.parametrize("takes_n", [True, False])
@pytest.mark.parametrize("path", PATHS)
async def test_answers_vote_and_all_of_them_are_charged(path: str, takes_n: bool) -> None:
    texts = ("It is so: the answer is 5", "Thus the answer is 4.", "**Answer: 4**")
    asked = {"input": QUESTION} if path == "/responses" else {"messages": QUESTION}
    fields = {"model": "m", "max_tokens": 100, **asked}
    async with (
        serving(saying(*texts, takes_n=takes_n)) as upstream,
        gateway(upstream.url) as amp,
    ):
        got = await post(amp, path, fields, x_amp_samples="3")
        answer = got.json()
        assert said_in(path, answer) == texts[1]
        assert got.headers["x-amp-votes"] == "2 of 3"
        # The first two differ; the third comes alone.
        calls = 2 if takes_n and path == PATHS[0] else 3
        assert answer["usage"]["amp"]["calls"] == calls
        assert amp.accounts.spent.model_calls == calls
        assert amp.accounts.reserved == {}
        told = answer["usage"].get("completion_tokens", answer["usage"].get("output_tokens"))
        assert told == amp.accounts.spent.completion_tokens


@pytest.mark.parametrize("usage", [True, False])
async def test_an_answer_that_was_voted_on_streams(usage: bool) -> None:
    upstreams = saying("4", "5", "4", takes_n=True)
    async with serving(upstreams) as upstream, gateway(upstream.url) as amp:
        client = openai.AsyncOpenAI(base_url=amp.v1, api_key="x", max_retries=0)
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "2 + 2?"}],
            stream=True,
            stream_options={"include_usage": usage},
            extra_headers={"x-amp-samples": "3"},
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "4"
        assert chunks[-1 - usage].choices[0].finish_reason == "stop"
        assert (chunks[-1].usage is not None) == usage
        await client.close()


async def test_a_message_that_was_voted_on_streams() -> None:
    import anthropic

    async with (
        serving(saying("4", "5", "4", takes_n=True)) as upstream,
        gateway(upstream.url) as amp,
    ):
        client = anthropic.AsyncAnthropic(base_url=amp.url, api_key="x", max_retries=0)
        headers = {"x-amp-samples": "3"}
        async with client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}],
            extra_headers=headers,
        ) as stream:  # fmt: skip
            message = await stream.get_final_message()
        assert message.content[0].model_dump()["text"] == "4"
        assert message.usage.output_tokens == amp.accounts.spent.completion_tokens
        await client.close()


async def test_of_samples_that_fail_some_the_others_vote() -> None:
    turns = iter((False, True, False))

    def flaky(asked: Asked) -> Reply:
        if next(turns):
            return Reply([b'{"type":"error","error":{"message":"no"}}'], 400)
        return messages(asked)

    async with serving(flaky) as upstream, gateway(upstream.url) as amp:
        fields = {"model": "m", "max_tokens": 9, "messages": QUESTION}
        got = await post(amp, "/messages", fields, x_amp_samples="3")
        assert got.headers["x-amp-votes"] == "2 of 2"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/chat/completions", {"object": "list"}),
        ("/chat/completions", {"choices": ["four"]}),
        ("/messages", {"type": "message"}),
        ("/messages", {"type": "message", "content": ["four", "five"]}),
    ],
)
async def test_answers_that_are_none_do_not_vote(path: str, said: object, stream: bool) -> None:
    body = json.dumps(said).encode()
    async with serving(lambda asked: Reply([body])) as upstream, gateway(upstream.url) as amp:
        fields = {"model": "m", "max_tokens": 9, "messages": QUESTION, "stream": stream}
        got = await post(amp, path, fields, x_amp_samples="3")
        assert (got.status_code, "can be read" in got.text) == (502, True)
        assert amp.accounts.spent.model_calls > 0


async def decisions(amp: Running, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=60) as client:
        return await client.get(f"{amp.v1}/amp/decisions?n=2", headers=headers)


async def test_decisions_can_be_read_on_this_machine() -> None:
    async with serving(either) as upstream, gateway(upstream.url, routes=RULES) as amp:
        for _ in range(3):
            await post(amp, PATHS[0], asking(PATHS[0]), x_amp_episode="mine")
        shown = (await decisions(amp)).json()["decisions"]
        assert [each["episode"] for each in shown] == ["mine"] * 2
        assert (shown[0]["arm"], shown[0]["status"]) == ("m@low", 200)
        assert [each["arm"] for each in shown[0]["arms"]] == ["m", "m@low", "m@high"]
        assert shown[0]["features"]["after_tool"] == 1.0
        # It is no call of the upstream's.
        assert len(upstream.asked) == 3


async def test_with_accounts_each_key_sees_its_own_decisions(tmp_path: Path) -> None:
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    ann, bob = (accounts.accounts.add(name) for name in ("ann", "bob"))
    async with (
        serving(either) as upstream,
        gateway(UpstreamConfig(upstream.url, passes_keys=False), accounts=accounts) as amp,
    ):
        await post(amp, PATHS[0], asking(PATHS[0]), authorization=f"Bearer {ann}")
        seen = [
            await decisions(amp, authorization=f"Bearer {key}") for key in (ann, bob, "sk-other")
        ]
        assert [len(each.json()["decisions"]) for each in seen[:2]] == [1, 0]
        assert seen[2].status_code == 401
        assert (await decisions(amp)).status_code == 401


async def test_samples_hold_a_budget_like_all_calls(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[anthropic.m]\nprompt = 0.0\ncached = 0.0\ncompletion = 1000.0\n")
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    # Of 10 tokens at most each, so a third one can't be reserved for.
    key = accounts.accounts.add("ann", KeyLimits(dollars_per_day=0.025))
    fields = {"model": "m", "max_tokens": 10, "messages": QUESTION}
    async with (
        serving(saying("4", "5", "4", takes_n=False)) as upstream,
        gateway(
            UpstreamConfig(upstream.url, passes_keys=False), accounts=accounts, prices=prices
        ) as amp,
    ):
        got = await post(amp, "/messages", fields, x_amp_samples="3", x_api_key=key)
        assert got.headers["x-amp-votes"] == "1 of 2"
        assert len(upstream.asked) == 2
        assert float(got.headers["x-amp-dollars"]) == pytest.approx(0.018)


@pytest.mark.parametrize(
    ("texts", "asked", "votes"),
    [
        (("4", "4"), 1, "2 of 2"),  # they agree
        (("An essay. " * 40, "A poem. " * 40), 1, "0 of 2"),  # nothing could ever agree
        (("4", "5", "6", "7"), 2, "1 of 4"),
    ],
)
async def test_no_more_answers_are_asked_for_than_settle_it(
    texts: tuple[str, ...], asked: int, votes: str
) -> None:
    async with serving(saying(*texts, takes_n=True)) as upstream, gateway(upstream.url) as amp:
        fields = {"model": "m", "messages": QUESTION}
        got = await post(amp, PATHS[0], fields, x_amp_samples="4")
        assert (said_in(PATHS[0], got.json()), got.headers["x-amp-votes"]) == (texts[0], votes)
        assert [each.json["n"] for each in upstream.asked] == [2] * asked


async def test_a_server_that_takes_no_n_is_asked_for_it_once() -> None:
    texts = ("4", "4") * 2
    async with serving(saying(*texts, takes_n=False)) as upstream, gateway(upstream.url) as amp:
        for _ in range(2):
            fields = {"model": "m", "messages": QUESTION}
            await post(amp, PATHS[0], fields, x_amp_samples="2")
        assert [each.json.get("n", 1) for each in upstream.asked] == [2, 1, 1, 1, 1]


@pytest.mark.parametrize("api", ["anthropic", "responses"])
async def test_answers_vote_where_the_upstream_speaks_another_api(api: Api) -> None:
    async with serving(either) as upstream, gateway(UpstreamConfig(upstream.url, api=api)) as amp:
        fields = {"model": "m", "max_tokens": 9, "messages": QUESTION}
        got = await post(amp, PATHS[0], fields, x_amp_samples="3")
        assert (got.status_code, got.headers["x-amp-votes"]) == (200, "2 of 2")
        assert amp.accounts.spent.model_calls == len(upstream.asked) == 2


async def test_a_client_that_goes_away_ends_all_its_samples() -> None:
    def never(asked: Asked) -> Reply:
        return Reply([b"{", 30.0, b"}"], headers={"content-type": "application/json"})

    async with serving(never) as upstream, gateway(upstream.url) as amp:
        fields = {"model": "m", "max_tokens": 5, "messages": QUESTION}
        async with httpx2.AsyncClient(timeout=60) as client:
            call = client.post(f"{amp.v1}/messages", json=fields, headers={"x-amp-samples": "3"})
            await given_up(call, lambda: len(upstream.asked) == 2)
        await until(lambda: not amp.accounts.reserved)
        await until(lambda: upstream.hung_up == len(upstream.asked) == 2)
        # Nobody knows what they cost, so it is their bounds.
        assert amp.accounts.spent.estimated_calls == 2
        assert amp.accounts.spent.completion_tokens == 10


async def test_a_failure_of_an_upstream_is_told_as_without_votes() -> None:
    def broken(asked: Asked) -> Reply:
        return Reply([b'{"error":{"message":"overloaded"}}'], 500)

    patience = Patience(retries=0)
    async with (
        serving(broken) as upstream,
        gateway(upstream.url, patience=patience) as amp,
    ):
        fields = {"model": "m", "messages": QUESTION}
        alone = await post(amp, PATHS[0], fields)
        voted = await post(amp, PATHS[0], fields, x_amp_samples="3")
        assert (voted.status_code, voted.json()) == (alone.status_code, alone.json())
        # A server may mean by that the number of answers, so two are asked for by themselves.
        assert [each.json.get("n", 1) for each in upstream.asked] == [1, 2, 1, 1]
        assert amp.accounts.reserved == {}
