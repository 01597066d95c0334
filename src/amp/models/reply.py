"""What a server answers, byte by byte: bounded, decoded, parsed, and whether it is a failure.

A body may be endless, or small and packed a thousandfold; JSON may be nested until the parser gives
up. Some servers and proxies report a failure with status 200: in the answer, or in each of its
choices. It is then the status that it names which counts.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amp.errors import ModelError

FAILED = re.compile(
    r"error|fail|abort|cancel|timeout|ratelimit|resource|overload|malform|unavailable|interrupt"
    r"|exception|crash|kill|preempt|evict|disconnect|shutdown|quota|unspecified|^other$|^unknown$"
)
"""How answers end that the server could not finish, as `end_of` writes it."""

WITHHELD = re.compile(
    r"filter|safety|refus|block|prohibit|sensitive|guardrail|moderat|polic|recitation|spii|harm"
    r"|violat|toxic|copyright|^language$"
)
"""How answers end that a provider's filter keeps back, or the model refuses to give."""

CUT_OFF = re.compile(
    r"length|max\w*tok|tokenlimit|contextwindow|truncat|limit|maxout|incomplete|partial|budget"
    r"|repetition|pause"
)
"""How answers end at a cap."""

_MOST_DIGITS = 400  # more than any float has; Python reads no number of more than 4,300
_BUSY = 503
_BROKEN = 502
_STATUS_OF_KIND = {
    "rate": 429,
    "throttl": 429,
    "toomany": 429,
    "overload": 529,
    "unavailable": _BUSY,
    "resource": _BUSY,
    "timeout": 504,
    "server": 500,
    "internal": 500,
    "upstream": _BROKEN,
    "network": _BROKEN,
    "authentic": 401,
    "invalidrequest": 400,
    "badrequest": 400,
}
_REASONS = ("message", "msg", "detail", "reason", "error_description", "description", "title")
_DEEPEST = 6
_SHOWN = 40


class BodyError(ValueError):
    """A body cannot be read; the message goes on from "answered"."""


class RefusedError(ModelError):
    """The server refused the request as such; something else may pass.

    Attributes:
        reason: what the server said.
        status: 400 or 422, or 500 where it broke on what others refuse.
        places: the fields that it names as the place of the error.
    """

    def __init__(
        self, message: str, reason: str, status: int = 400, places: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.places = places


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer.

    Attributes:
        status: of the response, or the one that its body names; None if it names none.
        reason: what the server said.
        places: the fields that it names as the place of the error.
        may_be_billed: whether the server may have generated something all the same.
    """

    status: int | None
    reason: str
    places: tuple[str, ...] = ()
    may_be_billed: bool = False


async def read_body(chunks: AsyncIterable[bytes], encoding: str, most_bytes: int) -> bytes:
    """Reads a body to its end, and unpacks it.

    Args:
        chunks: the bytes as they come.
        encoding: how they are packed, as the header says.
        most_bytes: the largest size of the body, both packed and unpacked.

    Raises:
        BodyError: if it is larger, or packed in another way than it says.
    """
    packings = [name for name in encoding.lower().replace(" ", "").split(",") if name]
    packings = [name for name in packings if name != "identity"]
    if not set(packings) <= {"gzip", "x-gzip", "deflate"} or len(packings) > 1:
        raise BodyError(f"in the encoding {encoding[:_SHOWN]!r}, expected gzip or none")
    # 32: finds out itself whether it is gzip or zlib.
    unpack = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS) if packings else None
    content = bytearray()
    async for chunk in chunks:
        try:
            content += chunk if unpack is None else unpack.decompress(chunk, most_bytes + 1)
        except zlib.error:
            raise BodyError(f"something that is not packed with {packings[0]} as it says") from None
        if len(content) > most_bytes:
            raise BodyError(f"more than {most_bytes / 1e6:.0f} MB, and was not read to its end")
    return bytes(content)


def parse(content: bytes, shown: Callable[[str], str]) -> Any:
    """Returns the JSON of a body.

    Args:
        content: the body.
        shown: makes a text fit to be shown in an error.

    Raises:
        BodyError: if it is none.
    """
    try:
        return json.loads(content, parse_int=_integer)
    except RecursionError:
        raise BodyError("JSON that is nested too deeply") from None
    except ValueError:
        begin = shown(content[:1000].decode(errors="replace"))[:_SHOWN]
        raise BodyError(f"something that is no JSON ({begin!r})") from None


def _integer(digits: str) -> float:
    """A number too long to be read is infinite, and spoils nothing else in the answer."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


def failure_in(answer: Mapping[str, Any]) -> Failure | None:
    """Returns the failure that stands in an answer of status 200; None if it is an answer.

    Where only some choices failed, the others are an answer.
    """
    if error := answer.get("error"):
        reason, places = reason_of(error)
        came = "usage" in answer or bool(answer.get("choices") or answer.get("content"))
        return Failure(_status_of(error), reason, places, came)
    choices = answer.get("choices")
    ends = choices if isinstance(choices, list) and choices else [answer]
    failures = [failure_of_choice(each) for each in ends]
    return failures[0] if all(failures) else None


def failure_of_choice(choice: object) -> Failure | None:
    """Returns why one choice, or the message of an API without choices, is no answer."""
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    if error := choice.get("error") or (isinstance(message, dict) and message.get("error")):
        return Failure(_status_of(error) or _BROKEN, reason_of(error)[0], may_be_billed=True)
    ended = end_of(choice)
    if not FAILED.search(ended):
        return None
    status = next((s for word, s in _STATUS_OF_KIND.items() if word in ended), _BROKEN)
    return Failure(status, f"it ended with {ended!r}", may_be_billed=True)


def end_of(choice: Mapping[str, Any]) -> str:
    """How a choice or a message ended, as small letters alone; empty if it does not say."""
    ended = choice.get("finish_reason") or choice.get("stop_reason")
    if isinstance(ended, list):
        ended = next(iter(ended), None)
    if isinstance(ended, dict):  # SGLang's own form
        ended = ended.get("type") or ended.get("reason")
    letters = re.sub(r"[^a-z]", "", ended.lower()) if isinstance(ended, str) else ""
    return letters.removeprefix("finishreason")


def reason_of(body: object) -> tuple[str, tuple[str, ...]]:
    """Returns what an error says, and the fields that it names as its place.

    Servers put it into an object, a list, an object in an object, or a plain text.
    """
    reasons: list[str] = []
    places: list[str] = []
    _collect(body, reasons, places, _DEEPEST)
    if not reasons:
        reasons = [body if isinstance(body, str) else repr(body)[:1000]]
    named = f" (parameter: {places[0]})" if places and places[0] not in reasons[0] else ""
    return "; ".join(dict.fromkeys(reasons)) + named, tuple(places)


def _collect(body: object, reasons: list[str], places: list[str], depth: int) -> None:
    if not depth:
        return
    if isinstance(body, list):
        for each in body[:5]:
            _collect(each, reasons, places, depth - 1)
    if not isinstance(body, dict):
        return
    for name in ("error", "errors", "details", "detail"):
        if isinstance(inner := body.get(name), str) and name != "details":
            reasons.append(inner)
        else:
            _collect(inner, reasons, places, depth - 1)
    reasons += [said for name in _REASONS if isinstance(said := body.get(name), str)]
    for name in ("param", "parameter", "loc", "field", "path"):
        found = body.get(name)
        parts = found if isinstance(found, list) else [found]
        text = ".".join(str(part) for part in parts if isinstance(part, str | int))
        names = text.replace("[", ".").replace("]", "").replace("/", ".").split(".")
        places += [part for part in reversed(names) if part and part not in ("body", "None")]


def _status_of(error: object) -> int | None:
    """The status that an error names, as a number or in words."""
    if not isinstance(error, dict):
        return None
    words = []
    for name in ("code", "status", "status_code", "type"):
        found = error.get(name)
        if isinstance(found, str) and found.isdecimal():
            found = int(found[:4])
        if isinstance(found, int) and 400 <= found < 600:
            return found
        words.append(re.sub(r"[^a-z]", "", str(found).lower()))
    return next((s for word, s in _STATUS_OF_KIND.items() if word in " ".join(words)), None)


def cause_of(error: BaseException) -> str:
    """The innermost reason: the SDK says only "Connection error."."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            break
    return str(error) or type(error).__name__
