from __future__ import annotations

import math
import sqlite3
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop import search
from amp.benchmarks.webshop.search import Index, IndexWriter, length_byte, length_of

WORDS = ["lamp", "brass", "desk", "paper", "wool", "sock"]
DOCUMENTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), max_size=12)


def built(documents: list[str], order: list[int] | None = None) -> Index:
    connection = sqlite3.connect(":memory:")
    connection.executescript(search.SCHEMA)
    writer = IndexWriter(connection)
    for document in documents:
        writer.add(document)
    writer.finish()
    return Index(connection, np.array(order or range(len(documents)), dtype=np.int32))


def scores(documents: list[str], query: list[str]) -> list[float]:
    """Robertson's formula in double precision."""
    bags = [Counter(document.split()) for document in documents]
    size = sum(bag.total() > 0 for bag in bags)
    average = sum(bag.total() for bag in bags) / size
    found = [0.0] * len(documents)
    for word in query:
        having = sum(word in bag for bag in bags)
        rarity = math.log(1 + (size - having + 0.5) / (having + 0.5))
        for number, bag in enumerate(bags):
            if bag[word]:
                length = length_of(length_byte(bag.total()))
                norm = 0.9 * (0.6 + 0.4 * length / average)
                found[number] += rarity * bag[word] / (bag[word] + norm)
    return found


@given(DOCUMENTS.filter(any), st.lists(st.sampled_from(WORDS), min_size=1, max_size=5))
def test_documents_come_in_the_order_of_their_scores(
    documents: list[str], query: list[str]
) -> None:
    expected = scores(documents, query)
    found = built(documents).search(" ".join(query), limit=50)
    assert sorted(found) == [number for number, score in enumerate(expected) if score > 0]
    for better, worse in pairwise(found):
        assert expected[better] >= expected[worse] - 1e-5


@given(DOCUMENTS, st.integers(1, 5))
def test_a_limit_takes_the_first_ones(documents: list[str], limit: int) -> None:
    searched = built(documents)
    assert searched.search("lamp wool", limit) == searched.search("lamp wool", 50)[:limit]


@given(st.integers(0, 2**31 - 1))
def test_a_length_in_one_byte_is_at_most_an_eighth_too_small(length: int) -> None:
    kept = length_of(length_byte(length))
    assert 0 <= length_byte(length) <= 255
    assert length * 7 / 8 - 3 <= kept <= length


def test_every_byte_is_a_length_of_its_own() -> None:
    lengths = [length_of(byte) for byte in range(256)]
    assert lengths == sorted(set(lengths))
    assert [length_byte(length) for length in lengths] == list(range(256))


def test_equal_scores_come_in_the_order_of_ranks() -> None:
    assert built(["lamp", "lamp", "lamp"], [2, 0, 1]).search("lamp", 2) == [1, 2]


@pytest.mark.parametrize("query", ["", "the", "!!!", "unknown"])
def test_a_query_without_known_words_finds_nothing(query: str) -> None:
    assert built(["lamp", "wool"]).search(query, 50) == []


def test_a_repeated_word_counts_again() -> None:
    searched = built(["lamp lamp desk", "wool desk desk", "brass"])
    assert searched.search("lamp wool wool", 1) == [1]
    assert searched.search("lamp lamp wool", 1) == [0]


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [" ".join(WORDS[: n % 5 + 1] * (n % 3 + 1)) for n in range(20)]
    whole = built(documents).search("lamp desk paper", 50)
    monkeypatch.setattr(search, "_BLOCK", 3)
    assert built(documents).search("lamp desk paper", 50) == whole
