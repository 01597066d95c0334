from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop.similarity import _common_subsequence, token_set_ratio

TEXTS = st.text("ab c,1", max_size=14)


@given(TEXTS, TEXTS)
def test_likeness_is_symmetric_and_lies_between_0_and_100(first: str, second: str) -> None:
    assert token_set_ratio(first, second) == token_set_ratio(second, first)
    assert 0 <= token_set_ratio(first, second) <= 100


@given(st.sets(st.sampled_from(["red", "blue", "green", "12", "in"]), min_size=1), TEXTS)
def test_words_that_are_all_in_the_other_text_are_full_likeness(words: set[str], rest: str) -> None:
    assert token_set_ratio(" ".join(words), f"{rest} {' '.join(sorted(words))}") == 100


@given(st.text("abc", max_size=9), st.text("abc", max_size=9))
def test_the_common_subsequence_is_that_of_the_table(first: str, second: str) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, j in product(range(len(first)), range(len(second))):
        same = table[i][j] + 1 if first[i] == second[j] else 0
        table[i + 1][j + 1] = max(same, table[i][j + 1], table[i + 1][j])
    assert _common_subsequence(first, second) == table[-1][-1]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("", "red", 0),
        ("!!!", "!!!", 0),
        ("Red_Wine", "wine red red", 100),
        ("black", "('color', 'black')", 100),
        ("caf\u00e9", "caf", 100),
        ("x-large", "large", 100),
        ("navy blue", "light blue", 62),
        ("abcd", "abce", 75),
    ],
)
def test_likeness_is_that_of_thefuzz(first: str, second: str, expected: int) -> None:
    assert token_set_ratio(first, second) == expected
