"""An upstream of two models, a cheap one that is right on one of two kinds, and a dear one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.upstream import Asked, Reply

CHEAP, DEAR = "cheap", "dear"
EASY, HARD = "You add two numbers.", "You multiply two numbers."
"""What the system says: the cheap model can add, but does not multiply; it adds then, too."""

PRICES = """\
[openai.cheap]
prompt = 1.0
cached = 0.1
completion = 4.0

[openai.dear]
prompt = 10.0
cached = 1.0
completion = 40.0
"""


def question(system: str, one: int, other: int, **fields: Any) -> dict[str, Any]:
    """A request of either kind."""
    said = [{"role": "system", "content": system}]
    said.append({"role": "user", "content": json.dumps([one, other])})
    return {"model": "amp/auto", "messages": said, "max_tokens": 50, **fields}


def right(body: dict[str, Any]) -> str:
    """What the dear model answers."""
    one, other = json.loads(body["messages"][1]["content"])
    return str(one * other if body["messages"][0]["content"] == HARD else one + other)


def two_models(asked: Asked) -> Reply:
    """Answers as either would, in other words, with equal usage."""
    body = asked.json
    one, other = json.loads(body["messages"][1]["content"])
    text = f"The answer is {right(body)}." if body["model"] == DEAR else f"#### {one + other}"
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    usage["prompt_tokens_details"] = {"cached_tokens": 50}  # type: ignore[assignment]  # JSON
    base = {"id": "c", "created": 1, "model": body["model"], "object": "chat.completion"}
    if body.get("stream"):
        base["object"] = "chat.completion.chunk"
        events = [
            *({**base, "choices": [{"index": 0, "delta": {"content": each}}]} for each in text),
            {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {**base, "choices": [], "usage": usage},
        ]
        parts = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
        return Reply(
            [*parts, b"data: [DONE]\n\n"],
            headers={"content-type": "text/event-stream"},
            streams=True,
        )
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    answer = {**base, "choices": choices, "usage": usage}
    return Reply([json.dumps(answer).encode()], headers={"content-type": "application/json"})


def priced(folder: Path) -> Path:
    """A table of what both cost."""
    path = folder / "prices.toml"
    path.write_text(PRICES)
    return path
