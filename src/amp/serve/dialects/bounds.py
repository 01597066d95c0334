"""The most tokens that a prompt can have: no token is less than a byte of the request.

An image, a sound or a document counts as `TOKENS_OF_MEDIA`, not as the bytes that it has, unless it
is a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOKENS_OF_MEDIA = 50_000
"""What an image, a sound or a document counts before its call; the dearest image has fewer."""

_MEDIA = ("image", "input_image", "input_audio", "input_file", "document", "file", "video", "audio")
_DATA = ("data", "url", "image_url", "file_data")
_NO_TEXT = ("image/", "audio/", "video/", "application/pdf")


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
