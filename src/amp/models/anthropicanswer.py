"""What a message of Anthropic's API says: its text, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amp.models.base import Completion, FinishReason, Request
from amp.models.chat import without_prefix
from amp.models.thinking import estimated_tokens
from amp.types import Usage

_CUT_OFF = ("max_tokens", "model_context_window_exceeded")


def read(request: Request, answer: Mapping[str, Any], seconds: float) -> Completion:
    """Returns the sample of an answer.

    Thinking counts as the API states it. Where it states only the sum, the tokens are split by the
    lengths of the texts; models that hide what they think, then count none.

    Raises:
        KeyError, TypeError, ValueError: if it is no message.
    """
    blocks = answer["content"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    thought = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    usage = answer["usage"]
    cached = int(usage.get("cache_read_input_tokens") or 0)
    written = int(usage.get("cache_creation_input_tokens") or 0)
    generated = int(usage["output_tokens"])
    reasoned = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    if reasoned is None:
        reasoned = estimated_tokens(generated, thought, text)
    reason: FinishReason = "length" if answer["stop_reason"] in _CUT_OFF else "stop"
    return Completion(
        without_prefix(text, request.prompt),
        reason,
        Usage(
            model_calls=1,
            prompt_tokens=int(usage["input_tokens"]) + cached + written,
            cached_prompt_tokens=cached,
            completion_tokens=generated,
            reasoning_tokens=min(int(reasoned), generated),
            seconds=seconds,
        ),
    )
