"""The official SDKs, unpatched, talk through the gateway as they talk to the provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from tests.fakes.upstream import CALL, USAGE, WORDS, either, serving, working
from tests.serve.running import gateway

pytestmark = pytest.mark.slow

TEXT = "".join(WORDS)
TOOL: Any = {"type": "function", "function": {"name": "add", "parameters": {}}}
HELLO: list[Any] = [{"role": "user", "content": "How much are two and two?"}]


async def test_openai_chats_streams_and_calls_tools(prices: Path) -> None:
    async with (
        serving(either) as upstream,
        gateway(upstream.url, prices=prices) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="sk-client") as client,
    ):
        create = client.chat.completions.create
        whole = await create(model="gpt", messages=HELLO, n=2, seed=1, logprobs=True, stop=["x"])
        assert [choice.message.content for choice in whole.choices] == [TEXT, TEXT]
        assert whole.usage is not None
        assert whole.usage.prompt_tokens == USAGE["prompt_tokens"]

        chunks = [chunk async for chunk in await create(model="gpt", messages=HELLO, stream=True)]
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == TEXT
        assert not any(chunk.usage for chunk in chunks)

        told = await create(
            model="gpt", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        usages = [chunk.usage async for chunk in told if chunk.usage]
        assert [usage.total_tokens for usage in usages] == [30]

        called: Any = await create(model="gpt", messages=HELLO, tools=[TOOL])
        assert called.choices[0].message.tool_calls is not None
        assert called.choices[0].message.tool_calls[0].function.arguments == CALL["arguments"]
        async with client.chat.completions.stream(
            model="gpt",
            messages=HELLO,
            tools=[TOOL],
        ) as stream:
            final: Any = await stream.get_final_completion()
        assert final.choices[0].message.tool_calls[0].function.name == "add"
        listed = await client.models.list()
        assert [model.id for model in listed.data] == ["gpt-5.4-mini"]

        spent = amp.accounts.spent
        assert amp.accounts.reserved == {}
        assert (spent.model_calls, spent.estimated_calls) == (5, 0)
        assert (spent.prompt_tokens, spent.cached_prompt_tokens) == (5 * 21, 5 * 16)
        assert (spent.completion_tokens, spent.reasoning_tokens) == (5 * 9, 5 * 3)
        assert spent.dollars == pytest.approx(5 * (5 * 10 + 16 * 1 + 9 * 100) / 1e6)
        assert {asked.headers["authorization"] for asked in upstream.asked} == {"Bearer sk-client"}


async def test_openai_makes_responses_and_embeddings(prices: Path) -> None:
    async with (
        serving(either) as upstream,
        gateway(upstream.url, prices=prices) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="sk-client") as client,
    ):
        whole = await client.responses.create(model="gpt", input="2 + 2?", instructions="Add.")
        assert whole.output_text == TEXT
        stream = await client.responses.create(
            model="gpt", input="Go on.", previous_response_id=whole.id, stream=True
        )
        deltas = [e.delta async for e in stream if e.type == "response.output_text.delta"]
        assert "".join(deltas) == TEXT
        assert upstream.asked[-1].json["previous_response_id"] == whole.id
        tool: Any = {"type": "function", "name": "add", "parameters": {}, "strict": False}
        async with client.responses.stream(model="gpt", input=HELLO, tools=[tool]) as calling:
            called: Any = (await calling.get_final_response()).output[0]
        assert (called.name, called.arguments) == ("add", CALL["arguments"])
        row = (await client.embeddings.create(model="gpt", input="four")).data[0]
        assert row.embedding == [0.5, 0.5]

        spent = amp.accounts.spent
        assert (spent.model_calls, spent.estimated_calls) == (4, 0)
        assert (spent.prompt_tokens, spent.cached_prompt_tokens) == (3 * 21 + 7, 3 * 16)
        assert (spent.completion_tokens, spent.reasoning_tokens) == (3 * 9, 3 * 3)
        assert amp.accounts.reserved == {}


async def test_openai_keeps_to_schemas_and_reads_results_of_tools() -> None:
    class Sum(BaseModel):
        sum: int

    result: Any = {"role": "tool", "tool_call_id": "call_1", "content": "4"}
    async with (
        serving(working) as upstream,
        gateway(upstream.url) as amp,
        AsyncOpenAI(base_url=amp.v1, api_key="sk-client") as client,
    ):
        parsed = await client.chat.completions.parse(
            model="gpt", messages=HELLO, response_format=Sum
        )
        assert parsed.choices[0].message.parsed == Sum(sum=4)
        response = await client.responses.parse(model="gpt", input="2 + 2?", text_format=Sum)
        assert response.output_parsed == Sum(sum=4)
        called: Any = await client.chat.completions.create(
            model="gpt", messages=HELLO, tools=[TOOL]
        )
        said = [*HELLO, called.choices[0].message.model_dump(), result]
        answer = await client.chat.completions.create(model="gpt", messages=said, tools=[TOOL])
        assert answer.choices[0].message.content == TEXT
        assert (amp.accounts.spent.model_calls, amp.accounts.spent.estimated_calls) == (4, 0)


async def test_anthropic_chats_streams_and_calls_tools(prices: Path) -> None:
    async with (
        serving(either) as upstream,
        gateway(upstream.url, prices=prices) as amp,
        AsyncAnthropic(base_url=amp.url, api_key="sk-client") as client,
    ):
        asked: dict[str, Any] = {"model": "claude", "max_tokens": 100, "messages": HELLO}
        whole: Any = await client.messages.create(**asked)
        assert whole.content[0].text == TEXT
        async with client.messages.stream(**asked) as stream:
            assert "".join([text async for text in stream.text_stream]) == TEXT
        tool: Any = {"name": "add", "input_schema": {"type": "object"}}
        called: Any = await client.messages.create(**asked, tools=[tool])
        assert called.content[0].input == {"a": 2, "b": 2}
        async with client.messages.stream(**asked, tools=[tool]) as stream:
            final: Any = await stream.get_final_message()
        assert final.content[0].input == {"a": 2, "b": 2}
        assert final.usage.output_tokens == 9

        spent = amp.accounts.spent
        assert (spent.model_calls, spent.estimated_calls) == (4, 0)
        assert (spent.prompt_tokens, spent.cached_prompt_tokens) == (4 * 28, 4 * 16)
        # Tokens written into the cache cost a quarter more than others.
        assert spent.dollars == pytest.approx(4 * (12 * 10 + 16 * 1 + 9 * 100 + 2 * 10) / 1e6)
