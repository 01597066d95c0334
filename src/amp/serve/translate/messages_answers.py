"""Answers of Anthropic's Messages, from and into what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from amp.models.bill import number, table
from amp.models.reply import CUT_OFF, WITHHELD, end_of, failure_in
from amp.serve.translate.meaning import (
    Answer,
    BrokenAnswerError,
    Counts,
    Part,
    Stop,
    objects,
    signed,
    written,
)
from amp.serve.translate.messages import NAME

_ENDS: Mapping[Stop, str] = {
    "stop": "end_turn",
    "sequence": "stop_sequence",
    "length": "max_tokens",
    "calls": "tool_use",
    "withheld": "refusal",
}
_STOPS: Mapping[str, Stop] = {"stopsequence": "sequence", "tooluse": "calls"}
NO_COUNTS = Counts()


def read_answer(answer: Mapping[str, Any]) -> Answer:
    """What an answer says.

    Raises:
        BrokenAnswerError: if it is none, or one that failed.
    """
    if failure := failure_in(answer):
        raise BrokenAnswerError(failure.reason)
    content = answer.get("content")
    if not isinstance(content, list):
        raise BrokenAnswerError("it has no content")
    parts = tuple(read_block(block) for block in objects(content))
    stop, sequence = stop_of(answer)
    counts = counts_of(table(answer, "usage"), NO_COUNTS) if answer.get("usage") else None
    return Answer(*identity_of(answer), parts, stop, sequence, counts)


def identity_of(message: Mapping[str, Any]) -> tuple[str, str]:
    """Id and model of an answer."""
    return str(message.get("id") or ""), str(message.get("model") or "")


def read_block(block: Mapping[str, Any]) -> Part:
    """What a block says."""
    kind = block.get("type")
    if kind == "text":
        return Part("text", str(block.get("text") or ""))
    if kind == "thinking":
        text, sign = str(block.get("thinking") or ""), str(block.get("signature") or "")
        return Part("thought", text, signature=sign, origin=NAME)
    if kind == "redacted_thinking":
        return Part("sealed", signature=str(block.get("data") or ""), origin=NAME)
    if kind == "tool_use":
        name = str(block.get("id") or ""), str(block.get("name") or "")
        return Part("call", written(block.get("input") or {}), *name)
    raise BrokenAnswerError(f"it has a block of the type {str(kind)[:40]!r}")


def stop_of(message: Mapping[str, Any]) -> tuple[Stop, str]:
    """Why an answer ended, and the string that ended it."""
    ended, sequence = end_of(message), message.get("stop_sequence")
    if WITHHELD.search(ended):
        return "withheld", ""
    if CUT_OFF.search(ended):
        return "length", ""
    stop = _STOPS.get(ended, "stop")
    return stop, str(sequence or "") if stop == "sequence" else ""


def counts_of(usage: Mapping[str, Any], before: Counts) -> Counts:
    """The tokens told; the last event may repeat those of the prompt, or leave them out."""
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    fresh, cached, wrote = (number(usage.get(name)) for name in names)
    found = replace(
        before,
        completion=number(usage.get("output_tokens")) or before.completion,
        reasoning=number(table(usage, "output_tokens_details").get("thinking_tokens")) or 0,
    )
    if fresh is None:
        return found
    cached, wrote = cached or 0, wrote or 0
    return replace(found, prompt=fresh + cached + wrote, cached=cached, written=wrote)


def write_answer(answer: Answer) -> dict[str, Any]:
    """The answer that says this.

    Raises:
        BrokenAnswerError: if a call's arguments are no JSON object, nor the beginning of one.
    """
    return {
        **head(answer),
        "content": [write_block(part) for part in answer.parts],
        **written_stop(answer),
        "usage": written_counts(answer.counts or NO_COUNTS),
    }


def head(answer: Answer) -> dict[str, Any]:
    """The fields with which an answer begins."""
    name = answer.id if answer.id.startswith("msg_") else f"msg_{answer.id}"
    return {"id": name, "type": "message", "role": "assistant", "model": answer.model}


def written_stop(answer: Answer) -> dict[str, Any]:
    """Why it ended, in fields."""
    return {"stop_reason": _ENDS[answer.stop], "stop_sequence": answer.sequence or None}


def write_block(part: Part) -> dict[str, Any]:
    """The block that says a part."""
    if part.kind == "thought":
        return {"type": "thinking", "thinking": part.text, "signature": signed(part)}
    if part.kind == "sealed":
        return {"type": "redacted_thinking", "data": signed(part)}
    if part.kind == "call":
        try:  # one that was cut off at the cap counts as far as it came, as in a stream
            given = from_json(part.text, allow_partial=True)
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise BrokenAnswerError(f"the arguments of a call of {part.name!r} are no JSON object")
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": given}
    return {"type": "text", "text": part.text}


def written_counts(counts: Counts) -> dict[str, Any]:
    """A usage."""
    thought = {"output_tokens_details": {"thinking_tokens": counts.reasoning}}
    return {
        "input_tokens": max(0, counts.prompt - counts.cached - counts.written),
        "cache_read_input_tokens": counts.cached,
        "cache_creation_input_tokens": counts.written,
        "output_tokens": counts.completion,
        **(thought if counts.reasoning else {}),
    }
