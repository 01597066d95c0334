"""Answers of OpenAI's Responses, from and into what they mean."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from amp.models.bill import number, table
from amp.models.reply import reason_of
from amp.serve.translate.chat_answers import number_of_seconds
from amp.serve.translate.meaning import (
    Answer,
    BrokenAnswerError,
    Counts,
    Part,
    Stop,
    objects,
    signed,
)
from amp.serve.translate.responses import NAME

_CUT: Mapping[Stop, str] = {"length": "max_output_tokens", "withheld": "content_filter"}


def read_answer(answer: Mapping[str, Any]) -> Answer:
    """What an answer says.

    Raises:
        BrokenAnswerError: if it is none, or one that failed.
    """
    output = answer.get("output")
    if answer.get("error") or answer.get("status") == "failed" or not isinstance(output, list):
        raise BrokenAnswerError(reason_of(answer.get("error") or "it has no output")[0])
    parts = [part for item in objects(output) for part in read_item(item)]
    return replace(outcome_of(answer, parts), parts=tuple(parts))


def read_item(item: Mapping[str, Any]) -> Iterator[Part]:
    """What an item says."""
    kind = item.get("type")
    if kind == "message":
        for part in objects(item.get("content")):
            if part.get("type") == "refusal":
                yield Part("refusal", str(part.get("refusal") or ""))
            else:
                yield Part("text", str(part.get("text") or ""))
    elif kind == "function_call":
        called = str(item.get("call_id") or ""), str(item.get("name") or "")
        yield Part("call", str(item.get("arguments") or "{}"), *called)
    elif kind == "reasoning":
        said = [each for name in ("summary", "content") for each in objects(item.get(name))]
        text = "\n\n".join(str(each.get("text") or "") for each in said)
        sign = str(item.get("encrypted_content") or "")
        yield Part("thought", text, str(item.get("id") or ""), signature=sign, origin=NAME)
    else:
        raise BrokenAnswerError(f"it has an item of the type {str(kind)[:40]!r}")


def outcome_of(answer: Mapping[str, Any], parts: list[Part]) -> Answer:
    """An answer without its parts."""
    stop: Stop = "calls" if any(part.kind == "call" for part in parts) else "stop"
    if answer.get("status") == "incomplete":
        why = table(answer, "incomplete_details").get("reason")
        stop = "withheld" if why == "content_filter" else "length"
    identity = str(answer.get("id") or ""), str(answer.get("model") or "")
    created = number_of_seconds(answer.get("created_at"))
    return Answer(*identity, stop=stop, counts=_counts(answer), created=created)


def _counts(answer: Mapping[str, Any]) -> Counts | None:
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    read, details = table(usage, "input_tokens_details"), table(usage, "output_tokens_details")
    figures = (
        usage.get("input_tokens"),
        read.get("cached_tokens"),
        read.get("cache_write_tokens"),
        usage.get("output_tokens"),
        details.get("reasoning_tokens"),
    )
    return Counts(*(number(figure) or 0 for figure in figures))


def write_answer(answer: Answer) -> dict[str, Any]:
    """The answer that says this."""
    status = "incomplete" if answer.stop in _CUT else "completed"
    items = [
        write_item(part, item_name(answer, at), "completed") for at, part in enumerate(answer.parts)
    ]
    return written_response(answer, status, items)


def item_name(answer: Answer, at: int) -> str:
    """The name of the item of a part, whose kind comes before it."""
    return f"{answer.id}-{at}"


def written_response(answer: Answer, status: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """A response, at any time of its making."""
    cut = {"reason": _CUT[answer.stop]} if status == "incomplete" else None
    return {
        "id": answer.id if answer.id.startswith("resp_") else f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created or int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": cut,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "store": False,
        "usage": _written_counts(answer.counts) if answer.counts else None,
    }


def _written_counts(counts: Counts) -> dict[str, Any]:
    read = {"cached_tokens": counts.cached, "cache_write_tokens": counts.written}
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": read,
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.prompt + counts.completion,
    }


def write_item(part: Part, name: str, status: str) -> dict[str, Any]:
    """The item that says a part."""
    if part.kind == "call":
        call = {"type": "function_call", "id": f"fc_{name}", "call_id": part.id}
        return {**call, "name": part.name, "arguments": part.text, "status": status}
    if part.kind in ("thought", "sealed"):
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        sign = signed(part) if part.signature or part.origin != NAME else None
        thought = {"type": "reasoning", "id": f"rs_{name}", "summary": summary}
        return {**thought, "encrypted_content": sign}
    message = {"type": "message", "id": f"msg_{name}", "role": "assistant", "status": status}
    return {**message, "content": [write_content(part)]}


def write_content(part: Part) -> dict[str, Any]:
    """The content of a message that says a part."""
    if part.kind == "refusal":
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
