"""Goals: what a customer asks for, and the prices drawn with them.

One generator of random numbers draws in a fixed order: a price for each product with a range of
prices, then a limit for each product (synthetic goals) or instruction (human goals). The goals are
shuffled with a seed of their own, so that their order does not depend on the draws.
"""

from __future__ import annotations

import itertools
import json
import random
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amp.benchmarks.webshop.store import Store
from amp.errors import InvalidInputError, MissingDependencyError

NO_LIMIT = 1_000_000.0
"""`Goal.price_upper` of a goal without a price limit."""

SHUFFLE_SEED = 233

_LIMITS = tuple(10.0 * i for i in range(1, 100))
_NEAREST_LIMITS = 4

GoalOption = tuple[str, str] | str


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be bought.

    Attributes:
        instruction: the goal in words, all that a customer says.
        asin: a product that answers it.
        title: that product's name.
        category: that product's category.
        query: that product's query.
        product_category: its place in the tree of categories.
        attributes: what it has to be.
        options: what has to be chosen: a name and a value each in synthetic goals, a value in human
            ones.
        price_upper: dollars that it may cost at most; `NO_LIMIT` if that was not said.
        weight: how likely it is drawn, relative to the other goals.
    """

    instruction: str
    asin: str
    title: str
    category: str
    query: str
    product_category: str
    attributes: tuple[str, ...]
    options: tuple[GoalOption, ...]
    price_upper: float
    weight: float = 1.0


def draw_prices(store: Store, rng: random.Random) -> Sequence[float]:
    """Each product's price in dollars, by number: drawn from the range of prices if it has one."""
    return array(
        "d",
        (low if high is None else rng.uniform(low, high) for low, high in store.price_ranges()),
    )


def synthetic_goals(store: Store, prices: Sequence[float], rng: random.Random) -> list[Goal]:
    """A goal for each combination of options of each product with an instruction, in that order."""
    goals = []
    for number, instruction, attributes in store.instructions():
        product = store.product(number)
        upper, price_text = _draw_limit(prices[number], rng)
        names = sorted(product.options)
        for values in itertools.product(*(product.options[name] for name in names)):
            options = tuple(zip(names, values, strict=True))
            said = ", and ".join(f"{name}: {value}" for name, value in options)
            text = instruction + (f" with {said}" if said else "") + price_text
            goals.append(_goal(store, number, text, attributes, options, upper))
    return _weighted(goals)


def human_goals(
    store: Store, prices: Sequence[float], rng: random.Random, instructions: Path
) -> list[Goal]:
    """A goal for each instruction that a person wrote and that has attributes.

    Args:
        store: the catalogue.
        prices: the products' prices.
        rng: draws the price limits.
        instructions: an ``items_human_ins*.json`` of the original project.

    Raises:
        InvalidInputError: if the file is damaged.
        MissingDependencyError: if it cannot be read.
    """
    goals = []
    for number, text, attributes, options in _human_instructions(store, instructions):
        upper, price_text = _draw_limit(prices[number], rng)
        goals.append(_goal(store, number, text.strip(".") + price_text, attributes, options, upper))
    return goals


def shuffled(goals: list[Goal]) -> list[Goal]:
    """The goals in the order that their numbers refer to."""
    goals = list(goals)
    random.Random(SHUFFLE_SEED).shuffle(goals)
    return goals


def _goal(
    store: Store,
    number: int,
    text: str,
    attributes: tuple[str, ...],
    options: tuple[GoalOption, ...],
    upper: float,
) -> Goal:
    product = store.product(number)
    return Goal(
        instruction=text,
        asin=product.asin,
        title=product.title,
        category=product.category,
        query=product.query,
        product_category=product.product_category,
        attributes=attributes,
        options=options,
        price_upper=upper,
    )


def _draw_limit(price: float, rng: random.Random) -> tuple[float, str]:
    """A price limit above a price, and how it is said; no draw where fewer than two are above."""
    above = [limit for limit in _LIMITS if limit > price][:_NEAREST_LIMITS]
    if len(above) < 2:
        return NO_LIMIT, ""
    upper = max(rng.sample(above, 2))
    return upper, f", and price lower than {upper:.2f} dollars"


def _weighted(goals: list[Goal]) -> list[Goal]:
    """Goals whose weight is the mean of 1 / (number of goals with an attribute)."""
    counts = Counter(attribute for goal in goals for attribute in goal.attributes)
    return [
        replace(goal, weight=sum(1.0 / counts[a] for a in goal.attributes) / len(goal.attributes))
        for goal in goals
    ]


def _human_instructions(
    store: Store, path: Path
) -> Iterator[tuple[int, str, tuple[str, ...], tuple[str, ...]]]:
    """Product, text, attributes and options, in the order of the products."""
    try:
        by_product = json.loads(path.read_text("utf-8"))
        numbered = [(store.number(asin), rows) for asin, rows in by_product.items()]
        for number, rows in sorted((n, rows) for n, rows in numbered if n is not None):
            for row in rows:
                if attributes := tuple(row["instruction_attributes"]):
                    yield number, row["instruction"], attributes, tuple(row["instruction_options"])
    except OSError as error:
        raise MissingDependencyError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, AttributeError, KeyError, TypeError):
        raise InvalidInputError(
            f"{path} does not hold human instructions by product; get it again"
        ) from None
