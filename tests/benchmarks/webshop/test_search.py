"""The words that are indexed, and the order in which BM25 finds documents."""

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
from amp.benchmarks.webshop.search import (
    STOP_WORDS,
    Index,
    IndexWriter,
    index_words,
    length_byte,
    length_of,
    raw_words,
    stem,
)

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


LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)


@given(LETTERS)
def test_a_stem_is_no_longer_than_its_word_but_for_one_letter(word: str) -> None:
    assert 1 <= len(stem(word)) <= len(word) + 1
    assert stem(word)[0] == word[0]


@given(st.text("abcdefghijklmnopqrstuvwxyz", max_size=2))
def test_words_of_two_letters_are_their_own_stems(word: str) -> None:
    assert stem(word) == word


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("cats", "cat"),
        ("feed", "feed"),
        ("agreed", "agre"),
        ("plastered", "plaster"),
        ("bled", "bled"),
        ("sing", "sing"),
        ("conflated", "conflat"),
        ("hopping", "hop"),
        ("falling", "fall"),
        ("filing", "file"),
        ("living", "live"),
        ("happy", "happi"),
        ("sky", "sky"),
        ("relational", "relat"),
        ("rational", "ration"),
        ("valency", "valenc"),
        ("conformably", "conform"),
        ("analogy", "analog"),
        ("vietnamization", "vietnam"),
        ("hopefulness", "hope"),
        ("electrical", "electr"),
        ("adoption", "adopt"),
        ("replacement", "replac"),
        ("probate", "probat"),
        ("rate", "rate"),
        ("cease", "ceas"),
        ("controlling", "control"),
        ("roll", "roll"),
        ("toys", "toi"),
        ("eyeing", "ey"),
    ],
)
def test_stems_are_those_of_porters_paper(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(st.text(max_size=60))
def test_words_stand_in_the_text_one_after_the_other(text: str) -> None:
    rest = text
    for word in raw_words(text):
        assert word
        rest = rest[rest.index(word) + len(word) :]


@given(st.lists(LETTERS))
def test_plain_words_are_found_and_stop_words_are_not_indexed(words: list[str]) -> None:
    assert list(raw_words(" ".join(words))) == words
    assert index_words(" ".join(words)) == [stem(word) for word in words if word not in STOP_WORDS]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("can't stop", ["can't", "stop"]),
        ("1,200.50 m, 3:4", ["1,200.50", "m", "3", "4"]),
        ("usb-c", ["usb", "c"]),
        ("color:red a.b", ["color:red", "a.b"]),
        ("16x16 a1b2_c", ["16x16", "a1b2_c"]),
        ("caf\u00e9 cafe\u0301", ["caf\u00e9", "cafe\u0301"]),
        ("\u9505\u5df4 \u3042\u3044", ["\u9505", "\u5df4", "\u3042", "\u3044"]),
        ("\u30ab\u30bf\u30ab\u30ca", ["\u30ab\u30bf\u30ab\u30ca"]),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", ["\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"]),
        ("\u2764\ufe0f\u2764new \u2605", ["\u2764\ufe0f", "\u2764", "new", "\u2605"]),
        ("\U0001f468\u200d\U0001f4bc", ["\U0001f468\u200d\U0001f4bc"]),
        ("\U0001f1e9\U0001f1ea", ["\U0001f1e9\U0001f1ea"]),
        ("\u3010!\u3011 --- \uff9f", []),
        ("x" * 300, ["x" * 255, "x" * 45]),
    ],
)
def test_words_end_where_unicode_says(text: str, expected: list[str]) -> None:
    assert list(raw_words(text)) == expected


def test_possessives_are_cut_and_case_does_not_count() -> None:
    assert index_words("The Women's SHOES and it\u2019s") == ["women", "shoe"]
