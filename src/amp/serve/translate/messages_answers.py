"""Answers of Anthropic's Messages, from and into what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import from_json

from amp.models.bill import number, table
from amp.models.reply import CUT_OFF, WITHHELD, end_of, failure_in
from amp.serve.translate.meaning import (
    ENDED_EARLY,
    BrokenAnswerError,
    ChatAnswer,
    ChatQuestion,
    Counts,
    InTurn,
    Part,
    Piece,
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
_LAST = ("message_delta", "message_stop")

NO_COUNTS = Counts()


def read_answer(answer: Mapping[str, Any]) -> ChatAnswer:
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
    return ChatAnswer(*identity_of(answer), parts, stop, sequence, counts)


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


def write_answer(answer: ChatAnswer) -> dict[str, Any]:
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


def head(answer: ChatAnswer) -> dict[str, Any]:
    """The fields with which an answer begins."""
    name = answer.id if answer.id.startswith("msg_") else f"msg_{answer.id}"
    return {"id": name, "type": "message", "role": "assistant", "model": answer.model}


def written_stop(answer: ChatAnswer) -> dict[str, Any]:
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


@dataclass(slots=True)
class MessagesHearing:
    """Reads the events of a stream.

    Blocks come one after another, as in the other APIs.
    """

    _counts: Counts | None = None
    _answer: ChatAnswer | None = None
    _call: str | None = None
    _input: str = ""  # of a call, as its beginning told it
    _in_turn: InTurn = field(default_factory=InTurn)

    def feed(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        """The pieces that an event tells.

        Raises:
            BrokenAnswerError: if it tells that the upstream failed.
        """
        kind, block = data.get("type"), data.get("index")
        begins, ends = kind == "content_block_start", kind in ("content_block_stop", *_LAST)
        for event in self._in_turn.feed(data, block, begins=begins, ends=ends):
            yield from self._heard(event)

    def _heard(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        if failure := failure_in(data):
            raise BrokenAnswerError(failure.reason)
        kind = data.get("type")
        if kind == "message_start":
            message = table(data, "message")
            self._count(message)
            yield Piece("begin", answer=ChatAnswer(*identity_of(message), counts=self._counts))
        elif kind == "content_block_start":
            part = read_block(table(data, "content_block"))
            if part.kind == "call":  # its arguments come in pieces, at most servers
                self._call, self._input = "", part.text
                part = replace(part, text="")
            yield Piece("part", part)
        elif kind == "content_block_delta":
            yield from self._delta(table(data, "delta"))
        elif kind == "content_block_stop" and self._call is not None:
            if not self._call:
                yield Piece("more", Part("call", self._input or "{}"))
            self._call = None
        elif kind == "message_delta":
            self._count(data)
            stop, sequence = stop_of(table(data, "delta"))
            self._answer = ChatAnswer("", "", stop=stop, sequence=sequence)

    def end(self) -> Iterator[Piece]:
        """What there is to tell at the end.

        Raises:
            BrokenAnswerError: if the stream ended before the answer did.
        """
        if self._answer is None:
            raise BrokenAnswerError(ENDED_EARLY)
        yield Piece("end", answer=replace(self._answer, counts=self._counts))

    def _count(self, told: Mapping[str, Any]) -> None:
        if usage := table(told, "usage"):
            self._counts = counts_of(usage, self._counts or NO_COUNTS)

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[Piece]:
        kind = delta.get("type")
        if kind == "text_delta":
            yield Piece("more", Part("text", str(delta.get("text") or "")))
        elif kind == "thinking_delta":
            yield Piece("more", Part("thought", str(delta.get("thinking") or ""), origin=NAME))
        elif kind == "signature_delta":
            sign = str(delta.get("signature") or "")
            yield Piece("sign", Part("thought", signature=sign, origin=NAME))
        elif kind == "input_json_delta":
            text = str(delta.get("partial_json") or "")
            self._call = (self._call or "") + text
            yield Piece("more", Part("call", text))


class MessagesTelling:
    """Writes the events of a stream."""

    def __init__(self, question: ChatQuestion) -> None:
        self._at = -1
        self._open: Part | None = None

    def feed(self, piece: Piece) -> bytes:
        """The events that tell a piece."""
        part = piece.part
        if piece.kind == "begin":
            message = {**head(piece.answer), "content": [], "stop_reason": None}
            message["stop_sequence"] = None
            message["usage"] = written_counts(piece.answer.counts or NO_COUNTS)
            return _event("message_start", message=message)
        if piece.kind == "part":
            closed, self._open = self._closed(), part
            self._at += 1
            return closed + self._begun(part)
        if piece.kind == "end":
            usage = written_counts(piece.answer.counts or NO_COUNTS)
            last = _event("message_delta", delta=written_stop(piece.answer), usage=usage)
            return self._closed() + last + _event("message_stop")
        if piece.kind == "sign":
            if self._open is not None:
                self._open = replace(self._open, id=part.id, origin=part.origin)
                self._open = replace(self._open, signature=self._open.signature + part.signature)
            return b""
        return self._delta(part)

    def _begun(self, part: Part) -> bytes:
        first = b""
        if part.kind == "sealed":
            block = write_block(part)
        elif part.kind == "call":
            block = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        elif part.kind == "thought":
            block = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            block = {"type": "text", "text": ""}
        if part.text:
            first = self._delta(part)
        return _event("content_block_start", index=self._at, content_block=block) + first

    def _delta(self, part: Part) -> bytes:
        if part.kind == "thought":
            delta = {"type": "thinking_delta", "thinking": part.text}
        elif part.kind == "call":
            delta = {"type": "input_json_delta", "partial_json": part.text}
        else:
            delta = {"type": "text_delta", "text": part.text}
        return _event("content_block_delta", index=self._at, delta=delta)

    def _closed(self) -> bytes:
        """Ends the open block; a thought is signed at its end."""
        if self._open is None:
            return b""
        sign = b""
        if self._open.kind == "thought":
            delta = {"type": "signature_delta", "signature": signed(self._open)}
            sign = _event("content_block_delta", index=self._at, delta=delta)
        return sign + _event("content_block_stop", index=self._at)


def _event(kind: str, **fields: Any) -> bytes:
    data = written({"type": kind, **fields})
    return f"event: {kind}\ndata: {data}\n\n".encode()
