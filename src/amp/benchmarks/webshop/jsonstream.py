"""Reads a JSON file of gigabytes one element after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from amp.errors import InvalidInputError, MissingDependencyError

_CHUNK = 1 << 20  # characters
_LONGEST_ELEMENT = 1 << 24  # characters; what does not end by then is no JSON


def elements(path: Path) -> Iterator[Any]:
    """Yields the elements of an array.

    Raises:
        InvalidInputError: if the file is not a JSON array in UTF-8.
        MissingDependencyError: if it cannot be read.
    """
    return (element for _, element in _entries(path, "[", "]"))


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields the names and values of an object; raises as `elements`."""
    return _entries(path, "{", "}")


def _entries(path: Path, opening: str, closing: str) -> Iterator[tuple[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            window = _Window(path, file)
            window.expect(opening)
            if window.sees(closing):
                return
            while True:
                name = window.value() if opening == "{" else ""
                if opening == "{":
                    window.expect(":")
                yield name, window.value()
                if window.sees(closing):
                    return
                window.expect(",")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: not UTF-8; get the file again") from None
    except OSError as error:
        raise MissingDependencyError(f"cannot read {path}: {error.strerror}") from None


class _Window:
    """The part of a file that is looked at."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file
        self._text = ""
        self._at = 0
        self._passed = 0
        self._decoder = json.JSONDecoder()

    def sees(self, character: str) -> bool:
        """Whether this character is next, white space aside."""
        while True:
            rest = self._text[self._at : self._at + 64].lstrip()
            if rest:
                return rest[0] == character
            if self._at + 64 < len(self._text):
                self._at += 64
            elif not self._read_on():
                raise self._broken(f"it ends before {character!r}")

    def expect(self, character: str) -> None:
        """Passes the character."""
        if not self.sees(character):
            raise self._broken(f"expected {character!r}")
        self._at = self._text.index(character, self._at) + 1

    def value(self) -> Any:
        """Passes a value and returns it."""
        self.sees("")
        while True:
            begin = self._at
            while self._text[begin : begin + 1].isspace():
                begin += 1
            try:
                value, end = self._decoder.raw_decode(self._text, begin)
            except (json.JSONDecodeError, RecursionError):
                end = len(self._text)
            if end < len(self._text):  # what ends with the window may go on behind it
                self._at = end
                return value
            if len(self._text) - self._at > _LONGEST_ELEMENT or not self._read_on():
                raise self._broken("no JSON value")

    def _read_on(self) -> bool:
        more = self._file.read(_CHUNK)
        self._passed += self._at
        self._text = self._text[self._at :] + more
        self._at = 0
        return bool(more)

    def _broken(self, what: str) -> InvalidInputError:
        place = self._passed + self._at
        return InvalidInputError(
            f"{self._path}: {what} at character {place}; the file is damaged, get it again"
        )
