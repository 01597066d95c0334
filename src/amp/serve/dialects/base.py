"""What every API says in words of its own: what is asked for, what it cost, what went wrong.

A gateway that rebuilds requests and answers from the fields that it knows loses all others. So
bodies stay the bytes that they are; a dialect only reads in them. One thing is added: a stream of
the OpenAI API tells its usage only if it is asked to, so it is asked to, and the event that the
client did not ask for is taken out again.

What a call can cost at most is known before it: no token is less than a byte of the request, and no
answer is longer than its cap. An image, a sound or a document counts as `TOKENS_OF_MEDIA`, not as
the bytes that it has, unless it is a text.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from amp.errors import InvalidInputError
from amp.usage import Usage

if TYPE_CHECKING:
    from amp.serve.decide.base import CallArm

UNCAPPED_COMPLETION = 16_384
"""Tokens that are reserved for an answer to which the client sets no cap."""

TOKENS_OF_MEDIA = 50_000
"""What an image, a sound or a document counts before its call; the dearest image has fewer."""

_LONGEST_NAME, _MOST_TOKENS = 500, 10_000_000
_MEDIA = ("image", "input_image", "input_audio", "input_file", "document", "file", "video", "audio")
_DATA = ("data", "url", "image_url", "file_data")
_NO_TEXT = ("image/", "audio/", "video/", "application/pdf")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for.

    Attributes:
        model: name of the model.
        body: what the upstream is sent.
        adds_usage: whether the body asks for a usage that the client did not ask for.
        prompt_bound: tokens that the prompt has at most.
        completion_bound: tokens that all samples together have at most; where the client sets no
            cap, an assumption.
        dearest_prompt: the most that a prompt token costs, in prices of one that is in no cache.
        fields: the request as it was read.
    """

    model: str
    body: bytes
    adds_usage: bool
    prompt_bound: int
    completion_bound: int
    dearest_prompt: float = 1.0
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


@dataclass(slots=True)
class Told:
    """What the upstream has told of a call by now, and what came of it.

    Attributes:
        prompt: all prompt tokens.
        cached: those of them that were read from a cache.
        completion: tokens generated.
        reasoning: those of them that were thinking.
        written: those of the prompt that were written into a cache.
        surcharge: for them, in prices of a prompt token.
        came_bytes: of what was generated, as far as it came.
        final: whether the figures are those of the whole answer.
        is_unknown: whether the answer is still being made, for somebody to ask for it later.
    """

    prompt: int | None = None
    cached: int = 0
    completion: int | None = None
    reasoning: int = 0
    written: int = 0
    surcharge: float = 0.0
    came_bytes: int = 0
    final: bool = False
    is_unknown: bool = False

    def usage(self, asked: Asked) -> Usage:
        """The usage of the call, without dollars.

        What the upstream did not tell, or what cannot be true, is an upper bound, and the call is
        marked as an estimate: the bound of the prompt, and a token for every byte that came.
        """
        counts_nothing = not self.prompt or (self.came_bytes > 0 and not self.completion)
        overcounts = self.prompt is not None and self.cached > self.prompt
        estimated = not self.final or self.completion is None or counts_nothing or overcounts
        prompt = self.prompt or asked.prompt_bound
        if overcounts:
            prompt = max(prompt, asked.prompt_bound)
        completion = self.completion or 0
        if estimated:
            completion = max(completion, self.came_bytes)
            if self.is_unknown:
                completion = max(completion, asked.completion_bound)
        # Some servers do not count thinking as completion.
        if self.reasoning > completion:
            completion += self.reasoning
        return Usage(
            model_calls=1,
            prompt_tokens=prompt,
            cached_prompt_tokens=0 if overcounts else self.cached,
            completion_tokens=completion,
            reasoning_tokens=self.reasoning,
            estimated_calls=int(estimated),
        )


class Dialect(Protocol):
    """One API: where it is, and how its bodies are read."""

    @property
    def name(self) -> str:
        """Of the API, as price tables have it."""
        ...

    @property
    def path(self) -> str:
        """Where a chat is posted."""
        ...

    def read(self, body: bytes) -> Asked:
        """Reads a request.

        Raises:
            InvalidInputError: if it is no JSON object, or names no model.
        """
        ...

    def hear(self, answer: Mapping[str, Any], told: Told) -> None:
        """Notes what an answer tells, or one event of a stream."""
        ...

    def without_usage(self, event: bytes) -> bytes:
        """An event as the upstream would have sent it without being asked for the usage."""
        ...

    def error(self, status: int, message: str) -> dict[str, Any]:
        """An error in the API's own form."""
        ...

    def error_event(self, status: int, message: str) -> bytes:
        """An error that ends a stream."""
        ...

    def authorization(self, key: str) -> tuple[str, str]:
        """The header that carries a key."""
        ...

    def obstacle(self, fields: Mapping[str, Any], arm: CallArm) -> str:
        """Why the effort of an arm can't be written into a request; empty if it can.

        What the client sets itself stays, so that is the first obstacle.
        """
        ...

    def with_arm(self, body: bytes, arm: CallArm, fields: Mapping[str, Any] | None = None) -> bytes:
        """The request with the arm's model, and its effort unless there is an `obstacle`.

        All other bytes stay.

        Args:
            body: the request.
            arm: with model and effort.
            fields: the request as it was read, if it was.
        """
        ...


class Events:
    """Cuts a stream of bytes into its events. Together they are the bytes that came."""

    # An event of this size is none; it is passed on rather than kept.
    _LARGEST = 16_000_000
    _END = re.compile(rb"\r\n\r\n|\n\n|\r\r")

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yields the events that are complete by now."""
        # The end of an event may be torn between two chunks.
        begin, since = 0, max(0, len(self._rest) - 3)
        self._rest += chunk
        while end := self._END.search(self._rest, max(begin, since)):
            yield bytes(self._rest[begin : end.end()])
            begin = end.end()
        del self._rest[:begin]
        if len(self._rest) > self._LARGEST:
            yield self.rest()

    def rest(self) -> bytes:
        """What came after the last event."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest


def data_of(event: bytes) -> dict[str, Any] | None:
    """The JSON object of an event; None if it carries none, such as ``[DONE]``."""
    lines = event.removeprefix(codecs.BOM_UTF8).splitlines()
    lines = [line[5:] for line in lines if line.startswith(b"data:")]
    return parsed(b"\n".join(lines))


def parsed(body: bytes) -> dict[str, Any] | None:
    """The JSON object of a body, or None."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def object_of(body: bytes) -> dict[str, Any]:
    """The fields of a request.

    Raises:
        InvalidInputError: if it is no JSON object, or one that two readers could read differently.
    """
    fields = fields_of(body)
    if fields is None:
        raise InvalidInputError("the request is no JSON object; send one")
    return fields


def fields_of(body: bytes) -> dict[str, Any] | None:
    """The fields of a request; None if it is no JSON object.

    What is measured here is what the upstream reads, so what readers of JSON do not agree on is
    refused: a name that stands twice in an object, and numbers that not all of them have.

    Raises:
        InvalidInputError: if there is such a thing; names it.
    """
    try:
        found = json.loads(
            body, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidInputError(
            f"field {twice[:80]!r} stands twice in one object of the request, expected once; leave"
            " one of them out"
        )
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidInputError(
            f"the request holds the number {text[:40]}, expected one that is finite in 64 bits;"
            " send a smaller one"
        )
    return number


def model_of(fields: Mapping[str, Any]) -> str:
    """The model that a request names.

    Raises:
        InvalidInputError: if it names none.
    """
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidInputError("field model is missing, expected the name of a model")
    if len(model) > _LONGEST_NAME or not model.isprintable():  # names are kept and shown
        raise InvalidInputError(
            f"field model is {model[:80]!r}, expected at most {_LONGEST_NAME} printable characters"
        )
    return model


def whole_number(fields: Mapping[str, Any], name: str) -> int:
    """A number of tokens or samples that a request names; 0 where it leaves that open.

    Raises:
        InvalidInputError: if it is no number, since some servers read numbers in texts, too.
    """
    value = fields.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        raise InvalidInputError(
            f"field {name} is {json.dumps(value)[:40]}, expected a whole number; send one"
        )
    return int(min(max(value, 0), _MOST_TOKENS))


def prompt_bound(body: bytes, fields: Mapping[str, Any], name: str) -> int:
    """Bytes of the request, with `TOKENS_OF_MEDIA` in place of those of every image.

    Args:
        body: the request.
        fields: the same.
        name: of the field that holds the conversation.
    """
    bound = len(body)
    messages = fields.get(name)
    waiting = list(messages) if isinstance(messages, list) else []
    while waiting:  # not recursive: a request may be nested as deep as JSON goes
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            if str(part.get("type", "")).startswith(_MEDIA):
                bound += TOKENS_OF_MEDIA - _data_bytes(part)
            else:
                waiting += [part.get("content"), part.get("output")]
    return bound


def _data_bytes(part: Mapping[str, Any]) -> int:
    """Bytes of the media that stand in a part; a text counts as one, also if it is a document."""
    inner = [value for value in part.values() if isinstance(value, dict)]
    return sum(
        len(value)
        for each in (part, *inner)
        for name, value in each.items()
        if name in _DATA and isinstance(value, str) and not _is_text(each, value)
    )


def _is_text(source: Mapping[str, Any], data: str) -> bool:
    found = data[5:] if data.startswith("data:") else str(source.get("media_type") or "")
    return source.get("type") == "text" or not (found or "image/").startswith(_NO_TEXT)
