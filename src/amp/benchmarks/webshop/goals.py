"""Goals of customers, the prices drawn with them, and what a purchase earns.

One generator of random numbers draws in a fixed order: a price for each product with a range of
prices, then a limit for each product (synthetic goals) or instruction (human goals). The goals are
shuffled with a seed of their own, so that their order does not depend on the draws.

The reward of a purchase is type * (attributes hit + options hit + price met) / (all of them). Its
type compares the nouns of product names, which come from a table or from spaCy.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from amp.assess.text import english
from amp.benchmarks.webshop.products import LEVEL_MARK, Catalogue, Product
from amp.errors import InvalidInputError, MissingDependencyError

NO_LIMIT = 1_000_000.0
"""`Goal.price_upper` of a goal without a price limit."""

SHUFFLE_SEED = 233

_LIMITS = tuple(10.0 * i for i in range(1, 100))
_NEAREST_LIMITS = 4
_NOT_ASCII = dict.fromkeys(range(0x80, 0x100))  # as far as thefuzz drops it

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


def draw_prices(catalogue: Catalogue, rng: random.Random) -> Sequence[float]:
    """Each product's price in dollars, by number: drawn from the range of prices if it has one."""
    return array(
        "d",
        (low if high is None else rng.uniform(low, high) for low, high in catalogue.price_ranges()),
    )


def synthetic_goals(
    catalogue: Catalogue, prices: Sequence[float], rng: random.Random
) -> list[Goal]:
    """A goal for each combination of options of each product with an instruction, in that order."""
    goals = []
    for number, instruction, attributes in catalogue.instructions():
        product = catalogue.product(number)
        upper, price_text = _draw_limit(prices[number], rng)
        names = sorted(product.options)
        for values in itertools.product(*(product.options[name] for name in names)):
            options = tuple(zip(names, values, strict=True))
            said = ", and ".join(f"{name}: {value}" for name, value in options)
            text = instruction + (f" with {said}" if said else "") + price_text
            goals.append(_goal(catalogue, number, text, attributes, options, upper))
    return _weighted(goals)


def human_goals(
    catalogue: Catalogue, prices: Sequence[float], rng: random.Random, instructions: Path
) -> list[Goal]:
    """A goal for each instruction that a person wrote and that has attributes.

    Args:
        catalogue: the catalogue.
        prices: the products' prices.
        rng: draws the price limits.
        instructions: an ``items_human_ins*.json`` of the original project.

    Raises:
        InvalidInputError: if the file is damaged.
        MissingDependencyError: if it cannot be read.
    """
    goals = []
    for number, text, attributes, options in _human_instructions(catalogue, instructions):
        upper, price_text = _draw_limit(prices[number], rng)
        goals.append(
            _goal(catalogue, number, text.strip(".") + price_text, attributes, options, upper)
        )
    return goals


def shuffled(goals: list[Goal]) -> list[Goal]:
    """The goals in the order that their numbers refer to."""
    goals = list(goals)
    random.Random(SHUFFLE_SEED).shuffle(goals)
    return goals


def _goal(
    catalogue: Catalogue,
    number: int,
    text: str,
    attributes: tuple[str, ...],
    options: tuple[GoalOption, ...],
    upper: float,
) -> Goal:
    product = catalogue.product(number)
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
    catalogue: Catalogue, path: Path
) -> Iterator[tuple[int, str, tuple[str, ...], tuple[str, ...]]]:
    """Product, text, attributes and options, in the order of the products."""
    try:
        by_product = json.loads(path.read_text("utf-8"))
        numbered = [(catalogue.number(asin), rows) for asin, rows in by_product.items()]
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


_ALIKE = 85  # a likeness above it is a hit

# The colour words of the original's rule, in its order: the first one found stands for a value.
_COLOUR_WORDS = (
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown "
    "burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee "
    "cognac copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia "
    "gold granite grape graphite grass gray green grey heather indigo ivory ivy khaki lavender "
    "lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor "
    "mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red "
    "rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan "
    "taupe teal tiger turquoise violet walnut wheat white wine yellow"
)
_COLOURS = tuple(_COLOUR_WORDS.split())


@dataclass(frozen=True, slots=True)
class TypeMatch:
    """Whether it is the right kind of product.

    Attributes:
        title_score: share of the nouns of the goal's title that the product's title has, too.
        same_query: whether both were found with the same query.
        same_category: whether two levels of the tree of categories are the same.
    """

    title_score: float
    same_query: bool
    same_category: bool

    @property
    def factor(self) -> float:
        """The factor of the reward: 0, 0.1, 0.5 or 1. Different titles beat all else."""
        if self.title_score == 0.0:
            return 0.0
        if self.title_score < 0.1:
            return 0.1
        alike = self.same_query or self.same_category or self.title_score > 0.2
        return 1.0 if alike else 0.5


@dataclass(frozen=True, slots=True)
class PurchaseReward:
    """What a purchase earns, with its parts.

    Attributes:
        type_match: whether it is the right kind of product.
        attributes_hit: how many of the wanted attributes it has.
        attributes: how many are wanted.
        options_hit: how many of the wanted options were chosen.
        options: how many are wanted.
        price_met: whether it costs no more than the limit.
    """

    type_match: TypeMatch
    attributes_hit: int
    attributes: int
    options_hit: int
    options: int
    price_met: bool

    @property
    def parts(self) -> int:
        """What counts: the wanted attributes and options, and the price."""
        return self.attributes + self.options + 1

    @property
    def total(self) -> float:
        """The reward in [0, 1]."""
        hit = self.attributes_hit + self.options_hit + self.price_met
        return hit / self.parts * self.type_match.factor


def reward_of(
    product: Product, price: float, chosen: Mapping[str, str], goal: Goal, nouns: TitleNouns
) -> PurchaseReward:
    """Judges a purchase.

    Args:
        product: what was bought.
        price: what it costs, in dollars.
        chosen: the values that were chosen, by the option's name.
        goal: what was wanted.
        nouns: finds the nouns of titles.

    Raises:
        MissingDependencyError: if the nouns of a title can't be found.
    """
    return PurchaseReward(
        type_match=_type_match(product, goal, nouns),
        attributes_hit=sum(_has(product, attribute) for attribute in goal.attributes),
        attributes=len(goal.attributes),
        options_hit=_options_hit(goal.options, chosen.values()),
        options=len(goal.options),
        price_met=price <= goal.price_upper,
    )


def _type_match(product: Product, goal: Goal, nouns: TitleNouns) -> TypeMatch:
    wanted = nouns.of(goal.asin, goal.title)
    shared = set(nouns.of(product.asin, product.title)).intersection(wanted)
    common_levels = _levels(product.product_category) & _levels(goal.product_category)
    return TypeMatch(
        title_score=len(shared) / len(wanted) if wanted else 0.2,
        same_query=product.query == goal.query,
        same_category=len(common_levels) >= 2,
    )


def similarity(first: str, second: str) -> int:
    """How alike two texts are as sets of words, in 0 to 100, as the original measures it.

    That is thefuzz's ``token_set_ratio``: RapidFuzz's without the letters from U+0080 to U+00FF, a
    half rounded to even. 100 if the words of one are among those of the other; 0 if one has none.
    """
    from rapidfuzz import fuzz, utils

    cleaned = (text.translate(_NOT_ASCII) for text in (first, second))
    return round(fuzz.token_set_ratio(*cleaned, processor=utils.default_process))


def _levels(product_category: str) -> set[str]:
    return {level.strip() for level in product_category.split(LEVEL_MARK)}


def _has(product: Product, attribute: str) -> bool:
    return any(similarity(known, attribute) > _ALIKE for known in product.attributes) or any(
        attribute in text.lower()
        for text in (product.title, " ".join(product.features), product.description)
    )


def _options_hit(wanted: Iterable[GoalOption], chosen: Iterable[str]) -> int:
    values = [_colour_in(value) for value in chosen]
    return sum(
        any(similarity(value, text) > _ALIKE for value in values) for text in map(_compared, wanted)
    )


def _compared(option: GoalOption) -> str:
    """The text that stands for a wanted option.

    A name with its value is compared as Python writes the pair, words of the name included; a
    colour stands for it only if name or value is nothing else.
    """
    if isinstance(option, str):
        return _colour_in(option)
    return next((colour for colour in _COLOURS if colour in option), str(option))


def _colour_in(value: str) -> str:
    """The first colour whose letters a value holds, as "tan" in "standard"; else the value."""
    return next((colour for colour in _COLOURS if colour in value), value)
