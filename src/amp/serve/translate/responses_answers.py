"""Answers of OpenAI's Responses, from and into what they mean."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from amp.models.bill import number, table
from amp.models.reply import reason_of
from amp.serve.translate.chat_answers import number_of_seconds
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
    arguments_of,
    grown,
    objects,
    signed,
    written,
)
from amp.serve.translate.responses import NAME

_CUT: Mapping[Stop, str] = {"length": "max_output_tokens", "withheld": "content_filter"}

_LAST = ("response.completed", "response.incomplete", "response.failed")
_TEXTS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "thought",
    "response.reasoning_text.delta": "thought",
    "response.function_call_arguments.delta": "call",
}


def read_answer(answer: Mapping[str, Any]) -> ChatAnswer:
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
        yield Part("call", arguments_of(item) or "{}", *called)
    elif kind == "reasoning":
        said = [each for name in ("summary", "content") for each in objects(item.get(name))]
        text = "\n\n".join(str(each.get("text") or "") for each in said)
        sign = str(item.get("encrypted_content") or "")
        yield Part("thought", text, str(item.get("id") or ""), signature=sign, origin=NAME)
    else:
        raise BrokenAnswerError(f"it has an item of the type {str(kind)[:40]!r}")


def outcome_of(answer: Mapping[str, Any], parts: list[Part]) -> ChatAnswer:
    """An answer without its parts."""
    stop: Stop = "calls" if any(part.kind == "call" for part in parts) else "stop"
    if answer.get("status") == "incomplete":
        why = table(answer, "incomplete_details").get("reason")
        stop = "withheld" if why == "content_filter" else "length"
    identity = str(answer.get("id") or ""), str(answer.get("model") or "")
    created = number_of_seconds(answer.get("created_at"))
    return ChatAnswer(*identity, stop=stop, counts=_counts(answer), created=created)


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


def write_answer(answer: ChatAnswer) -> dict[str, Any]:
    """The answer that says this."""
    status = "incomplete" if answer.stop in _CUT else "completed"
    items = [
        write_item(part, item_name(answer, at), "completed") for at, part in enumerate(answer.parts)
    ]
    return written_response(answer, status, items)


def item_name(answer: ChatAnswer, at: int) -> str:
    """The name of the item of a part, whose kind comes before it."""
    return f"{answer.id}-{at}"


def written_response(
    answer: ChatAnswer, status: str, items: list[dict[str, Any]]
) -> dict[str, Any]:
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


class ResponsesHearing:
    """Reads the events of a stream.

    Items come one after another, as in the other APIs.
    """

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._open: Part | None = None
        self._answer: ChatAnswer | None = None
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
            if not self._parts:  # no event before told any
                for item in objects(response.get("output")):
                    yield from self._done(item)
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

    question: ChatQuestion
    _answer: ChatAnswer = ChatAnswer("", "")  # noqa: RUF009  # frozen
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
