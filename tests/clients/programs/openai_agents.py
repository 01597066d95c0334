"""An agent of the OpenAI Agents SDK, over both APIs, streamed and not: URL [wrapped]."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import nullcontext
from typing import Any

from agents import (
    Agent,
    Runner,
    function_tool,
    set_default_openai_api,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel


class Sum(BaseModel):
    """A sum."""

    sum: int


@function_tool  # type: ignore[untyped-decorator]  # checked without that package
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def main(url: str, wrapped: bool) -> None:
    client = AsyncOpenAI(base_url=url, api_key="k")
    episode: Any = nullcontext()
    if wrapped:
        import amp

        client = amp.wrap(client)
        episode = amp.episode("task")
    set_default_openai_client(client, use_for_tracing=False)
    set_tracing_disabled(True)
    question = "How much are two and two?"
    found: dict[str, Any] = {}
    with episode as spend:
        for api in ("chat_completions", "responses"):
            set_default_openai_api(api)
            agent = Agent(name="clerk", model="gpt", tools=[add])
            whole = await Runner.run(agent, question)
            streamed = Runner.run_streamed(agent, question)
            kinds = [event.type async for event in streamed.stream_events()]
            typed = await Runner.run(Agent(name="t", model="gpt", output_type=Sum), question)
            usage = whole.context_wrapper.usage
            found[api] = {
                "answer": whole.final_output,
                "streamed": streamed.final_output,
                "deltas": kinds.count("raw_response_event") > 5,
                "sum": typed.final_output.sum,
                "requests": usage.requests,
                "tokens": usage.total_tokens,
                "cached": usage.input_tokens_details.cached_tokens,
            }
    found["calls"] = spend.spent.model_calls if wrapped else None
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], "wrapped" in sys.argv))
