"""The reward of a purchase: type * (attributes hit + options hit + price met) / (all of them)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from amp.benchmarks.webshop.goals import Goal, GoalOption
from amp.benchmarks.webshop.nouns import TitleNouns
from amp.benchmarks.webshop.products import LEVEL_MARK, Product
from amp.benchmarks.webshop.similarity import token_set_ratio

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
class Reward:
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
) -> Reward:
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
    return Reward(
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


def _levels(product_category: str) -> set[str]:
    return {level.strip() for level in product_category.split(LEVEL_MARK)}


def _has(product: Product, attribute: str) -> bool:
    return any(token_set_ratio(known, attribute) > _ALIKE for known in product.attributes) or any(
        attribute in text.lower()
        for text in (product.title, " ".join(product.features), product.description)
    )


def _options_hit(wanted: Iterable[GoalOption], chosen: Iterable[str]) -> int:
    values = [_colour_in(value) for value in chosen]
    return sum(
        any(token_set_ratio(value, text) > _ALIKE for value in values)
        for text in map(_compared, wanted)
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
