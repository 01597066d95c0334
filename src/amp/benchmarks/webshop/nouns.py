"""Nouns of product names, from a table or by spaCy."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from amp.assess.dependency import english
from amp.errors import InvalidInputError, MissingDependencyError

_NOUNS = ("NOUN", "PROPN")
_CACHED_TITLES = 4_096


class TitleNouns:
    """Finds the nouns of titles, in lower case and in order, doubles kept.

    Args:
        table: nouns by the product's id, where they are known; spaCy finds the others.
    """

    def __init__(self, table: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._table = table or {}

    def of(self, asin: str, title: str) -> tuple[str, ...]:
        """Returns the nouns of a product's title.

        Raises:
            MissingDependencyError: if they are not in the table, and spaCy is not installed.
        """
        known = self._table.get(asin)
        return _parsed(title) if known is None else known


def read_table(path: Path) -> dict[str, tuple[str, ...]]:
    """Reads a table of lines ``{"asin": "...", "nouns": ["...", ...]}``, compressed by gzip.

    Raises:
        InvalidInputError: if it is none.
        MissingDependencyError: if it cannot be read.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return {row["asin"]: tuple(row["nouns"]) for row in rows}
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise InvalidInputError(
            f'{path}: expected lines {{"asin": "...", "nouns": [...]}} in gzip; get it again, or '
            "remove it to have spaCy find the nouns"
        ) from None
    except OSError as error:
        raise MissingDependencyError(f"cannot read {path}: {error.strerror}") from None


@lru_cache(maxsize=_CACHED_TITLES)
def _parsed(title: str) -> tuple[str, ...]:
    try:
        pipeline = english("parser", "ner", "lemmatizer")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"rewards of webshop need the nouns of titles, and there is no table of them: {error}"
        ) from None
    return tuple(token.lower_ for token in pipeline(title) if token.pos_ in _NOUNS)
