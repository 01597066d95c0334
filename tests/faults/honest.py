"""What a model server without any fault answers, in both API dialects, and what that costs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

Dialect = Literal["openai", "anthropic"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

PROGRAM = "```python\nanswer = 84\n```\nThat is it."
LINE = "12 * 7 = 84.\n#### 84\nQuestion: and now?"
_MESSAGE_TOKENS = 4


def count(text: str) -> int:
    """Tokens of a text: words and signs with the space before them; at most one a byte."""
    return len(pieces(text))


def pieces(text: str) -> list[str]:
    """The tokens of a text."""
    return re.findall(r"\s?\w+|\s?[^\w\s]|\s", text)


@dataclass
class Call:
    """A request as a quirk sees it.

    Attributes:
        number: the how manieth of these quirks, from 1.
    """

    dialect: Dialect
    body: dict[str, Any]
    headers: dict[str, str]
    number: int

    @property
    def key(self) -> str:
        """The key that came with it."""
        found = self.headers.get("authorization", "").removeprefix("Bearer ")
        return found or self.headers.get("x-api-key", "")

    @property
    def system(self) -> str:
        """The system text."""
        texts = [as_text(m["content"]) for m in self.body["messages"] if m["role"] == "system"]
        return as_text(self.body.get("system", "")) + "".join(texts)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the whole prompt."""
        texts = [as_text(message["content"]) for message in self.body["messages"]]
        texts.append(as_text(self.body.get("system", "")))
        return sum(count(text) + _MESSAGE_TOKENS for text in texts)

    @property
    def cap(self) -> int:
        """The most tokens of one choice."""
        return int(self.body.get("max_completion_tokens") or self.body.get("max_tokens") or 100)

    @property
    def stop(self) -> list[str]:
        """The stop strings."""
        found = self.body.get("stop") or self.body.get("stop_sequences") or []
        return [found] if isinstance(found, str) else found


@dataclass
class Reply:
    """What is sent, for a quirk to spoil.

    Attributes:
        status: 0 hangs up without an answer.
        body: JSON, or bytes that are sent as they are.
        headers: besides those of the length.
        prompt_tokens: billed, whatever the body says.
        completion_tokens: billed.
        wait_seconds: before anything is sent.
        drip_seconds: between two bytes of the body.
        cut: sends only this many bytes of the body, then hangs up; None sends all.
        endless: sends the body again and again, and never ends.
    """

    status: int
    body: Any
    headers: dict[str, str]
    prompt_tokens: int
    completion_tokens: int
    wait_seconds: float = 0.0
    drip_seconds: float = 0.0
    cut: int | None = None
    endless: bool = False

    def refuse(self, status: int, body: Any) -> None:
        """Becomes a refusal, which costs nothing."""
        self.status, self.body = status, body
        self.prompt_tokens = self.completion_tokens = 0

    @property
    def usage(self) -> dict[str, Any]:
        """The usage that it states."""
        found: dict[str, Any] = self.body["usage"]
        return found

    @property
    def choices(self) -> list[dict[str, Any]]:
        """The choices, or the message as the only one."""
        found: list[dict[str, Any]] = self.body.get("choices", [self.body])
        return found

    def say(self, content: Any) -> None:
        """Puts other content in place of the text of every choice, without its tokens."""
        for choice in self.choices:
            if "message" in choice:
                choice["message"]["content"] = content
                choice["logprobs"] = None
            elif isinstance(content, str):
                choice["content"] = [{"type": "text", "text": content}]
            else:
                choice["content"] = content


def as_text(content: Any) -> str:
    """The text of a message's content, which may be a list of blocks."""
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content)
    return str(content)


def honest_text(call: Call) -> tuple[str, bool]:
    """What the model says, and whether it was cut off at the cap."""
    asked = " ".join(as_text(m["content"]) for m in call.body["messages"])
    whole = "A" if call.cap == 1 else PROGRAM if "```python" in asked or "rogram" in asked else LINE
    for stop in call.stop:
        whole = whole.split(stop)[0]
    kept = pieces(whole)[: call.cap]
    return "".join(kept), len(kept) < count(whole)


def honest(call: Call) -> Reply:
    """What a server without any fault answers."""
    text, cut = honest_text(call)
    each = max(1, count(text))
    if call.dialect == "anthropic":
        body: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": call.body.get("model"),
            "content": [{"type": "text", "text": text}] if text else [],
            "stop_reason": "max_tokens" if cut else "end_turn",
            "usage": {"input_tokens": call.prompt_tokens, "output_tokens": each},
        }
        return Reply(200, body, {}, call.prompt_tokens, each)
    n = int(call.body.get("n") or 1)
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "length" if cut else "stop",
            "logprobs": {"content": log_probs(text)} if call.body.get("logprobs") else None,
        }
        for i in range(n)
    ]
    usage = {
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": n * each,
        "total_tokens": call.prompt_tokens + n * each,
    }
    body = {"id": "chat_1", "object": "chat.completion", "choices": choices, "usage": usage}
    return Reply(200, body, {}, call.prompt_tokens, n * each)


def log_probs(text: str) -> list[dict[str, Any]]:
    """The tokens of a text as a chat completion lists them."""
    return [
        {
            "token": piece,
            "logprob": -0.1,
            "top_logprobs": [
                {"token": piece, "logprob": -0.1},
                {"token": "B" if piece != "B" else "A", "logprob": -3.0},
            ],
        }
        for piece in pieces(text)
    ]
