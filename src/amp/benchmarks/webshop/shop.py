"""The shop of one data set: what all its environments share. Nothing in it changes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from amp.benchmarks.webshop.goals import (
    Goal,
    PurchaseReward,
    TitleNouns,
    draw_prices,
    human_goals,
    read_table,
    reward_of,
    shuffled,
    synthetic_goals,
)
from amp.benchmarks.webshop.products import Catalogue, Product, open_catalogue
from amp.errors import InvalidInputError, MissingDependencyError
from amp.models.download import Progress

MAX_RESULTS = 50
PRICE_SEED = 0


class UnsupportedSearchError(InvalidInputError):
    """A search at which the original breaks down."""


@dataclass(frozen=True, slots=True)
class Files:
    """Names of a data set's files, the first that is there being used.

    Attributes:
        products: the products.
        instructions: their attributes, and an instruction for some.
        human: instructions that people wrote; None for synthetic goals.
    """

    products: tuple[str, ...]
    instructions: tuple[str, ...]
    human: tuple[str, ...] | None


_SMALL_PRODUCTS = ("items_shuffle_1000.json", "items_shuffle_1000.rebuilt.json")
_SMALL_HUMAN = ("items_human_ins.json", "items_human_ins.in1000.json")

LEVELS: Mapping[str, Files] = {
    "small": Files(_SMALL_PRODUCTS, ("items_ins_v2_1000.json",), None),
    "small-human": Files(_SMALL_PRODUCTS, ("items_ins_v2_1000.json",), _SMALL_HUMAN),
    "full": Files(("items_shuffle.json",), ("items_ins_v2.json",), ("items_human_ins.json",)),
}
"""Data sets: 1,000 products with synthetic or human goals, and all products with human goals."""

_NOUN_TABLES = ("title_nouns.jsonl.gz", "golden/title_nouns.jsonl.gz")


@dataclass(frozen=True, slots=True)
class Shop:
    """A catalogue with prices and goals.

    Attributes:
        catalogue: the catalogue.
        prices: what each product costs in dollars, by its number.
        goals: the goals in the order of their numbers.
        nouns: finds the nouns of titles.
    """

    catalogue: Catalogue
    prices: Sequence[float]
    goals: Sequence[Goal]
    nouns: TitleNouns

    def results(self, keywords: Sequence[str], rng: random.Random) -> list[int]:
        """The numbers of the products that a search finds, the best first.

        A first keyword in angle brackets asks for something else: ``<r>`` for any products, drawn
        anew each time; ``<c> WORD`` for those of a category; ``<q> WORDS`` for those of a query.

        Raises:
            UnsupportedSearchError: for ``<a>``, for ``<c>`` without a category, and for ``<r>`` in
                a shop of fewer than 50 products.
        """
        catalogue = self.catalogue
        first, rest = keywords[0], keywords[1:]
        if first == "<r>" and catalogue.size >= MAX_RESULTS:
            return rng.sample(range(catalogue.size), k=MAX_RESULTS)
        if first == "<c>" and rest:
            return catalogue.of_category(rest[0].strip())
        if first == "<q>":
            return catalogue.of_query(" ".join(rest).strip())
        if first in ("<r>", "<c>", "<a>"):
            raise UnsupportedSearchError(
                f"webshop can't search for {' '.join(keywords)!r}; search for words instead"
            )
        return catalogue.search(" ".join(keywords), MAX_RESULTS)

    def product(self, asin: str) -> Product:
        """The product of an id that a page shows."""
        return self.catalogue.product(self._number(asin))

    def reward(self, asin: str, chosen: Mapping[str, str], goal: Goal) -> PurchaseReward:
        """What it earns to buy a product with these options."""
        number = self._number(asin)
        product = self.catalogue.product(number)
        return reward_of(product, self.prices[number], chosen, goal, self.nouns)

    def _number(self, asin: str) -> int:
        number = self.catalogue.number(asin)
        if number is None:
            raise InvalidInputError(f"webshop has no product {asin!r}")
        return number


@lru_cache(maxsize=2)
def load_shop(folder: Path, level: str) -> Shop:
    """Opens a data set; the same shop each time.

    Args:
        folder: holds the files of the original project.
        level: one of `LEVELS`.

    Raises:
        InvalidInputError: if a file is damaged.
        MissingDependencyError: if a file is missing; says which and where it is had.
    """
    files = LEVELS[level]
    catalogue = open_catalogue(_found(folder, files.products), _found(folder, files.instructions))
    rng = random.Random(PRICE_SEED)
    prices = draw_prices(catalogue, rng)
    if files.human is None:
        goals = synthetic_goals(catalogue, prices, rng)
    else:
        goals = human_goals(catalogue, prices, rng, _found(folder, files.human))
    tables = [folder / name for name in _NOUN_TABLES if (folder / name).is_file()]
    nouns = TitleNouns(read_table(tables[0]) if tables else None)
    return Shop(catalogue, prices, shuffled(goals), nouns)


def _found(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise MissingDependencyError(
        f"no data of webshop: {folder} holds no {' or '.join(names)}; get it as "
        "github.com/princeton-nlp/WebShop says (setup.sh) and put it there"
    )


PUBLISHED: Mapping[str, tuple[str, str]] = {
    "items_shuffle_1000.json": ("1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib", "levels small, small-human"),
    "items_ins_v2_1000.json": ("1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu", "levels small, small-human"),
    "items_human_ins.json": ("14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O", "levels small-human, full"),
    "items_shuffle.json": ("1A2whVgOO0euk5O13n2iYDM0bQRkkRduB", "level full"),
    "items_ins_v2.json": ("1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi", "level full"),
}
"""The original's files by name, each with its number on Google Drive (as the original's setup.sh
has it) and the levels that it is for."""


def fetch_products(folder: Path, progress: Progress) -> None:
    """Says which files are missing from a folder: only a person can get them.

    Raises:
        MissingDependencyError: if any are.
    """
    missing = {name: entry for name, entry in PUBLISHED.items() if not (folder / name).is_file()}
    if missing:
        listed = "; ".join(
            f"{name}: https://drive.google.com/uc?id={number} ({levels})"
            for name, (number, levels) in missing.items()
        )
        raise MissingDependencyError(
            f"WebShop's project keeps its data on Google Drive, where a person has to get it; put "
            f"the files of the level that you want into {folder.absolute()}: {listed}"
        )
