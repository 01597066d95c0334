"""Streams of OpenAI's Responses, from and into the pieces that they tell."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from amp.models.bill import table
from amp.models.reply import reason_of
from amp.serve.translate.meaning import (
    ENDED_EARLY,
    Answer,
    BrokenAnswerError,
    InTurn,
    Part,
    Piece,
    Question,
    grown,
    written,
)
from amp.serve.translate.responses_answers import (
    item_name,
    outcome_of,
    read_item,
    write_answer,
    write_content,
    write_item,
    written_response,
)

_LAST = ("response.completed", "response.incomplete", "response.failed")
_TEXTS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "thought",
    "response.reasoning_text.delta": "thought",
    "response.function_call_arguments.delta": "call",
}


class ResponsesHearing:
    """Reads the events of a stream.

    Items come one after another, as in the other APIs.
    """

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._open: Part | None = None
        self._answer: Answer | None = None
        self._in_turn = InTurn()
        self._told = False  # whether an event told something of the item that is open

    def feed(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        """The pieces that an event tells.

        Raises:
            BrokenAnswerError: if it tells that the upstream failed.
        """
        kind, item = str(data.get("type")), data.get("output_index")
        begins = kind == "response.output_item.added"
        ends = kind in ("response.output_item.done", *_LAST)
        for event in self._in_turn.feed(data, item, begins=begins, ends=ends):
            yield from self._heard(event)

    def _heard(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        kind, response = str(data.get("type")), table(data, "response")
        if kind in ("error", "response.failed"):
            raise BrokenAnswerError(reason_of(response.get("error") or data)[0])
        if kind == "response.created":
            yield Piece("begin", answer=outcome_of(response, []))
        elif kind == "response.output_item.added":
            item, self._told = table(data, "item"), False
            if item.get("type") != "message":
                (begun,) = read_item({**item, "encrypted_content": None})
                begun = replace(begun, text="") if begun.kind == "call" else begun
                yield from self._begun(begun)
        elif kind == "response.content_part.added":
            is_refusal = table(data, "part").get("type") == "refusal"
            yield from self._begun(Part("refusal" if is_refusal else "text"))
        elif kind == "response.reasoning_summary_part.added" and data.get("summary_index"):
            yield from self._more(Part("thought", "\n\n"))
        elif kind in _TEXTS:
            yield from self._said(Part(_TEXTS[kind], str(data.get("delta") or "")))  # type: ignore[arg-type]  # kinds of parts
        elif kind == "response.output_item.done":
            yield from self._done(table(data, "item"))
        elif kind in _LAST:
            self._answer = outcome_of(response, self._parts)

    def end(self) -> Iterator[Piece]:
        """What there is to tell at the end.

        Raises:
            BrokenAnswerError: if the stream ended before the answer did.
        """
        if self._answer is None:
            raise BrokenAnswerError(ENDED_EARLY)
        yield Piece("end", answer=self._answer)

    def _begun(self, part: Part) -> Iterator[Piece]:
        self._open, self._told = part, True
        self._parts.append(part)
        yield Piece("part", part)

    def _said(self, part: Part) -> Iterator[Piece]:
        """A text, of which some servers do not say before that it begins."""
        if self._told and self._open is not None and self._open.kind == part.kind:
            yield from self._more(part)
        elif part.kind == "call":
            raise BrokenAnswerError("it has arguments of a call that has not begun")
        else:
            yield from self._begun(part)

    def _more(self, part: Part) -> Iterator[Piece]:
        if self._open is not None and self._open.kind == part.kind:
            piece = Piece("more", part)
            self._open = grown(self._open, piece)
            yield piece

    def _done(self, item: Mapping[str, Any]) -> Iterator[Piece]:
        """An item at its end may tell what no event before did."""
        was_told, self._told = self._told, False
        if not was_told:
            for part in read_item(item):
                yield from self._begun(part)
            self._told = False
            return
        if item.get("type") == "message" or self._open is None:
            return
        (whole,) = read_item(item)
        if whole.kind == "thought" and whole.signature:
            yield Piece("sign", replace(whole, text=""))
        if whole.text.startswith(self._open.text):
            yield from self._more(replace(whole, text=whole.text[len(self._open.text) :]))


@dataclass(slots=True)
class ResponsesTelling:
    """Writes the events of a stream."""

    question: Question
    _answer: Answer = Answer("", "")  # noqa: RUF009  # frozen
    _number: int = 0

    def feed(self, piece: Piece) -> bytes:
        """The events that tell a piece."""
        if piece.kind == "begin":
            created = piece.answer.created or int(time.time())
            self._answer = replace(piece.answer, created=created, counts=None)
            first = written_response(self._answer, "in_progress", [])
            return self._event("created", response=first) + self._event(
                "in_progress", response=first
            )
        parts = self._answer.parts
        if piece.kind == "part":
            closed = self._closed()
            empty = replace(piece.part, text="", signature="")
            self._answer = replace(self._answer, parts=(*parts, empty))
            opened = self._opened(empty)
            self._answer = replace(self._answer, parts=(*parts, piece.part))
            return closed + opened + (self._delta(piece.part) if piece.part.text else b"")
        if piece.kind == "end":
            closed = self._closed()
            ended = replace(
                piece.answer,
                id=self._answer.id,
                model=self._answer.model,
                created=self._answer.created,
                parts=parts,
            )
            whole = write_answer(ended)
            return closed + self._event(whole["status"], response=whole)
        more = grown(parts[-1], piece)
        if piece.kind == "sign":
            more = replace(more, id=piece.part.id or more.id, origin=piece.part.origin)
        self._answer = replace(self._answer, parts=(*parts[:-1], more))
        return self._delta(piece.part) if piece.kind == "more" else b""

    def _at(self) -> dict[str, Any]:
        at = len(self._answer.parts) - 1
        item = write_item(self._answer.parts[at], item_name(self._answer, at), "in_progress")
        return {"item_id": item["id"], "output_index": at}

    def _opened(self, part: Part) -> bytes:
        at = self._at()
        item = write_item(part, item_name(self._answer, at["output_index"]), "in_progress")
        where = {"output_index": at["output_index"]}
        if part.kind in ("text", "refusal"):
            opened = self._event("output_item.added", **where, item={**item, "content": []})
            return opened + self._event(
                "content_part.added", **at, content_index=0, part=write_content(part)
            )
        return self._event("output_item.added", **where, item=item)

    def _delta(self, part: Part) -> bytes:
        at = self._at()
        if part.kind == "call":
            return self._event("function_call_arguments.delta", **at, delta=part.text)
        if part.kind in ("thought", "sealed"):
            first = b""
            if self._answer.parts[-1].text == part.text:  # the first one
                empty = {"type": "summary_text", "text": ""}
                first = self._event(
                    "reasoning_summary_part.added", **at, summary_index=0, part=empty
                )
            return first + self._event(
                "reasoning_summary_text.delta", **at, summary_index=0, delta=part.text
            )
        if part.kind == "refusal":
            return self._event("refusal.delta", **at, content_index=0, delta=part.text)
        return self._event("output_text.delta", **at, content_index=0, delta=part.text, logprobs=[])

    def _closed(self) -> bytes:
        """Ends the item that is open."""
        if not self._answer.parts:
            return b""
        at, part = self._at(), self._answer.parts[-1]
        item = write_item(part, item_name(self._answer, at["output_index"]), "completed")
        last = b""
        if part.kind == "call":
            done = {"name": part.name, "arguments": part.text}
            last = self._event("function_call_arguments.done", **at, **done)
        elif part.kind == "thought" and part.text:
            whole = {"type": "summary_text", "text": part.text}
            last = self._event("reasoning_summary_text.done", **at, summary_index=0, text=part.text)
            last += self._event("reasoning_summary_part.done", **at, summary_index=0, part=whole)
        elif part.kind in ("text", "refusal"):
            told = {"refusal": part.text} if part.kind == "refusal" else {"text": part.text}
            told_of = "refusal.done" if part.kind == "refusal" else "output_text.done"
            sure: dict[str, Any] = {} if part.kind == "refusal" else {"logprobs": []}
            last = self._event(told_of, **at, content_index=0, **told, **sure)
            last += self._event(
                "content_part.done", **at, content_index=0, part=write_content(part)
            )
        return last + self._event("output_item.done", output_index=at["output_index"], item=item)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": f"response.{kind}", "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: response.{kind}\ndata: {written(data)}\n\n".encode()
