"""What the back ends that speak a chat API share: messages, prefixes, seeds, bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from amp.models.base import Prompt

# Generous: the templates known to us need 3 to 8 tokens a message, and one adds a system prompt of
# 20 tokens where there is none.
_TOKENS_PER_MESSAGE = 16
_TOKENS_PER_PROMPT = 64

_CONTINUE = (
    "Your answer has already begun with the text between the lines of dashes. Continue exactly"
    " after it, without repeating it.\n----\n{prefix}\n----"
)


def as_messages(prompt: Prompt, *, prefix: bool) -> list[dict[str, str]]:
    """Returns the chat as the API wants it.

    Where the server does not continue an assistant's last message (`prefix` is False), the user's
    message asks for it. It goes into the last user message, since many templates refuse two in a
    row.
    """
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    if prefix or messages[-1]["role"] != "assistant":
        return messages
    plea = _CONTINUE.format(prefix=messages.pop()["content"])
    if messages and messages[-1]["role"] == "user":
        plea = f"{messages.pop()['content']}\n\n{plea}"
    return [*messages, {"role": "user", "content": plea}]


def without_prefix(text: str, prompt: Prompt) -> str:
    """Removes the prefix from an answer that repeats it, as servers and models do."""
    last = prompt.messages[-1]
    return text.removeprefix(last.content) if last.role == "assistant" else text


def base_seed(seed: int) -> int:
    """Returns the server seed of sample 0; sample i gets this plus i.

    Neighbouring seeds are spread apart: seed 1's sample 0 must not be seed 0's sample 1. 31 bits,
    so that adding an index never reaches 2**32 - 1, which llama.cpp takes for "at random".
    """
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4]) >> 1


def upper_bound(messages: Sequence[dict[str, str]]) -> int:
    """Returns more tokens than these messages can have: each is at least a byte of the text."""
    size = sum(len(message["content"].encode()) + _TOKENS_PER_MESSAGE for message in messages)
    return size + _TOKENS_PER_PROMPT
