"""LiteLLM's SDK over both APIs, streamed and not, with a tool: URL of the gateway."""

from __future__ import annotations

import json
import sys
from typing import Any

import litellm

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        },
    },
}
HELLO = [{"role": "user", "content": "How much are two and two?"}]


def main(url: str) -> None:
    found: dict[str, Any] = {}
    for model, base in (("openai/gpt", f"{url}/v1"), ("anthropic/claude", url)):
        asked: dict[str, Any] = {
            "model": model,
            "api_base": base,
            "api_key": "k",
            "messages": HELLO,
            "max_tokens": 100,
        }
        whole = litellm.completion(**asked)
        chunks = list(
            litellm.completion(**asked, stream=True, stream_options={"include_usage": True})
        )
        called = litellm.completion(**asked, tools=[TOOL]).choices[0].message.tool_calls[0]
        result = {"role": "tool", "tool_call_id": called.id, "content": "4"}
        said = [{"role": "assistant", "tool_calls": [called.model_dump()]}, result]
        answer = litellm.completion(**{**asked, "messages": HELLO + said}, tools=[TOOL])
        found[model] = {
            "whole": whole.choices[0].message.content,
            "streamed": "".join(
                chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices
            ),
            "arguments": json.loads(called.function.arguments),
            "answer": answer.choices[0].message.content,
            "tokens": whole.usage.total_tokens,
            "streamed_tokens": chunks[-1].usage.total_tokens,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
