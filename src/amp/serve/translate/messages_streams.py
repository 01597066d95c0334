"""Streams of Anthropic's Messages, from and into the pieces that they tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from amp.models.bill import table
from amp.models.reply import failure_in
from amp.serve.translate.meaning import (
    ENDED_EARLY,
    Answer,
    BrokenAnswerError,
    Counts,
    InTurn,
    Part,
    Piece,
    Question,
    signed,
    written,
)
from amp.serve.translate.messages import NAME
from amp.serve.translate.messages_answers import (
    NO_COUNTS,
    counts_of,
    head,
    identity_of,
    read_block,
    stop_of,
    write_block,
    written_counts,
    written_stop,
)

_LAST = ("message_delta", "message_stop")


@dataclass(slots=True)
class MessagesHearing:
    """Reads the events of a stream.

    Blocks come one after another, as in the other APIs.
    """

    _counts: Counts = NO_COUNTS
    _answer: Answer | None = None
    _call: str | None = None
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
            self._counts = counts_of(table(message, "usage"), self._counts)
            yield Piece("begin", answer=Answer(*identity_of(message), counts=self._counts))
        elif kind == "content_block_start":
            part = read_block(table(data, "content_block"))
            if part.kind == "call":  # its arguments come in pieces
                part, self._call = replace(part, text=""), ""
            yield Piece("part", part)
        elif kind == "content_block_delta":
            yield from self._delta(table(data, "delta"))
        elif kind == "content_block_stop" and self._call is not None:
            if not self._call:
                yield Piece("more", Part("call", "{}"))
            self._call = None
        elif kind == "message_delta":
            self._counts = counts_of(table(data, "usage"), self._counts)
            stop, sequence = stop_of(table(data, "delta"))
            self._answer = Answer("", "", stop=stop, sequence=sequence)

    def end(self) -> Iterator[Piece]:
        """What there is to tell at the end.

        Raises:
            BrokenAnswerError: if the stream ended before the answer did.
        """
        if self._answer is None:
            raise BrokenAnswerError(ENDED_EARLY)
        yield Piece("end", answer=replace(self._answer, counts=self._counts))

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

    def __init__(self, question: Question) -> None:
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
