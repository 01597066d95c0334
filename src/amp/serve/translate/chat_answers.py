"""Answers of chat completions, from and into what they mean."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from amp.models.answer_text import AnswerText, answer_text
from amp.models.bill import number, table
from amp.models.reply import CUT_OFF, WITHHELD, end_of, failure_in
from amp.serve.translate.chat import NAME, THOUGHTS, written_call
from amp.serve.translate.meaning import (
    Answer,
    BrokenAnswerError,
    Counts,
    Part,
    Stop,
    objects,
    signed,
)

ENDS: Mapping[Stop, str] = {
    "stop": "stop",
    "sequence": "stop",
    "length": "length",
    "calls": "tool_calls",
    "withheld": "content_filter",
}


def read_answer(answer: Mapping[str, Any]) -> Answer:
    """What an answer says.

    Raises:
        BrokenAnswerError: if it is none, or one that failed.
    """
    if failure := failure_in(answer):
        raise BrokenAnswerError(failure.reason)
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise BrokenAnswerError("it has no choice with a message")
    require_words(message)
    parts = [Part("thought", text, origin=NAME) for text in thoughts_in(message)]
    content = message.get("content")
    if isinstance(content, list):
        found = apart(content)
        parts += [Part("thought", found.thought, origin=NAME)] if found.thought else []
        content = found.text
    if isinstance(content, str) and content:
        parts.append(Part("text", content))
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        parts.append(Part("refusal", refusal))
    for call in objects(message.get("tool_calls")):
        function = table(call, "function")
        name, arguments = function.get("name"), function.get("arguments")
        parts.append(
            Part("call", str(arguments or "{}"), str(call.get("id") or ""), str(name or ""))
        )
    stop, sequence = stop_of(choice, calls=any(part.kind == "call" for part in parts))
    identity = str(answer.get("id") or ""), str(answer.get("model") or "")
    created = number_of_seconds(answer.get("created"))
    return Answer(*identity, tuple(parts), stop, sequence, counts_of(answer), created)


def require_words(message: Mapping[str, Any]) -> None:
    """Makes sure that a message or a delta says nothing that other APIs have no words for.

    Raises:
        BrokenAnswerError: if it does; names the field.
    """
    for name in ("audio", "function_call"):
        if message.get(name):
            raise BrokenAnswerError(f"it has {name}, which cannot be translated")
    for call in objects(message.get("tool_calls")):
        kind = call.get("type")
        if kind not in (None, "", "function"):
            raise BrokenAnswerError(f"it has a call of the type {str(kind)[:40]!r}")


def apart(content: list[Any]) -> AnswerText:
    """The text in parts, and the thinking between them."""
    try:
        return answer_text(content)
    except ValueError as error:
        raise BrokenAnswerError(str(error)) from None


def thoughts_in(message: Mapping[str, Any]) -> list[str]:
    """The thinking in a message or a delta; servers may send it under two names."""
    found = [message.get(name) for name in THOUGHTS]
    return [text for text in found if isinstance(text, str) and text][:1]


def stop_of(choice: Mapping[str, Any], *, calls: bool) -> tuple[Stop, str]:
    """Why a choice ended, and the text that ended it, where the server tells.

    Args:
        choice: the choice.
        calls: whether it calls functions; some servers say "stop" then, too.
    """
    ended, sequence = end_of(choice), choice.get("stop_reason")
    if WITHHELD.search(ended):
        return "withheld", ""
    if CUT_OFF.search(ended):
        return "length", ""
    if calls:
        return "calls", ""
    if isinstance(sequence, str) and sequence and choice.get("finish_reason") == "stop":
        return "sequence", sequence
    return "stop", ""


def counts_of(answer: Mapping[str, Any]) -> Counts | None:
    """The tokens that an answer tells; None if it tells none."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    of_prompt, details = (
        table(usage, f"{name}_tokens_details") for name in ("prompt", "completion")
    )
    figures = (
        usage.get("prompt_tokens"),
        of_prompt.get("cached_tokens"),
        of_prompt.get("cache_write_tokens"),
        usage.get("completion_tokens"),
        details.get("reasoning_tokens"),
    )
    return Counts(*(number(figure) or 0 for figure in figures))


def number_of_seconds(value: object) -> int:
    """A moment in seconds of Unix time; 0 if it is none."""
    return int(value) if isinstance(value, int | float) and 0 < value < 1e11 else 0


def write_answer(answer: Answer) -> dict[str, Any]:
    """The answer that says this."""
    texts = [part.text for part in answer.parts if part.kind == "text"]
    refusals = [part.text for part in answer.parts if part.kind == "refusal"]
    calls = [part for part in answer.parts if part.kind == "call"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    message["refusal"] = "".join(refusals) if refusals else None
    message |= written_thoughts(answer.parts)
    if calls:
        message["tool_calls"] = [written_call(call) for call in calls]
    elif not texts and not refusals:
        message["content"] = ""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": ENDS[answer.stop]}
    whole: dict[str, Any] = {**head(answer, "chat.completion"), "choices": [choice]}
    return whole | ({"usage": written_counts(answer.counts)} if answer.counts else {})


def written_thoughts(parts: Iterable[Part], first: int = 0) -> dict[str, Any]:
    """Thinking as clients know it from servers of this API, and as they send it back.

    Args:
        parts: of an answer.
        first: how many signed thoughts a stream has told before.
    """
    thoughts = [part for part in parts if part.kind in ("thought", "sealed")]
    text = "".join(part.text for part in thoughts)
    signed_ = (part for part in thoughts if part.signature)
    details = [
        {"index": index, "type": "reasoning.encrypted", "data": signed(part)}
        if part.kind == "sealed"
        else {
            "index": index,
            "type": "reasoning.text",
            "text": part.text,
            "signature": signed(part),
        }
        for index, part in enumerate(signed_, first)
    ]
    return ({"reasoning_content": text} if text else {}) | (
        {"reasoning_details": details} if details else {}
    )


def head(answer: Answer, kind: str) -> dict[str, Any]:
    """The fields with which an answer or a chunk begins."""
    created = answer.created or int(time.time())
    return {
        "id": answer.id if answer.id.startswith("chatcmpl") else f"chatcmpl-{answer.id}",
        "object": kind,
        "created": created,
        "model": answer.model,
    }


def written_counts(counts: Counts) -> dict[str, Any]:
    """A usage."""
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {
            "cached_tokens": counts.cached,
            "cache_write_tokens": counts.written,
        },
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
    }
