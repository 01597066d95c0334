"""One call, translated there and back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from amp.errors import InvalidInputError
from amp.models.answer_text import mended
from amp.models.reply import reason_of
from amp.serve.dialects.apis import CHAT, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect, data_of, object_of, parsed
from amp.serve.translate import (
    chat,
    chat_answers,
    messages,
    messages_answers,
    responses,
    responses_answers,
)
from amp.serve.translate.meaning import (
    BrokenAnswerError,
    ChatAnswer,
    ChatQuestion,
    Part,
    Piece,
    gathered,
    scattered,
    written,
)
from amp.serve.upstreams.answer import UpstreamError

_OF_ONE_API = ("authorization", "x-api-key", "api-key", "anthropic-", "openai-", "x-stainless-")
_DONE = re.compile(rb"^data: *\[DONE\]", re.MULTILINE)
_NEW_CAP = "max_completion_tokens"
_LAST = ("message_stop", "response.completed", "response.incomplete")
_BROKEN = (BrokenAnswerError, RecursionError, ValueError)
_VERSION = ("anthropic-version", "2023-06-01")


class Hearing(Protocol):
    """Reads a stream."""

    def feed(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        """The pieces that an event tells."""
        ...

    def end(self) -> Iterator[Piece]:
        """What there is to tell at the end."""
        ...


class Telling(Protocol):
    """Writes a stream."""

    def feed(self, piece: Piece) -> bytes:
        """The events that tell a piece."""
        ...


@dataclass(frozen=True, slots=True)
class Grammar:
    """How one API says what all of them mean.

    Attributes:
        read_question: what a request asks.
        write_question: the request that asks it.
        read_answer: what an answer says.
        write_answer: the answer that says it.
        hearing: reads a stream.
        telling: writes one, to whoever asked.
        takes_stop: whether it lets an answer end at a string.
    """

    read_question: Callable[[Mapping[str, Any]], ChatQuestion]
    write_question: Callable[[ChatQuestion], dict[str, Any]]
    read_answer: Callable[[Mapping[str, Any]], ChatAnswer]
    write_answer: Callable[[ChatAnswer], dict[str, Any]]
    hearing: Callable[[], Hearing]
    telling: Callable[[ChatQuestion], Telling]
    takes_stop: Callable[[str], bool] = bool


GRAMMARS: Mapping[str, Grammar] = {
    CHAT.path: Grammar(
        chat.read_question,
        chat.write_question,
        chat_answers.read_answer,
        chat_answers.write_answer,
        chat_answers.ChatHearing,
        chat_answers.ChatTelling,
    ),
    MESSAGES.path: Grammar(
        messages.read_question,
        messages.write_question,
        messages_answers.read_answer,
        messages_answers.write_answer,
        messages_answers.MessagesHearing,
        messages_answers.MessagesTelling,
        messages.takes_stop,
    ),
    RESPONSES.path: Grammar(
        responses.read_question,
        responses.write_question,
        responses_answers.read_answer,
        responses_answers.write_answer,
        responses_answers.ResponsesHearing,
        responses_answers.ResponsesTelling,
        lambda stop: False,
    ),
}
"""The APIs that can be translated, by their paths."""


class Translation:
    """A call of a client in one API for an upstream that speaks another one.

    Args:
        client: the API of the client.
        upstream: that of the upstream.
        body: the request.
        model: what the model is called at the upstream.
        is_openai: whether chats are OpenAI's own; other servers may know ``max_tokens`` alone, and
            take no notice of a cap by another name.

    Attributes:
        body: the request for the upstream.

    Raises:
        InvalidInputError: if the request says what cannot be said there; names the field.
    """

    def __init__(
        self,
        client: Dialect,
        upstream: Dialect,
        body: bytes,
        model: str,
        *,
        is_openai: bool = True,
    ) -> None:
        self._client = client
        self._mine, self._theirs = GRAMMARS[client.path], GRAMMARS[upstream.path]
        try:
            asked = replace(self._mine.read_question(object_of(body)), model=model)
            told = tuple(stop for stop in asked.stop if self._theirs.takes_stop(stop))
            fields = self._theirs.write_question(replace(asked, stop=told))
            if not is_openai and _NEW_CAP in fields:
                fields["max_tokens"] = fields.pop(_NEW_CAP)
            self.body = written(fields).encode()
        except RecursionError:
            raise InvalidInputError("the request is nested too deeply to be translated") from None
        except ValueError:
            raise InvalidInputError(
                "arguments of a call in the request hold a number that is not finite in 64 bits;"
                " leave the call out"
            ) from None
        self._question = asked
        # An empty string stops nothing; it would cut off everything.
        self._cuts = tuple(stop for stop in asked.stop if stop and stop not in told)

    def answer(self, body: bytes) -> bytes:
        """An answer for the client.

        Raises:
            UpstreamError: if the upstream's is none.
        """
        try:
            answer = self._theirs.read_answer(parsed(body) or {})
            pieces = Cutting(self._cuts).feed(scattered(answer))
            if self._question.stream:  # which the upstream has taken no notice of
                return b"".join(map(self._mine.telling(self._question).feed, pieces))
            return written(self._mine.write_answer(gathered(pieces))).encode()
        except _BROKEN as error:
            raise broken(error) from None

    @property
    def media_type(self) -> bytes:
        """Of an answer."""
        return b"text/event-stream" if self._question.stream else b"application/json"

    def refusal(self, status: int, body: bytes) -> bytes:
        """What an upstream says against a request, in the form of the client's API."""
        try:
            said: object = json.loads(body)
        except (ValueError, RecursionError):
            said = body.decode(errors="replace")[:1000]
        reason = reason_of(said)[0].strip() or f"the upstream answers with status {status}"
        return written(self._client.error(status, reason)).encode()

    def stream(self) -> StreamTranslation:
        """Translates a stream."""
        hearing, telling = self._theirs.hearing(), self._mine.telling(self._question)
        return StreamTranslation(hearing, telling, Cutting(self._cuts))


class StreamTranslation:
    """A stream on its way to the client."""

    def __init__(self, hearing: Hearing, telling: Telling, cutting: Cutting) -> None:
        self._hearing = hearing
        self._telling = telling
        self._cutting = cutting
        self._open = ""  # the kind of the part that pieces go on with
        self._half: Part | None = None  # of a character, whose other half is to come

    def feed(self, event: bytes) -> bytes:
        """The client's events for one of the upstream's.

        Raises:
            UpstreamError: if it tells that the upstream failed.
        """
        if self._open == "end":
            return b""
        data = data_of(event)
        if event.startswith(b":") if data is None else data.get("type") == "ping":
            return b": ping\n\n"  # a sign of life
        if data is None:
            return self.end() if _DONE.search(event) else b""
        told = self._told(self._hearing.feed(data))
        return told + self.end() if data.get("type") in _LAST else told

    def end(self) -> bytes:
        """What the client is told at the end, once.

        Raises:
            UpstreamError: if the stream ended before the answer did.
        """
        return b"" if self._open == "end" else self._told(self._hearing.end())

    def _told(self, pieces: Iterator[Piece]) -> bytes:
        try:
            ordered = map(self._in_order, self._whole(pieces))
            return b"".join(map(self._telling.feed, self._cutting.feed(ordered)))
        except _BROKEN as error:
            raise broken(error, begun=True) from None

    def _whole(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The pieces that say something; one character, which JSON may tear in two, stays one."""
        for piece in pieces:
            half, self._half = self._half, None
            if half is not None and (piece.kind, piece.part.kind) != ("more", half.kind):
                yield Piece("more", half)
                half = None
            text = (half.text if half is not None else "") + piece.part.text
            if "\ud800" <= text[-1:] < "\udc00":
                self._half, text = replace(piece.part, text=text[-1]), text[:-1]
            text = text if text.isascii() else mended(text)
            if text or piece.kind != "more":
                yield replace(piece, part=replace(piece.part, text=text))

    def _in_order(self, piece: Piece) -> Piece:
        """Makes sure that a piece may come now."""
        goes_on = piece.kind in ("more", "sign")
        if (piece.kind == "begin") == bool(self._open) or (
            goes_on and self._open != piece.part.kind
        ):
            raise BrokenAnswerError("its events are out of order")
        self._open = piece.part.kind if piece.kind in ("part", "more", "sign") else piece.kind
        return piece


def broken(error: Exception, *, begun: bool = False) -> UpstreamError:
    """What is told of an answer that is none."""
    return UpstreamError(
        f"the upstream's answer cannot be used: {str(error)[:500]}",
        502,
        may_be_billed=True,
        begun=begun,
    )


def dialect_for(client: Dialect, spoken: Sequence[Dialect]) -> Dialect | None:
    """The dialect that an upstream is asked in: the client's, or one to translate it into.

    Args:
        client: the client's.
        spoken: what the upstream speaks, the best first.
    """
    if client in spoken:
        return client
    known = [each for each in spoken if each.path in GRAMMARS]
    return known[0] if known and client.path in GRAMMARS else None


def translated_headers(
    headers: Sequence[tuple[str, str]], key: str, upstream: Dialect
) -> list[tuple[str, str]]:
    """The headers of a client of one API, as those of a client of another one.

    Args:
        headers: the client's.
        key: that it showed; empty for none.
        upstream: what the upstream is asked in.
    """
    kept = [(name, value) for name, value in headers if not name.startswith(_OF_ONE_API)]
    kept += [upstream.authorization(key)] if key else []
    return kept + ([_VERSION] if upstream is MESSAGES else [])


class Cutting:
    """Cuts the texts of an answer at the first of some strings, which its API does not take.

    What may be the beginning of one is held back until it is known. The model knows of none and
    writes on, which is paid for; the client sees none of it.

    Args:
        stops: the strings.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._found = ""

    def feed(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces as far as the client gets them."""
        for piece in pieces:
            if not self._stops:
                yield piece
            elif self._found:
                yield from self._after(piece)
            elif piece.kind in ("part", "more") and piece.part.kind == "text":
                if piece.kind == "part":
                    yield from self._let_go()
                    yield Piece("part", replace(piece.part, text=""))
                yield from self._cut(self._held + piece.part.text)
            else:
                yield from self._let_go()
                yield piece

    def _cut(self, text: str) -> Iterator[Piece]:
        # As a model is stopped: by the string that is whole first.
        places = [
            (at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0
        ]
        if places:
            _, end, self._found = min(places)
            self._held = ""
        else:
            end = len(text) - max(_begun(text, stop) for stop in self._stops)
            self._held = text[end:]
        if end:
            yield Piece("more", Part("text", text[:end]))

    def _let_go(self) -> Iterator[Piece]:
        held, self._held = self._held, ""
        if held:
            yield Piece("more", Part("text", held))

    def _after(self, piece: Piece) -> Iterator[Piece]:
        if piece.kind == "end":
            yield Piece("end", answer=replace(piece.answer, stop="sequence", sequence=self._found))


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of a text may begin a string."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
