"""Search by BM25 over an index on disk, with Lucene's single precision and document lengths.

Robertson et al.'s formula as Lucene 9 computes it: k1 = 0.9, b = 0.4, and a document's length kept
in one byte. A query is a bag of words, no sign in it has a meaning, and a repeated word counts
again.
"""

from __future__ import annotations

import math
import sqlite3
from array import array
from collections import Counter
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from amp.benchmarks.webshop.words import index_words

K1, B = np.float32(0.9), np.float32(0.4)
_BLOCK = 50_000  # documents that are inverted in memory at once
_CACHED_WORDS = 1_024

SCHEMA = """
CREATE TABLE postings (
    word TEXT, block INTEGER, pairs BLOB, PRIMARY KEY (word, block)
) WITHOUT ROWID;
CREATE TABLE lengths (lengths BLOB, words INTEGER);
"""

_ONE = np.float32(1)
_EXACT = 24  # lengths below are kept as they are

Postings = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


class IndexWriter:
    """Writes the index of documents that come one after the other, numbered from 0."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lengths = bytearray()
        self._words = 0
        self._block: dict[str, array[int]] = {}

    def add(self, document: str) -> None:
        """Takes the next document."""
        number = len(self._lengths)
        words = index_words(document)
        for word, count in Counter(words).items():
            postings = self._block.get(word)
            if postings is None:
                postings = self._block[word] = array("i")
            postings.extend((number, count))
        self._lengths.append(length_byte(len(words)))
        self._words += len(words)
        if len(self._lengths) % _BLOCK == 0:
            self._write()

    def finish(self) -> None:
        """Writes what is left."""
        self._write()
        row = (bytes(self._lengths), self._words)
        self._connection.execute("INSERT INTO lengths VALUES (?, ?)", row)

    def _write(self) -> None:
        number = len(self._lengths)
        rows = ((word, number, pairs.tobytes()) for word, pairs in sorted(self._block.items()))
        self._connection.executemany("INSERT INTO postings VALUES (?, ?, ?)", rows)
        self._block = {}


class Index:
    """An index that was written.

    Args:
        connection: the database that holds it.
        ranks: places of the documents in the order in which equally good ones are found.
    """

    def __init__(self, connection: sqlite3.Connection, ranks: npt.NDArray[np.int32]) -> None:
        (lengths, words) = connection.execute("SELECT lengths, words FROM lengths").fetchone()
        decoded = np.array([length_of(byte) for byte in range(256)], dtype=np.float32)
        of_documents = decoded[np.frombuffer(lengths, dtype=np.uint8)]
        self._size = len(lengths)
        self._with_words = max(1, int(np.count_nonzero(of_documents)))  # the others don't count
        average = np.float32(max(1, words) / self._with_words)
        self._norms = _ONE / (K1 * ((_ONE - B) + B * of_documents / average))
        self._ranks = ranks
        self._connection = connection
        self._postings = lru_cache(_CACHED_WORDS)(self._read)

    def search(self, query: str, limit: int) -> list[int]:
        """Returns the numbers of the best documents, the best first, `limit` at most."""
        scores = np.zeros(self._size)
        for word, count in Counter(index_words(query)).items():
            documents, counts = self._postings(word)
            if not len(documents):
                continue
            weight = np.float32(count) * _rarity(self._with_words, len(documents))
            # Terms are added in double precision; equal sums rounded to single are equal scores.
            term = weight - weight / (_ONE + counts * self._norms[documents])
            scores[documents] += term
        single = scores.astype(np.float32)
        found = np.flatnonzero(single)
        if len(found) > limit:
            worst = np.partition(single[found], len(found) - limit)[len(found) - limit]
            found = found[single[found] >= worst]
        order = np.lexsort((self._ranks[found], -single[found]))
        best: list[int] = found[order[:limit]].tolist()
        return best

    def _read(self, word: str) -> Postings:
        """The numbers of the documents with a word, and how often it stands in each."""
        query = "SELECT pairs FROM postings WHERE word = ? ORDER BY block"
        blobs = b"".join(blob for (blob,) in self._connection.execute(query, (word,)))
        pairs = np.frombuffer(blobs, dtype=np.int32).reshape(-1, 2)
        return pairs[:, 0].copy(), pairs[:, 1].astype(np.float32)


def _rarity(documents: int, with_word: int) -> np.float32:
    return np.float32(math.log(1 + (documents - with_word + 0.5) / (with_word + 0.5)))


def length_byte(length: int) -> int:
    """A length in one byte as Lucene writes it: four significant bits from 24 on."""
    if length < _EXACT:
        return length
    rest = length - _EXACT
    shift = rest.bit_length() - 4
    return _EXACT + (rest if shift < 0 else (shift + 1) << 3 | (rest >> shift) & 7)


def length_of(byte: int) -> int:
    """The length that a byte stands for, the least of those that it may."""
    if byte < _EXACT:
        return byte
    shift, rest = divmod(byte - _EXACT, 8)
    return _EXACT + (rest if shift == 0 else (rest | 8) << (shift - 1))
