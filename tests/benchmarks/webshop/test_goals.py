"""Goals, rewards of purchases, and the similarity of texts that they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop.goals import (
    Goal,
    GoalOption,
    TitleNouns,
    TypeMatch,
    reward_of,
    similarity,
)
from amp.benchmarks.webshop.products import LEVEL_MARK, Product

LAMP = Product(
    asin="B1",
    title="Brass Desk Lamp",
    description="Gives a warm light.",
    features=("Dimmable", "Energy saving"),
    prices=(20.0,),
    options={"color": ("red", "tan"), "size": ("small", "large")},
    category="garden",
    query="lamps",
    product_category=f"Home {LEVEL_MARK} Light {LEVEL_MARK} Lamps",
    attributes=("solid brass",),
)
GOAL = Goal(
    instruction="Find me a lamp",
    asin="B1",
    title=LAMP.title,
    category="garden",
    query="lamps",
    product_category=LAMP.product_category,
    attributes=("solid brass", "warm light"),
    options=(("color", "red"), ("size", "small")),
    price_upper=30.0,
)
NOUNS = {
    "B1": ("brass", "desk", "lamp"),
    "B2": ("lamp", *"abcdefghijk"),
    "B3": ("sock",),
    "B4": (),
}


def total(
    product: Product = LAMP,
    goal: Goal = GOAL,
    price: float = 20.0,
    chosen: Mapping[str, str] | None = None,
) -> float:
    right = {"color": "red", "size": "small"}
    options = right if chosen is None else chosen
    return reward_of(product, price, options, goal, TitleNouns(NOUNS)).total


@given(
    price=st.floats(1, 100),
    chosen=st.dictionaries(st.sampled_from(["color", "size"]), st.sampled_from(["red", "small"])),
    title_score=st.floats(0, 1),
)
def test_a_reward_lies_between_0_and_1(
    price: float, chosen: dict[str, str], title_score: float
) -> None:
    assert 0.0 <= total(price=price, chosen=chosen) <= 1.0
    assert TypeMatch(title_score, True, True).factor in (0.0, 0.1, 1.0)


def test_every_missed_part_costs_the_same() -> None:
    assert total() == 1.0
    assert total(price=30.0) == 1.0
    assert total(price=30.01) == pytest.approx(4 / 5)
    assert total(chosen={"color": "red"}) == pytest.approx(4 / 5)
    assert total(replace(LAMP, attributes=("dull",))) == pytest.approx(4 / 5)
    assert total(replace(LAMP, description="")) == pytest.approx(4 / 5)
    assert total(chosen={}, price=99.0) == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("asin", "query", "category", "factor"),
    [
        ("B3", "lamps", LAMP.product_category, 0.0),
        ("B2", "lamps", LAMP.product_category, 0.1),
        ("B1", "x", "y", 1.0),
        ("B4", "lamps", "y", 1.0),
        ("B4", "x", LAMP.product_category, 1.0),
        ("B4", "x", "y", 0.5),
        ("B4", "x", f"Home {LEVEL_MARK} Toys", 0.5),
    ],
)
def test_different_titles_beat_the_same_query(
    asin: str, query: str, category: str, factor: float
) -> None:
    goal = replace(GOAL, asin=asin, query=query, product_category=category)
    assert total(goal=goal) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("wanted", "chosen", "hit"),
    [
        (("color", "red"), "red", True),
        (("color", "red"), "shredded", True),
        (("size", "9.5 wide"), "size", True),
        (("size", "standard"), "tan", False),
        (("size", "standard"), "standard", False),
        (("size", "large"), "x-large", False),
        (("size", "9.5 wide"), "9.5", True),
        ("standard", "tan", True),
        ("120ml", "120 ml", True),
        ("x-large", "large", True),
        ("6 inch", "8 inch", False),
    ],
)
def test_options_are_compared_as_in_the_original(
    wanted: GoalOption, chosen: str, hit: bool
) -> None:
    goal = replace(GOAL, attributes=("solid brass",), options=(wanted,))
    assert (total(goal=goal, chosen={"any name": chosen}) == 1.0) is hit


def test_nouns_that_no_table_has_are_found_by_spacy() -> None:
    pytest.importorskip("spacy")
    nouns = TitleNouns({}).of("B9", "Brass Lamp with a Soft Shade for Reading in Bed")
    assert nouns[:2] == ("brass", "lamp")
    assert {"with", "a", "for", "in"}.isdisjoint(nouns)


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
