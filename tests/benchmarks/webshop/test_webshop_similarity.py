from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop.goals import similarity

TEXTS = st.text("ab c,1", max_size=14)


@given(TEXTS, TEXTS)
def test_likeness_is_symmetric_and_lies_between_0_and_100(first: str, second: str) -> None:
    assert similarity(first, second) == similarity(second, first)
    assert 0 <= similarity(first, second) <= 100


@given(st.sets(st.sampled_from(["red", "blue", "green", "12", "in"]), min_size=1), TEXTS)
def test_words_that_are_all_in_the_other_text_are_full_likeness(words: set[str], rest: str) -> None:
    assert similarity(" ".join(words), f"{rest} {' '.join(sorted(words))}") == 100


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
    assert similarity(first, second) == expected
