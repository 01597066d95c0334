"""Products as the shop shows them, read from the records of the data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amp.errors import InvalidInputError

NO_PRICE = 100.0
"""Dollars that a product without a price costs."""

LEVEL_MARK = "\u203a"
"""What parts the levels of `Product.product_category`."""

_NOT_OF_A_NUMBER = re.compile(r"[^\d.]")
_LONGEST_ID = 10


@dataclass(frozen=True, slots=True)
class Product:
    """One product.

    Attributes:
        asin: its id.
        title: its name.
        description: its text; may be empty.
        features: its feature lines.
        prices: dollars; one, or the lowest and the highest.
        options: the values to choose from, in lower case, by the option's name, both in the order
            of the data.
        category: one of a few, such as ``garden``.
        query: the search that it was found with when the data was collected.
        product_category: its place in the tree of categories, its levels parted by `LEVEL_MARK`.
        attributes: what is known of it, in a few words each; never shown.
    """

    asin: str
    title: str
    description: str
    features: tuple[str, ...]
    prices: tuple[float, ...]
    options: Mapping[str, tuple[str, ...]]
    category: str
    query: str
    product_category: str
    attributes: tuple[str, ...]

    @property
    def price_tag(self) -> str:
        """The price as the pages show it."""
        return " to ".join(f"${price}" for price in self.prices)

    @property
    def document(self) -> str:
        """The text that the search looks at."""
        options = ", and ".join(f"{name}: {', '.join(vs)}" for name, vs in self.options.items())
        return " ".join([self.title, self.description, self.features[0], options]).lower()


def read_product(record: Mapping[str, Any], attributes: Sequence[str] | None) -> Product | None:
    """Reads one record of the data set.

    Args:
        record: an element of ``items_shuffle*.json``.
        attributes: those of the product; None if the data set tells none.

    Returns:
        The product, or None where the original leaves the record out (an id that is none).

    Raises:
        InvalidInputError: if the record is not one of a product; names it and the field.
    """
    asin = _text(record, "asin")
    if asin == "nan" or len(asin) > _LONGEST_ID:
        return None
    lines = record.get("small_description")
    features = tuple(lines) if isinstance(lines, list) else (lines,)
    if not features or not all(isinstance(line, str) for line in features):
        raise _broken(record, "small_description", "a text or a list of texts")
    return Product(
        asin=asin,
        title=_text(record, "name"),
        description=_text(record, "full_description"),
        features=features,
        prices=_prices(record),
        options=_options(record),
        category=_text(record, "category"),
        query=_text(record, "query").lower().strip(),
        product_category=_text(record, "product_category"),
        attributes=("DUMMY_ATTR",) if attributes is None else tuple(attributes),
    )


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        raise _broken(record, field, "a text")
    return value


def _prices(record: Mapping[str, Any]) -> tuple[float, ...]:
    pricing = record.get("pricing")
    if not pricing:
        return (NO_PRICE,)
    try:
        prices = [float(_NOT_OF_A_NUMBER.sub("", part)) for part in pricing.split("$")[1:]]
    except (AttributeError, ValueError):
        prices = []
    if not prices:
        raise _broken(record, "pricing", "a text such as '$8.99' or '$5.0 to $9.5'")
    return tuple(prices[:2])


def _options(record: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    groups = record.get("customization_options") or {}
    try:
        return {
            name.lower(): tuple(choice["value"].strip().replace("/", " | ").lower() for choice in c)
            for name, c in groups.items()
            if c is not None
        }
    except (AttributeError, KeyError, TypeError):
        expected = 'names with lists of {"value": "..."}'
        raise _broken(record, "customization_options", expected) from None


def _broken(record: Mapping[str, Any], field: str, expected: str) -> InvalidInputError:
    found = repr(record.get(field))[:60]
    return InvalidInputError(
        f"product {record.get('asin')!r}: {field} is {found}, expected {expected}; "
        "get the file of products again"
    )
