"""JSON objects that are read to their end: what nobody took is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from amp.errors import InvalidInputError
from amp.serve.translate.meaning import untranslatable

_KINDS = {str: "a text", list: "a list", dict: "an object", bool: "true or false", int: "a number"}


class Fields:
    """The fields of an object that were not read yet; null is as good as absent.

    Args:
        value: the object.
        where: what it is called, to be said in an error.

    Raises:
        InvalidInputError: if it is none.
    """

    def __init__(self, value: object, where: str = "") -> None:
        if not isinstance(value, dict):
            raise _wrong(where or "the request", value, "an object")
        self._left = {name: each for name, each in value.items() if each is not None}
        self.where = where

    def text(self, name: str) -> str:
        """Takes a text; empty where there is none."""
        found: str = self._take(name, str, "")
        return found

    def items(self, name: str) -> list[Any]:
        """Takes a list; empty where there is none."""
        found: list[Any] = self._take(name, list, [])
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """Takes a text or a list of texts; empty where there is none."""
        found = self._left.pop(name, None)
        texts = [found] if isinstance(found, str) else [] if found is None else found
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            raise _wrong(self.place(name), found, "a text or a list of texts")
        return tuple(texts)

    def table(self, name: str) -> dict[str, Any]:
        """Takes an object as it is; empty where there is none."""
        found: dict[str, Any] = self._take(name, dict, {})
        return found

    def flag(self, name: str) -> bool | None:
        """Takes true or false; None where it is open."""
        found: bool | None = self._take(name, bool, None)
        return found

    def whole(self, name: str) -> int | None:
        """Takes a whole number; None where it is open."""
        found: int | None = self._take(name, int, None)
        return found

    def figure(self, name: str) -> float | None:
        """Takes a number; None where it is open."""
        found = self._left.pop(name, None)
        if found is None or (isinstance(found, int | float) and not isinstance(found, bool)):
            return found
        raise _wrong(self.place(name), found, "a number")

    def any(self, name: str) -> Any:
        """Takes whatever it is; None where there is nothing."""
        return self._left.pop(name, None)

    def inner(self, name: str) -> Fields:
        """Takes an object that is read to its end, too; an empty one where there is none."""
        return Fields(self._take(name, dict, {}), self.place(name))

    def each(self, name: str) -> Iterator[Fields]:
        """Takes a list of objects that are read to their end."""
        for number, value in enumerate(self.items(name)):
            yield Fields(value, f"{self.place(name)}[{number}]")

    def drop(self, *names: str) -> None:
        """Takes what has no effect on the answer."""
        for name in names:
            self._left.pop(name, None)

    def drop_idle(self, idle: Mapping[str, Sequence[object]]) -> None:
        """Takes what has no effect on the answer where it has one of these values."""
        for name, values in idle.items():
            if self._left.get(name) in values:
                self._left.pop(name, None)

    def rest(self) -> Mapping[str, Any]:
        """What nobody took."""
        return self._left

    def end(self) -> None:
        """Makes sure that all was taken.

        Raises:
            InvalidInputError: if something was not; names it.
        """
        for name in self._left:
            raise untranslatable(
                self.place(name), "it has no counterpart in the upstream's API; leave it out"
            )

    def place(self, name: str) -> str:
        """What a field of this object is called."""
        return f"{self.where}.{name}" if self.where else name

    def _take(self, name: str, kind: type, otherwise: Any) -> Any:
        found = self._left.pop(name, None)
        if found is None:
            return otherwise
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise _wrong(self.place(name), found, _KINDS[kind])
        return found


def parts_of(value: Fields, name: str, read: Callable[[Fields], Any], text: str) -> list[Any]:
    """Takes a content: a text, or a list of parts.

    Args:
        value: the object that has it.
        name: of the content.
        read: reads a part.
        text: how the API calls a part that is a text.
    """
    content = value.any(name)
    if isinstance(content, str):
        content = [{"type": text, "text": content}] if content else []
    if content is not None and not isinstance(content, list):
        raise _wrong(value.place(name), content, "a text or a list of parts")
    where = value.place(name)
    return [read(Fields(part, f"{where}[{at}]")) for at, part in enumerate(content or ())]


def _wrong(where: str, found: object, expected: str) -> InvalidInputError:
    return InvalidInputError(f"field {where} is {str(found)[:80]!r}, expected {expected}")
