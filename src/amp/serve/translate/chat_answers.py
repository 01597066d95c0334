"""Answers of chat completions, from and into what they mean."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from amp.models.answer_text import AnswerText, answer_text
from amp.models.bill import number, table
from amp.models.reply import CUT_OFF, WITHHELD, end_of, failure_in
from amp.serve.translate.chat import NAME, THOUGHTS, written_call
from amp.serve.translate.meaning import (
    ENDED_EARLY,
    BrokenAnswerError,
    ChatAnswer,
    ChatQuestion,
    Counts,
    Part,
    Piece,
    Stop,
    arguments_of,
    grown,
    is_json,
    objects,
    signed,
    written,
)

ENDS: Mapping[Stop, str] = {
    "stop": "stop",
    "sequence": "stop",
    "length": "length",
    "calls": "tool_calls",
    "withheld": "content_filter",
}


def read_answer(answer: Mapping[str, Any]) -> ChatAnswer:
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
        name, arguments = str(function.get("name") or ""), arguments_of(function) or "{}"
        parts.append(Part("call", arguments, str(call.get("id") or "") or new_id(), name))
    stop, sequence = stop_of(choice, calls=any(part.kind == "call" for part in parts))
    identity = str(answer.get("id") or ""), str(answer.get("model") or "")
    created = number_of_seconds(answer.get("created"))
    return ChatAnswer(*identity, tuple(parts), stop, sequence, counts_of(answer), created)


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


def new_id() -> str:
    """A name for a call that a server gave none; its result is told by it."""
    return f"call_{secrets.token_hex(12)}"


def number_of_seconds(value: object) -> int:
    """A moment in seconds of Unix time; 0 if it is none."""
    return int(value) if isinstance(value, int | float) and 0 < value < 1e11 else 0


def write_answer(answer: ChatAnswer) -> dict[str, Any]:
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


def head(answer: ChatAnswer, kind: str) -> dict[str, Any]:
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


@dataclass(slots=True)
class _Call:
    part: Part
    came: str = ""
    told: int | None = None  # characters of what came; None before it has begun


@dataclass(slots=True)
class ChatHearing:
    """Reads the chunks of a stream.

    Parts come one after another, as in the other APIs: the arguments of a call wait until those of
    the one before are whole, and so does what is said amid them.
    """

    _begun: bool = False
    _kind: str = ""
    _calls: dict[int, _Call] = field(default_factory=dict)
    _current: int = 0
    _later: list[Part] = field(default_factory=list)  # what was said amid the arguments of a call
    _choice: Mapping[str, Any] = field(default_factory=dict)
    _counts: Counts | None = None

    def feed(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        """The pieces that a chunk tells.

        Raises:
            BrokenAnswerError: if it tells that the upstream failed.
        """
        if failure := failure_in(data):
            raise BrokenAnswerError(failure.reason)
        if not self._begun:
            self._begun = True
            identity = str(data.get("id") or ""), str(data.get("model") or "")
            created = number_of_seconds(data.get("created"))
            yield Piece("begin", answer=ChatAnswer(*identity, created=created))
        self._counts = counts_of(data) or self._counts
        for choice in objects(data.get("choices")):
            if choice.get("index"):
                continue
            delta = table(choice, "delta") or table(choice, "message")
            require_words(delta)
            for text in thoughts_in(delta):
                yield from self._more(Part("thought", text, origin=NAME))
            content = delta.get("content")
            if isinstance(content, list):
                content = apart(content).text
            if isinstance(content, str) and content:
                yield from self._more(Part("text", content))
            if isinstance(refusal := delta.get("refusal"), str) and refusal:
                yield from self._more(Part("refusal", refusal))
            for call in objects(delta.get("tool_calls")):
                self._note(call)
            yield from self._told_calls(at_end=False)
            if choice.get("finish_reason"):
                self._choice = choice

    def end(self) -> Iterator[Piece]:
        """What there is to tell at the end.

        Raises:
            BrokenAnswerError: if the stream ended before the answer did.
        """
        if not self._choice:
            raise BrokenAnswerError(ENDED_EARLY)
        yield from self._told_calls(at_end=True)
        stop, sequence = stop_of(self._choice, calls=bool(self._calls))
        yield Piece(
            "end", answer=ChatAnswer("", "", stop=stop, sequence=sequence, counts=self._counts)
        )

    def _more(self, part: Part) -> Iterator[Piece]:
        if self._later or (self._kind == "call" and not self._is_whole()):
            self._later.append(part)
            return
        yield Piece("more" if self._kind == part.kind else "part", part)
        self._kind = part.kind

    def _is_whole(self) -> bool:
        """Whether all arguments of the open call have come."""
        return is_json(self._calls[sorted(self._calls)[self._current]].came)

    def _note(self, call: Mapping[str, Any]) -> None:
        """Adds what a chunk tells of a call; some servers give every call the same index."""
        at = number(call.get("index")) or 0
        name, function = str(call.get("id") or ""), table(call, "function")
        while at in self._calls and name and self._calls[at].part.id not in ("", name):
            at += 1
        known = self._calls.setdefault(at, _Call(Part("call")))
        part = known.part
        title = part.name or str(function.get("name") or "")
        known.part = Part("call", id=part.id or name, name=title)
        known.came += arguments_of(function)

    def _told_calls(self, *, at_end: bool) -> Iterator[Piece]:
        order = sorted(self._calls)
        while self._current < len(order):
            call = self._calls[order[self._current]]
            if call.told is None:
                call.told, self._kind = 0, "call"
                yield Piece("part", replace(call.part, id=call.part.id or new_id()))
            if at_end and not call.came:
                call.came = "{}"
            fresh, call.told = call.came[call.told :], len(call.came)
            if fresh and (self._kind == "call" or fresh.strip()):  # spaces may come after its end
                yield Piece("more", Part("call", fresh))
            if self._later and (at_end or self._is_whole()):
                later, self._later, self._kind = self._later, [], ""
                for part in later:
                    yield from self._more(part)
            is_last = self._current + 1 == len(order)
            if is_last or not (at_end or self._is_whole()):
                return
            self._current += 1


class ChatTelling:
    """Writes the chunks of a stream."""

    def __init__(self, question: ChatQuestion) -> None:
        self._usage = question.usage
        self._begun: dict[str, Any] = {}
        self._calls = -1
        self._thought = Part("thought")
        self._signed = 0

    def feed(self, piece: Piece) -> bytes:
        """The chunks that tell a piece."""
        part = piece.part
        if piece.kind == "begin":
            self._begun = head(piece.answer, "chat.completion.chunk")
            return self._chunk({"role": "assistant", "content": ""})
        if piece.kind == "end":
            return self._end(piece.answer)
        if piece.kind == "sign":  # clients keep the details whole, so the text is said again
            self._thought = grown(self._thought, piece)
            told = self._thoughts(self._thought)
            told.pop("reasoning_content", None)
            return self._chunk(told)
        if part.kind in ("thought", "sealed"):
            self._thought = part if piece.kind == "part" else grown(self._thought, piece)
            return self._chunk(self._thoughts(part))
        if part.kind == "refusal":
            return self._chunk({"refusal": part.text})
        if part.kind == "call":
            return self._call(piece)
        return self._chunk({"content": part.text}) if part.text else b""

    def _thoughts(self, part: Part) -> dict[str, Any]:
        told = written_thoughts([part], self._signed)
        self._signed += len(told.get("reasoning_details", ()))
        return told

    def _call(self, piece: Piece) -> bytes:
        call: dict[str, Any] = {"function": {"arguments": piece.part.text}}
        if piece.kind == "part":
            self._calls += 1
            call = {"id": piece.part.id, "type": "function", "function": call["function"]}
            call["function"]["name"] = piece.part.name
        return self._chunk({"tool_calls": [{"index": self._calls, **call}]})

    def _end(self, answer: ChatAnswer) -> bytes:
        last = self._chunk({}, ENDS[answer.stop])
        if self._usage and answer.counts:
            usage = written_counts(answer.counts)
            last += _event({**self._begun, "choices": [], "usage": usage})
        return last + b"data: [DONE]\n\n"

    def _chunk(self, delta: Mapping[str, Any], end: str | None = None) -> bytes:
        if not delta and end is None:
            return b""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        usage = {"usage": None} if self._usage else {}
        return _event({**self._begun, "choices": [choice], **usage})


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + written(data).encode() + b"\n\n"
