from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop.search import STOP_WORDS, index_words, raw_words, stem

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
