"""LangChain's ChatOpenAI calls a tool, streams, and keeps to a schema: URL [wrapped]."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel


class Sum(BaseModel):
    """A sum."""

    sum: int


@tool  # type: ignore[untyped-decorator]  # checked without that package
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def main(url: str, wrapped: bool) -> None:
    clients: dict[str, Any] = {}
    episode: Any = nullcontext()
    if wrapped:
        import amp

        plain = amp.wrap(OpenAI(base_url=url, api_key="k"))
        waiting = amp.wrap(AsyncOpenAI(base_url=url, api_key="k"))
        clients = {
            "root_client": plain,
            "client": plain.chat.completions,
            "root_async_client": waiting,
            "async_client": waiting.chat.completions,
        }
        episode = amp.episode("task")
    model = ChatOpenAI(model="gpt", base_url=url, api_key="k", stream_usage=True, **clients)
    with episode as spend:
        said: list[Any] = [HumanMessage("How much are two and two?")]
        with_tool = model.bind_tools([add])
        called = with_tool.invoke(said)
        said += [called, *(add.invoke(call) for call in called.tool_calls)]
        assert isinstance(said[-1], ToolMessage)
        chunks = list(model.stream("How much are two and two?"))
        answer = with_tool.invoke(said)
        print(
            json.dumps(
                {
                    "result": said[-1].content,
                    "answer": answer.text,
                    "tokens": answer.usage_metadata["total_tokens"],
                    "cached": answer.usage_metadata["input_token_details"]["cache_read"],
                    "streamed": "".join(chunk.text for chunk in chunks),
                    "streamed_tokens": sum(
                        chunk.usage_metadata["total_tokens"]
                        for chunk in chunks
                        if chunk.usage_metadata
                    ),
                    "sum": model.with_structured_output(Sum).invoke("Two and two?").sum,
                    "calls": spend.spent.model_calls if wrapped else None,
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1], "wrapped" in sys.argv)
