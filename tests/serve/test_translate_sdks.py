"""The official SDKs, unpatched, talk to models that speak another provider's API."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from tests.fakes.upstream import (
    WORDS,
    Asked,
    Reply,
    either,
    messages,
    responses,
    serving,
    sse,
)
from tests.serve.running import gateway

from amp.serve.upstreams.upstream import Api, UpstreamConfig

pytestmark = pytest.mark.slow

TEXT = "".join(WORDS)
HELLO: list[Any] = [{"role": "user", "content": "How much are two and two?"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
TOOL: Any = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}
OPENAI_APIS: list[Api] = ["chat", "responses"]


def only(api: Api, url: str, **more: Any) -> UpstreamConfig:
    return UpstreamConfig(url, api=api, **more)


async def test_openai_chats_with_anthropic() -> None:
    async with (
        serving(either) as upstream,
        gateway(only("anthropic", upstream.url)) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="sk-client") as client,
    ):
        create = client.chat.completions.create
        whole = await create(
            model="claude",
            messages=[{"role": "developer", "content": "Be brief."}, *HELLO],
            max_completion_tokens=50,
            reasoning_effort="low",
            stop=["END"],
            user="ann",
        )
        assert whole.choices[0].message.content == TEXT
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (28, 9)
        assert whole.usage.prompt_tokens_details is not None
        assert whole.usage.prompt_tokens_details.cached_tokens == 16
        (asked,) = upstream.asked
        assert asked.target == "/v1/messages"
        assert asked.headers["x-api-key"] == "sk-client"
        assert asked.headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in asked.headers
        assert asked.json == {
            "model": "claude",
            "max_tokens": 50,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [{"role": "user", "content": [_text(HELLO)]}],
            "stop_sequences": ["END"],
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "low"},
            "metadata": {"user_id": "ann"},
        }

        chunks = [c async for c in await create(model="claude", messages=HELLO, stream=True)]
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == TEXT
        assert not any(chunk.usage for chunk in chunks)
        told = await create(
            model="claude",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
        assert [c.usage.total_tokens async for c in told if c.usage] == [28 + 9]

        async with client.chat.completions.stream(
            model="claude", messages=HELLO, tools=[TOOL], tool_choice="required"
        ) as stream:
            final: Any = await stream.get_final_completion()
        (call,) = final.choices[0].message.tool_calls
        assert (call.id, call.function.name) == ("toolu_1", "add")
        assert json.loads(call.function.arguments) == {"a": 2, "b": 2}
        assert final.choices[0].finish_reason == "tool_calls"
        assert upstream.asked[-1].json["tool_choice"] == {"type": "any"}

        called: Any = await create(model="claude", messages=HELLO, tools=[TOOL])
        said = called.choices[0].message
        result: Any = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "4"}
        await create(model="claude", messages=[*HELLO, said, result, *HELLO], tools=[TOOL])
        _, assistant, user = upstream.asked[-1].json["messages"]
        assert [block["type"] for block in assistant["content"]] == ["tool_use"]
        assert [block["type"] for block in user["content"]] == ["tool_result", "text"]

        spent = amp.accounts.spent
        assert (spent.model_calls, spent.estimated_calls) == (6, 0)
        assert spent.completion_tokens == 6 * 9
        assert amp.accounts.reserved == {}


def _text(hello: list[Any]) -> dict[str, str]:
    return {"type": "text", "text": hello[0]["content"]}


class Sum(BaseModel):
    """What is asked for."""

    a: int
    b: int


@pytest.mark.parametrize("api", ["anthropic", "responses"])
async def test_openai_gets_structured_output_of_others(api: Api) -> None:
    words = ['{"a": 2,', ' "b": 2}']

    def structured(asked: Asked) -> Reply:
        whole = (messages if api == "anthropic" else responses)(asked)
        parts = [part for part in whole.parts if isinstance(part, bytes)]
        swapped = [
            part.replace(json.dumps(TEXT).encode(), json.dumps("".join(words)).encode())
            for part in parts
        ]
        return Reply(swapped, headers=whole.headers, streams=whole.streams)

    async with (
        serving(structured) as upstream,
        gateway(only(api, upstream.url)) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="k") as client,
    ):
        parsed = await client.chat.completions.parse(model="m", messages=HELLO, response_format=Sum)
        assert parsed.choices[0].message.parsed == Sum(a=2, b=2)
        asked = upstream.asked[-1].json
        form = (asked.get("output_config") or asked["text"])["format"]
        assert form["type"] == "json_schema"
        assert form["schema"]["required"] == ["a", "b"]
        if api == "anthropic":
            made = await client.responses.parse(model="m", input="2 + 2?", text_format=Sum)
            assert made.output_parsed == Sum(a=2, b=2)


@pytest.mark.parametrize("api", ["anthropic", "chat"])
async def test_openai_makes_responses_with_others(api: Api) -> None:
    async with (
        serving(either) as upstream,
        gateway(only(api, upstream.url)) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="k") as client,
    ):
        whole = await client.responses.create(
            model="m",
            instructions="Be brief.",
            input="2 + 2?",
            reasoning={"effort": "high"},
            max_output_tokens=40,
        )
        assert (whole.output_text, whole.status) == (TEXT, "completed")
        assert whole.usage is not None
        assert whole.usage.input_tokens_details.cached_tokens == 16
        assert whole.usage.output_tokens == 9
        asked = upstream.asked[-1].json
        # Not every server of chats takes notice of another name, and some refuse it.
        assert (asked["max_tokens"], "max_completion_tokens" in asked) == (40, False)
        effort = asked.get("output_config", {}).get("effort") or asked["reasoning_effort"]
        assert effort == "high"

        stream = await client.responses.create(model="m", input="2 + 2?", stream=True)
        kinds = [event.type async for event in stream]
        assert kinds[:2] == ["response.created", "response.in_progress"]
        assert kinds.count("response.output_text.delta") == len(WORDS)
        assert kinds[-1] == "response.completed"

        tool: Any = {"type": "function", "name": "add", "parameters": SCHEMA, "strict": False}
        async with client.responses.stream(model="m", input="2 + 2?", tools=[tool]) as made:
            final: Any = await made.get_final_response()
        (call,) = final.output
        assert (call.name, json.loads(call.arguments)) == ("add", {"a": 2, "b": 2})
        assert final.usage.output_tokens == 9
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "4"}
        given: list[Any] = [*HELLO, call.model_dump(exclude_none=True), result]
        again = await client.responses.create(model="m", input=given, tools=[tool])
        assert again.output[0].type == "function_call"
        assert amp.accounts.spent.estimated_calls == 0
        assert amp.accounts.spent.completion_tokens == 4 * 9


@pytest.mark.parametrize("api", OPENAI_APIS)
async def test_anthropic_talks_with_openai(api: Api) -> None:
    async with (
        serving(either) as upstream,
        gateway(only(api, upstream.url)) as amp,
        AsyncAnthropic(base_url=amp.url, api_key="sk-client") as client,
    ):
        asked: dict[str, Any] = {"model": "gpt", "max_tokens": 3000, "messages": HELLO}
        whole: Any = await client.messages.create(
            **asked,
            system="Be brief.",
            thinking={"type": "enabled", "budget_tokens": 2000},
            metadata={"user_id": "u" * 99},
        )
        assert (whole.content[0].text, whole.stop_reason) == (TEXT, "end_turn")
        usage = whole.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens) == (5, 16)
        assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (9, 3)
        sent = upstream.asked[-1]
        assert sent.headers["authorization"] == "Bearer sk-client"
        assert not any(name.startswith(("anthropic", "x-api")) for name in sent.headers)
        assert len(sent.json["user"]) == 64
        effort = sent.json.get("reasoning_effort") or sent.json["reasoning"]["effort"]
        assert effort == "low"

        async with client.messages.stream(**asked) as stream:
            assert "".join([text async for text in stream.text_stream]) == TEXT
            final: Any = await stream.get_final_message()
        assert (final.usage.input_tokens, final.usage.output_tokens) == (5, 9)

        tool: Any = {"name": "add", "input_schema": SCHEMA}
        async with client.messages.stream(**asked, tools=[tool]) as stream:
            final = await stream.get_final_message()
        (block,) = final.content
        assert (block.name, block.input) == ("add", {"a": 2, "b": 2})
        assert final.stop_reason == "tool_use"
        result: Any = {"type": "tool_result", "tool_use_id": block.id, "content": "4"}
        turns: list[Any] = [
            *HELLO,
            {"role": "assistant", "content": final.content},
            {
                "role": "user",
                "content": [{**result, "is_error": True}, {"type": "text", "text": "?"}],
            },
        ]
        await client.messages.create(**{**asked, "messages": turns}, tools=[tool])
        said = str(upstream.asked[-1].json)
        assert "Error: 4" in said
        assert amp.accounts.spent.estimated_calls == 0
        assert amp.accounts.spent.completion_tokens == 4 * 9


@pytest.mark.parametrize("streams", [True, False])
async def test_thoughts_and_parallel_calls_come_back_to_their_maker(streams: bool) -> None:
    """As OpenAI's SDK sends them, what Anthropic has signed is the same bytes."""
    thought: dict[str, Any] = {
        "type": "thinking",
        "thinking": "Two numbers.",
        "signature": "c2lnbmVk",
    }
    calls: list[dict[str, Any]] = [
        {"type": "tool_use", "id": f"toolu_{n}", "name": "add", "input": {"a": n}} for n in (1, 2)
    ]

    def thinking(asked: Asked) -> Reply:
        usage = {"input_tokens": 5, "output_tokens": 7}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude"}
        ends = {"stop_reason": "tool_use", "stop_sequence": None}
        if not asked.json.get("stream"):
            whole = {**message, "content": [thought, *calls], **ends, "usage": usage}
            return Reply([json.dumps(whole).encode()], headers={"content-type": "application/json"})
        first: dict[str, Any] = {**message, "content": [], "stop_reason": None, "usage": usage}
        events: list[Any] = [{"type": "message_start", "message": first}]
        for at, block in enumerate([thought, *calls]):
            begun: dict[str, Any] = {"input": {}} if at else {"thinking": "", "signature": ""}
            empty = {**block, **begun}
            events.append({"type": "content_block_start", "index": at, "content_block": empty})
            deltas: list[dict[str, Any]] = [
                {"type": "thinking_delta", "thinking": "Two "},
                {"type": "thinking_delta", "thinking": "numbers."},
                {"type": "signature_delta", "signature": thought["signature"]},
            ]
            if at:
                text = json.dumps(block["input"])
                deltas = [{"type": "input_json_delta", "partial_json": c} for c in ("", *text)]
            kind = {"type": "content_block_delta", "index": at}
            events += [{**kind, "delta": delta} for delta in deltas]
            events += [{"type": "content_block_stop", "index": at}]
        last = {"type": "message_delta", "delta": ends, "usage": {"output_tokens": 7}}
        events += [last, {"type": "message_stop"}]
        stream = sse(*events, named=True)
        return Reply(stream, headers={"content-type": "text/event-stream"}, streams=True)

    async with (
        serving(thinking) as upstream,
        gateway(only("anthropic", upstream.url)) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="k") as client,
    ):
        tool: Any = {"type": "function", "name": "add", "parameters": SCHEMA, "strict": False}
        asked: dict[str, Any] = {"model": "m", "input": HELLO, "tools": [tool]}
        if streams:
            async with client.responses.stream(**asked) as made:
                response: Any = await made.get_final_response()
        else:
            response = await client.responses.create(**asked)
        assert response.output[0].summary[0].text == "Two numbers."
        output = [item.model_dump(exclude_none=True) for item in response.output]
        results = [
            {"type": "function_call_output", "call_id": f"toolu_{n}", "output": str(n)}
            for n in (1, 2)
        ]
        await client.responses.create(**{**asked, "input": [*HELLO, *output, *results]})
        _, assistant, user = upstream.asked[-1].json["messages"]
        assert assistant["content"] == [thought, *calls]
        assert [block["tool_use_id"] for block in user["content"]] == ["toolu_1", "toolu_2"]

        create = client.chat.completions.create
        if streams:
            chunks = [
                chunk.choices[0].delta
                async for chunk in await create(model="m", messages=HELLO, stream=True)
            ]
            told: Any = [delta for delta in chunks if getattr(delta, "reasoning_details", None)]
            message: dict[str, Any] = {"role": "assistant", "content": "Hm."}
            message["reasoning_details"] = told[-1].reasoning_details
            assert "".join(getattr(d, "reasoning_content", "") for d in chunks) == "Two numbers."
            starts = [d.tool_calls[0] for d in chunks if d.tool_calls and d.tool_calls[0].id]
            assert [(call.index, call.id) for call in starts] == [(0, "toolu_1"), (1, "toolu_2")]
        else:
            done = (await create(model="m", messages=HELLO)).choices[0].message
            message = done.model_dump(exclude_none=True)
            assert message["reasoning_content"] == "Two numbers."
            message.pop("tool_calls")
        turns: list[Any] = [*HELLO, message, *HELLO]
        await create(model="m", messages=turns)
        assert upstream.asked[-1].json["messages"][1]["content"][0] == thought


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
async def test_refusals_and_failures_are_said_in_the_clients_api(api: Api) -> None:
    body = {"error": {"type": "invalid_request_error", "message": "no such thing", "param": "x"}}
    status = 400

    def failing(asked: Asked) -> Reply:
        if status != 200:
            return Reply([json.dumps(body).encode()], status, {"content-type": "application/json"})
        whole = either(asked)
        return Reply([*whole.parts[:3]], 200, whole.headers, streams=True)  # closed too early

    async with (
        serving(failing) as upstream,
        gateway(only(api, upstream.url)) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="k", max_retries=0) as mine,
        AsyncAnthropic(base_url=amp.url, api_key="k", max_retries=0) as theirs,
    ):
        talk: dict[str, Any] = {"model": "m", "messages": HELLO}
        if api != "chat":
            with pytest.raises(openai.BadRequestError, match="no such thing"):
                await mine.chat.completions.create(**talk)
        if api != "responses":
            with pytest.raises(openai.BadRequestError, match="no such thing"):
                await mine.responses.create(model="m", input="Hi")
        if api != "anthropic":
            with pytest.raises(anthropic.BadRequestError, match="no such thing"):
                await theirs.messages.create(**talk, max_tokens=9)
        status = 200
        if api != "chat":
            with pytest.raises(openai.APIError, match="ended before"):
                async for _ in await mine.chat.completions.create(**talk, stream=True):
                    pass
        if api != "anthropic":
            with pytest.raises(anthropic.APIStatusError, match="ended before"):
                async with theirs.messages.stream(**talk, max_tokens=9) as stream:
                    await stream.get_final_message()
        if api != "responses":
            async for event in await mine.responses.create(model="m", input="Hi", stream=True):
                last: Any = event
            assert (last.type, "ended before" in last.message) == ("error", True)
        assert amp.accounts.reserved == {}
        assert amp.accounts.spent.model_calls == 2
        assert amp.accounts.spent.estimated_calls == 2


async def test_who_speaks_the_clients_api_is_asked_without_translation() -> None:
    async with (
        serving(either) as first,
        serving(either) as second,
        gateway(only("anthropic", first.url), only("chat", second.url, name="second")) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        talk = {"model": "m", "messages": HELLO, "seed": 1}  # which Anthropic has no word for
        got = await client.post(f"{amp.v1}/chat/completions", json=talk)
        assert (got.status_code, got.headers["x-amp-upstream"]) == (200, "second")
        assert json.loads(second.asked[0].body) == talk
        assert first.asked == []


async def test_who_speaks_another_api_stands_in_for_one_that_is_down() -> None:
    def down(asked: Asked) -> Reply:
        return Reply([b"{}"], 503)

    async with (
        serving(down) as first,
        serving(either) as second,
        gateway(only("chat", first.url), only("anthropic", second.url, name="second")) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="k", max_retries=0) as client,
    ):
        got = await client.chat.completions.with_raw_response.create(model="m", messages=HELLO)
        assert got.headers["x-amp-upstream"] == "second"
        assert got.headers["x-amp-translated"] == "/v1/messages"
        assert got.parse().choices[0].message.content == TEXT
        assert first.asked
        assert amp.accounts.spent.completion_tokens == 9
