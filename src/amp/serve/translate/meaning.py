"""What a request and an answer of any chat API mean, in none of their words.

Each API has a reader and a writer of these (`amp.serve.translate.chat` and its neighbours), so that
three of them need six functions and not six translators. A reader leaves no field unread: what has
no name here lands in `ChatQuestion.others`, and a writer that has no words for one of those
refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from amp.errors import InvalidInputError
from amp.models.answer_text import mended
from amp.serve.dialects.base import parsed

Kind = Literal["text", "refusal", "thought", "sealed", "call", "result", "image", "file"]
Role = Literal["system", "user", "assistant", "tool"]
Stop = Literal["stop", "sequence", "length", "calls", "withheld"]

MARK = "amp-"
"""With it begins the signature of a thought that goes to a client of another API."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a turn.

    Attributes:
        kind: what it is; ``sealed`` is a thought that only its maker can read.
        text: what it says; of a call the arguments, as JSON.
        id: of a call, of the call that a result belongs to, of a thought.
        name: of the function or the file.
        url: of an image or a file, also as ``data:``.
        detail: how closely an image is looked at.
        parts: what a result says.
        failed: whether a result is an error.
        signature: by which the API that made a thought knows it again.
        origin: name of that API.
    """

    kind: Kind
    text: str = ""
    id: str = ""
    name: str = ""
    url: str = ""
    detail: str = ""
    parts: tuple[Part, ...] = ()
    failed: bool = False
    signature: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """What one side says."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class ChatTool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """The JSON schema that an answer is to have."""

    schema: Mapping[str, Any]
    name: str = ""
    description: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A request.

    Attributes:
        model: that is asked.
        turns: the conversation.
        tools: that it may call.
        choice: ``auto``, ``none``, ``any``, or a function's name after ``=``; empty where open.
        parallel: whether it may call several at once; None where open.
        max_tokens: thinking and answer together; None where open.
        stop: texts that end an answer.
        temperature: None where open.
        top_p: None where open.
        effort: how hard it is to think, from ``none`` to ``max``; empty where open.
        shape: of the answer.
        stream: whether it is to be streamed.
        usage: whether a stream is to tell its usage.
        others: further fields that have an effect, by the client's names.
    """

    model: str
    turns: tuple[ChatTurn, ...]
    tools: tuple[ChatTool, ...] = ()
    choice: str = ""
    parallel: bool | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    effort: str = ""
    shape: AnswerSchema | None = None
    stream: bool = False
    usage: bool = True
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens, as an upstream tells them.

    Attributes:
        prompt: all of the prompt.
        cached: those of them that were read from a cache.
        written: those of them that were written into one.
        completion: generated.
        reasoning: those of them that were thinking.
    """

    prompt: int = 0
    cached: int = 0
    written: int = 0
    completion: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """An answer.

    Attributes:
        id: that the upstream gave it.
        model: that gave it.
        parts: what it says.
        stop: why it ended.
        sequence: the text that ended it.
        counts: None where the upstream tells none.
        created: when, in seconds of Unix time; 0 if the upstream does not tell.
    """

    id: str
    model: str
    parts: tuple[Part, ...] = ()
    stop: Stop = "stop"
    sequence: str = ""
    counts: Counts | None = None
    created: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event of a stream tells.

    Attributes:
        kind: ``begin`` has an answer without parts; ``part`` begins one; ``more`` goes on with the
            last one (``sign`` with its signature); ``end`` has an answer without parts, but with
            how it ended.
        part: that begins; of ``more`` and ``sign``, what is added.
        answer: of ``begin`` and ``end``.
    """

    kind: Literal["begin", "part", "more", "sign", "end"]
    part: Part = Part("text")
    answer: ChatAnswer = ChatAnswer("", "")


class InTurn:
    """Has the events of a stream's parts come one part after another.

    Those of a part wait until the one before has ended.
    """

    def __init__(self) -> None:
        self._open: object = None
        self._waiting: list[tuple[Mapping[str, Any], object, bool, bool]] = []

    def feed(
        self, event: Mapping[str, Any], part: object, *, begins: bool, ends: bool
    ) -> Iterator[Mapping[str, Any]]:
        """The events whose turn it is.

        Args:
            event: the one that came.
            part: that it belongs to; None for none.
            begins: whether the part begins with it.
            ends: whether a part ends with it, or all do.
        """
        if None not in (part, self._open) and part != self._open:
            self._waiting.append((event, part, begins, ends))
            return
        if ends and part is None:
            yield from self._next()
        yield event
        if begins:
            self._open = part
        elif ends:
            yield from self._next()

    def _next(self) -> Iterator[Mapping[str, Any]]:
        self._open, waiting, self._waiting = None, self._waiting, []
        for event, part, begins, ends in waiting:
            yield from self.feed(event, part, begins=begins, ends=ends)


ENDED_EARLY = "the upstream's stream ended before its answer did"


class UntranslatableError(InvalidInputError):
    """A request says what the upstream's API has no words for."""


class BrokenAnswerError(Exception):
    """An upstream says that it failed, or what it says is no answer."""


def gathered(pieces: Iterable[Piece]) -> ChatAnswer:
    """The answer that the pieces of a stream make up."""
    answer, parts = ChatAnswer("", ""), list[Part]()
    for piece in pieces:
        if piece.kind in ("begin", "end"):
            first = answer
            answer = piece.answer
            if piece.kind == "end":
                answer = replace(answer, id=first.id, model=first.model, created=first.created)
        elif piece.kind == "part":
            parts.append(piece.part)
        else:
            parts[-1] = grown(parts[-1], piece)
    return replace(answer, parts=tuple(parts))


def grown(part: Part, piece: Piece) -> Part:
    """A part after a piece that goes on with it."""
    if piece.kind == "sign":
        return replace(part, signature=part.signature + piece.part.signature)
    return replace(part, text=part.text + piece.part.text)


def scattered(answer: ChatAnswer) -> Iterator[Piece]:
    """The pieces of an answer that came whole."""
    yield Piece("begin", answer=replace(answer, parts=()))
    for part in answer.parts:
        yield Piece("part", part)
    yield Piece("end", answer=replace(answer, parts=()))


def joined(turns: Iterable[ChatTurn]) -> tuple[ChatTurn, ...]:
    """The turns, those of one side after each other in one, but for the user's."""
    found: list[ChatTurn] = []
    for turn in turns:
        if found and turn.role == found[-1].role != "user":
            turn = ChatTurn(turn.role, found.pop().parts + turn.parts)
        found.append(turn)
    return tuple(found)


def text_of(parts: Iterable[Part], where: str) -> str:
    """The texts of parts that are to be nothing else.

    Raises:
        InvalidInputError: if one is.
    """
    texts = []
    for part in parts:
        if part.kind not in ("text", "refusal"):
            raise untranslatable(where, f"{part.kind} where the upstream's API takes only text")
        texts.append(part.text)
    return "".join(texts)


def signed(part: Part) -> str:
    """The signature of a thought as a client keeps it: it says whose it is."""
    return f"{MARK}{part.origin}:{part.id}:{part.signature}"


def unsigned(signature: str, native: str) -> tuple[str, str, str]:
    """Origin, id and own signature of a thought that a client sends back.

    Args:
        signature: as the client kept it.
        native: the API that signs as it likes.
    """
    if not signature.startswith(MARK):
        return native, "", signature
    origin, _, rest = signature.removeprefix(MARK).partition(":")
    thought, _, own = rest.partition(":")
    return origin, thought, own


def objects(value: object) -> list[dict[str, Any]]:
    """The objects in what should be a list of them."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def arguments_of(call: Mapping[str, Any]) -> str:
    """The arguments of a call as JSON; some servers send the object itself."""
    found = call.get("arguments") or ""
    return found if isinstance(found, str) else written(found)


def written(value: object) -> str:
    """JSON as the APIs write it; halves of characters, which no UTF-8 has, are U+FFFD.

    Raises:
        ValueError: for a number that JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text if text.isascii() else mended(text)


def is_json(text: str) -> bool:
    """Whether a text is JSON, to its end."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def given(**fields: object) -> dict[str, Any]:
    """The fields that are not left open."""
    return {name: value for name, value in fields.items() if value is not None}


def said(
    question: ChatQuestion, api: str, names: Collection[str], idle: Collection[str]
) -> dict[str, Any]:
    """The further fields of a question, as an API has them under the same names.

    Args:
        question: where they stand.
        api: how the API is called.
        names: fields that it has.
        idle: fields that it can do without, because they change no answer.

    Raises:
        InvalidInputError: if there is another one.
    """
    for name in question.others:
        if name not in names and name not in idle:
            raise untranslatable(name, f"the upstream speaks {api}, which has no such field")
    return {name: value for name, value in question.others.items() if name in names}


def untranslatable(where: str, why: str) -> UntranslatableError:
    """What is told of a field that cannot be said in the upstream's API."""
    return UntranslatableError(f"field {where} cannot be translated: {why}")


def without_marks(body: bytes) -> bytes:
    """A request of any API without thoughts under marks of ours; the same bytes if it has none.

    A client that was answered by translation sends thoughts back under such marks (`signed`). Where
    its own API is spoken the next time, after a change of the model or where an upstream stands in
    for another one, that API would refuse them.
    """
    if b'"' + MARK.encode() not in body:
        return body
    before, fields = parsed(body), parsed(body)
    if fields is None:
        return body
    for message in objects(fields.get("messages")):
        details = message.get("reasoning_details")
        if any(map(_is_marked, objects(details))):  # of chat completions
            for name in ("reasoning_details", "reasoning_content"):
                message.pop(name, None)
        if isinstance(message.get("content"), list):
            message["content"] = _unmarked(message["content"])
    for name in ("messages", "input"):
        if isinstance(fields.get(name), list):
            kept = _unmarked(fields[name])
            fields[name] = [each for each in kept if not _is_empty(each)]
    return body if fields == before else written(fields).encode()


def _unmarked(items: list[Any]) -> list[Any]:
    return [each for each in items if not (isinstance(each, dict) and _is_marked(each))]


def _is_marked(item: dict[str, Any]) -> bool:
    names = ("signature", "data", "encrypted_content")
    return any(str(item.get(name, "")).startswith(MARK) for name in names)


def _is_empty(message: object) -> bool:
    """Whether nothing is left of an assistant's message."""
    return isinstance(message, dict) and message.get("content") == []
