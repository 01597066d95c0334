"""What an answer says, in a form in which two answers that do the same are equal.

The answer of an agent's model is what it does next: a call of a tool is its name and arguments as
JSON, whatever text goes with it; else the answer is its text, if it is short enough or marks a
result, so that being equal means something. Two essays are never equal, and nobody could say from
that which of them is worse: they are not compared.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amp.models.answer_text import answer_text, mended, without_thinking
from amp.models.bill import table
from amp.pools.rows import answer_text as value_text

SHORT = 120
"""Characters up to which a text without a marked result is compared as a whole."""

_MOST_CHARACTERS = 200_000
_LAST = 4_000
"""Characters at the end of a text in which its result is looked for."""
_MOST_CALLS = 200
_RESULT = re.compile(
    r"(?:#{4}|\banswer\s?(?:is\b|[:=]))[:\s*_]{0,9}(?P<text>\S.{0,80}?)[\s*_]{0,9}$",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_FENCED = re.compile(r"\A```[a-z]*\n(.*)\n```\Z", re.DOTALL)
_GROUPED = re.compile(r"[$€£]?\s?([+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[+-]?\d+(?:\.\d+)?)")
_AROUND = " \t\n.,;:!?\"'`*_()[]"
_CUT_OFF = ("length", "max_tokens", "max_output_tokens", "content_filter", "refusal")


@dataclass(frozen=True, slots=True)
class Normal:
    """An answer in normal form.

    Attributes:
        calls: whether it calls tools.
        text: of what it does; None where that cannot be compared.
    """

    calls: bool
    text: str | None

    def same(self, other: Normal) -> bool | None:
        """Whether two answers do the same; None where nothing tells."""
        if self.calls != other.calls:
            return False
        if self.text is None or other.text is None:
            return None
        return self.text == other.text

    def digest(self, salt: bytes) -> str:
        """A hash of it; empty where there is nothing to compare."""
        if self.text is None:
            return ""
        content = f"{int(self.calls)}{self.text}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, key=salt, digest_size=16).hexdigest()


@dataclass(slots=True)
class _Call:
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Said:
    """Puts together what an answer says, from a whole answer or from the events of a stream.

    It reads all APIs: what of them it does not know says nothing.
    """

    _texts: list[str] = field(default_factory=list)
    _calls: dict[int, _Call] = field(default_factory=dict)
    _characters: int = 0
    _broken: bool = False

    def hear(self, answer: Mapping[str, Any]) -> None:
        """Notes an answer, or one event of a stream."""
        if isinstance(choices := answer.get("choices"), list):
            for choice in choices:
                self._choice(choice)
            return
        kind = answer.get("type")
        if kind == "message" or answer.get("object") == "response":
            self._whole(answer)
        elif kind == "response.completed":
            self._whole(table(answer, "response"))
        elif kind == "content_block_start":
            self._block(_index(answer), table(answer, "content_block"))
        elif kind == "content_block_delta":
            delta = table(answer, "delta")
            self._text(delta.get("text"))
            if isinstance(more := delta.get("partial_json"), str):
                self._more(_index(answer), "", more)
        elif kind == "message_delta":
            self._ended(table(answer, "delta").get("stop_reason"))

    def normal(self) -> Normal:
        """The normal form of what came; of one that is cut off it can't be compared."""
        if self._calls:
            if self._broken:
                return Normal(True, None)
            calls = sorted(
                [call.name, _arguments(mended(call.arguments))] for call in self._calls.values()
            )
            return Normal(True, json.dumps(calls, ensure_ascii=False))
        text = mended("".join(self._texts))  # streams may tear a character in two
        return Normal(False, None if self._broken else normal_text(text))

    def _choice(self, choice: object) -> None:
        if not isinstance(choice, dict):
            return
        if choice.get("index"):  # several answers were asked for: none of them is the answer
            self._broken = True
            return
        said = table(choice, "delta") or table(choice, "message")
        content = said.get("content")
        try:
            self._text(content if isinstance(content, str) else answer_text(content).text)
        except ValueError:  # no text, as audio is none
            self._broken = True
        self._broken |= bool(said.get("refusal"))
        calls = said.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                function = table(call, "function") or table(call, "custom")
                index = call.get("index")
                self._more(
                    index if isinstance(index, int) else place,
                    function.get("name"),
                    function.get("arguments") or function.get("input"),
                )
        if call := table(said, "function_call"):  # a call as it was before there were tools
            self._more(0, call.get("name"), call.get("arguments"))
        self._ended(choice.get("finish_reason"))

    def _whole(self, answer: Mapping[str, Any]) -> None:
        parts = answer.get("content") or answer.get("output")
        for place, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict):
                self._block(place, part)
        self._ended(answer.get("stop_reason"))
        self._ended(table(answer, "incomplete_details").get("reason"))

    def _block(self, place: int, part: Mapping[str, Any]) -> None:
        kind = part.get("type")
        if kind in ("text", "output_text"):
            self._text(part.get("text"))
        elif kind == "message":
            inner = part.get("content")
            for each in inner if isinstance(inner, list) else ():
                if isinstance(each, dict):
                    self._block(place, each)
        elif kind == "tool_use":
            arguments = part.get("input")
            self._more(place, part.get("name"), json.dumps(arguments) if arguments else "")
        elif kind in ("function_call", "custom_tool_call"):
            self._more(place, part.get("name"), part.get("arguments") or part.get("input"))
        elif kind == "refusal":
            self._broken = True

    def _text(self, text: object) -> None:
        if isinstance(text, str) and self._takes(text):
            self._texts.append(text)

    def _more(self, place: int, name: object, arguments: object) -> None:
        if place not in self._calls and len(self._calls) >= _MOST_CALLS:
            self._broken = True
            return
        call = self._calls.setdefault(place, _Call())
        if isinstance(name, str):
            call.name = call.name or name[:_MOST_CALLS]
        if isinstance(arguments, dict):  # some servers send no text
            arguments = json.dumps(arguments)
        if isinstance(arguments, str) and self._takes(arguments):
            call.arguments += arguments

    def _takes(self, text: str) -> bool:
        """Whether there is room for it: an endless answer must not fill the memory."""
        self._characters += len(text)
        self._broken |= self._characters > _MOST_CHARACTERS
        return not self._broken

    def _ended(self, reason: object) -> None:
        self._broken |= reason in _CUT_OFF


def normal_text(text: str) -> str | None:
    """The normal form of an answer without calls; None if it is no short answer and marks none.

    JSON is read as such. Of a marked result (``#### 18``, ``\\boxed{18}``, ``Answer: 18``) it is
    the last one. Case, spaces, emphasis and the signs around it do not count, and numbers are equal
    if their values are.
    """
    whole = without_thinking(text).text.strip()
    if fenced := _FENCED.match(whole):
        whole = fenced[1].strip()
    if (found := _json(whole)) is not None:
        return found
    results = [match["text"] for match in _RESULT.finditer(whole[-_LAST:])]
    boxed = _BOXED.findall(whole[-_LAST:])
    if boxed or results:
        whole = boxed[-1] if boxed else results[-1]
    elif len(whole) > SHORT:
        return None
    plain = " ".join(unicodedata.normalize("NFKC", whole).casefold().split()).strip(_AROUND)
    if number := _GROUPED.fullmatch(plain):
        plain = number[1].replace(",", "")
    return value_text(plain)


def _json(text: str) -> str | None:
    """A JSON object or list in one form; None if the text is none."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return _canonical(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _arguments(text: str) -> str:
    """Arguments of a call; those that are no JSON are what they are."""
    try:
        return _canonical(json.loads(text or "{}"))
    except (ValueError, RecursionError):
        return text.strip()


def _canonical(value: object) -> str:
    """JSON whose fields are sorted; numbers are equal if their values are."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {_nfc(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        return _nfc(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**53:
        return int(value)
    return value


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _index(event: Mapping[str, Any]) -> int:
    found = event.get("index")
    return found if isinstance(found, int) else 0
