"""Stop strings that an upstream's API does not take: the text is cut at them on this side.

The model does not know of them and writes on, which is paid for; the client sees none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from amp.serve.translate.meaning import Part, Piece


class Cutting:
    """Cuts the texts of an answer at the first of some strings.

    What may be the beginning of one is held back until it is known.

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
