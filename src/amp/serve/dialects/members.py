"""Changes some members of a JSON object, and no other byte.

A body that is read and written anew loses what the reader does not keep: the order of equal names,
the digits of a number, the form of a text. So members are changed where they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_read = json.JSONDecoder().raw_decode


def with_members(
    body: bytes, members: Mapping[str, Any], known: Mapping[str, Any] | None = None
) -> bytes:
    """Returns the object with these members; the others stay as they are, to the byte.

    A member that is an object is merged into the one that is there. Only a body that is not plain
    UTF-8 is written anew.

    Args:
        body: a JSON object, in which no name stands twice (`amp.serve.dialects.base.fields_of`).
        members: by name.
        known: the object as it was read, if it was; then only as much is read again as has to be.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = ""
    begin = _after_space(text, 0)
    if text[begin : begin + 1] != "{":
        return json.dumps(_merged(json.loads(body), members)).encode()
    return _changed(text, begin, members, known).encode()


def _changed(
    text: str, begin: int, members: Mapping[str, Any], known: Mapping[str, Any] | None = None
) -> str:
    """The text with members changed in the object that begins there."""
    edits, missing, is_empty = [], dict(members), not known
    there = set(members) if known is None else set(members) & set(known)
    for name, start, end in _members(text, begin) if there else ():
        is_empty = False
        if name in members:
            there.discard(name)
            missing.pop(name, None)
            value = members[name]
            if isinstance(value, Mapping) and text[start] == "{":
                edits.append((start, end, _changed(text[start:end], 0, value)))
            else:
                edits.append((start, end, _written(value)))
        if not there:
            break
    if missing:
        new = ",".join(f"{_written(name)}:{_written(value)}" for name, value in missing.items())
        edits.insert(0, (begin + 1, begin + 1, new if is_empty else f"{new},"))
    parts, at = [], 0
    for start, end, new in edits:
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def _members(text: str, begin: int) -> Iterator[tuple[str, int, int]]:
    """The members of an object: name, and where the value begins and ends."""
    at = _after_space(text, begin + 1)
    while text[at] != "}":
        name, at = _read(text, at)
        start = _after_space(text, _after_space(text, at) + 1)
        _, end = _read(text, start)
        yield name, start, end
        at = _after_space(text, end)
        if text[at] == ",":
            at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _written(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _merged(fields: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(fields)
    for name, value in members.items():
        old = merged.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = _merged(old, value)
        merged[name] = value
    return merged
