"""Takes thoughts that other APIs made out of a request that is not translated.

A client that was answered by translation sends thoughts back under marks of ours
(`amp.serve.translate.meaning.signed`). Where its own API is spoken the next time, after a change of
the model or where an upstream stands in for another one, that API would refuse them.
"""

from __future__ import annotations

from typing import Any

from amp.serve.dialects.base import parsed
from amp.serve.translate.meaning import MARK, objects, written

_QUICK = b'"' + MARK.encode()


def without_marks(body: bytes) -> bytes:
    """A request of any API without thoughts under marks of ours; the same bytes if it has none."""
    if _QUICK not in body:
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
