"""Streams of chat completions, from and into the pieces that they tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from amp.models.bill import number, table
from amp.models.reply import failure_in
from amp.serve.translate.chat import NAME
from amp.serve.translate.chat_answers import (
    ENDS,
    apart,
    counts_of,
    head,
    number_of_seconds,
    require_words,
    stop_of,
    thoughts_in,
    written_counts,
    written_thoughts,
)
from amp.serve.translate.meaning import (
    ENDED_EARLY,
    Answer,
    BrokenAnswerError,
    Counts,
    Part,
    Piece,
    Question,
    grown,
    is_json,
    objects,
    written,
)


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
            yield Piece("begin", answer=Answer(*identity, created=created))
        self._counts = counts_of(data) or self._counts
        for choice in objects(data.get("choices")):
            if choice.get("index"):
                continue
            delta = table(choice, "delta")
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
        yield Piece("end", answer=Answer("", "", stop=stop, sequence=sequence, counts=self._counts))

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
        known.came += str(function.get("arguments") or "")

    def _told_calls(self, *, at_end: bool) -> Iterator[Piece]:
        order = sorted(self._calls)
        while self._current < len(order):
            call = self._calls[order[self._current]]
            if call.told is None:
                call.told, self._kind = 0, "call"
                yield Piece("part", call.part)
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

    def __init__(self, question: Question) -> None:
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

    def _end(self, answer: Answer) -> bytes:
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
