"""Wrapped clients of the SDKs' versions that use httpx, plain and awaited: URL of the upstream."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import anthropic
import httpx
import openai

import amp

ASKED: dict[str, Any] = {
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "How much are two and two?"}],
}


def plain(url: str) -> list[str]:
    with amp.wrap(openai.OpenAI(base_url=url, api_key="k")) as chat:
        whole = chat.chat.completions.create(model="gpt", **ASKED)
        chunks = list(chat.chat.completions.create(model="gpt", **ASKED, stream=True))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    own = anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="k")
    with amp.wrap(own) as claude, claude.messages.stream(model="claude", **ASKED) as stream:
        said = "".join(stream.text_stream)
    return [str(whole.choices[0].message.content), streamed, said]


async def awaited(url: str) -> list[str]:
    async with amp.wrap(openai.AsyncOpenAI(base_url=url, api_key="k")) as chat:
        whole = await chat.chat.completions.create(model="gpt", **ASKED)
        chunks = await chat.chat.completions.create(model="gpt", **ASKED, stream=True)
        streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
    own = anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="k")
    async with (
        amp.wrap(own) as claude,
        claude.messages.stream(model="claude", **ASKED) as stream,
    ):
        said = "".join([text async for text in stream.text_stream])
    return [str(whole.choices[0].message.content), streamed, said]


def main(url: str) -> None:
    with amp.episode("task") as episode:
        found = [plain(url), asyncio.run(awaited(url))]
    # A connection of theirs would have been httpx's.
    assert issubclass(openai.DefaultHttpxClient, httpx.Client)
    print(json.dumps({"said": found, "calls": episode.spent.model_calls}))


if __name__ == "__main__":
    main(sys.argv[1])
