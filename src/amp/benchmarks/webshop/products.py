"""Products as the shop shows them, and the catalogue that holds them on disk.

The catalogue is one SQLite file of products and search index, built once from the records of the
data set. Nothing but a few bytes a product is held in memory, so that the full data set of 1.18
million products needs no large machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from amp.benchmarks.webshop import search
from amp.benchmarks.webshop.search import Index, IndexWriter
from amp.errors import InvalidInputError, MissingDependencyError

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


def read_elements(path: Path) -> Iterator[Any]:
    """Yields the elements of a JSON array in a file, which may be larger than the memory.

    Raises:
        InvalidInputError: if the file is not a JSON array in UTF-8.
        MissingDependencyError: if it cannot be read.
    """
    return (value for _, value in _entries(path, "start_array", "an array"))


def read_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields the names and values of a JSON object in a file; raises as `read_elements`."""
    return _entries(path, "start_map", "an object")


def _entries(path: Path, opening: str, expected: str) -> Iterator[tuple[str, Any]]:
    """The values of the outermost array or object, with their names in an object."""
    # Events in place of ijson.items, whose paths outgrow any memory where nesting is deep.
    import ijson

    read, depth, name, builder = 0, 0, "", ijson.ObjectBuilder()
    try:
        with path.open("rb") as file:
            for event, value in ijson.basic_parse(file, use_float=True):
                if depth == 0:
                    if event != opening:
                        raise ijson.JSONError(f"expected {expected}")
                    depth = 1
                elif depth == 1 and event == "map_key":
                    name = value
                elif depth == 1 and event.startswith("end_"):
                    return
                else:
                    builder.event(event, value)
                    depth += event.startswith("start_") - event.startswith("end_")
                    if depth > _DEEPEST:
                        raise ijson.JSONError("nested too deeply")
                    if depth == 1:
                        yield name, builder.value
                        read, builder = read + 1, ijson.ObjectBuilder()
    except (ijson.JSONError, UnicodeDecodeError) as error:
        what = str(error).splitlines()[0]
        raise InvalidInputError(
            f"{path}: no JSON: {what}, after {read} values; the file is damaged, get it again"
        ) from None
    except OSError as error:
        raise MissingDependencyError(f"cannot read {path}: {error.strerror}") from None


_DEEPEST = 100  # levels of JSON that a record may have
_FORMAT = 1  # part of a store's name, so that a change of the format builds it anew
_CACHED_PRODUCTS = 4_096

_SCHEMA = (
    """
CREATE TABLE products (
    number INTEGER PRIMARY KEY, asin TEXT UNIQUE, category TEXT, query TEXT,
    low REAL, high REAL, record TEXT, instruction TEXT
);
CREATE INDEX by_category ON products (category);
CREATE INDEX by_query ON products (query);
CREATE TEMP TABLE notes (asin TEXT PRIMARY KEY, note TEXT);
"""
    + search.SCHEMA
)


class Catalogue:
    """The products of a data set and the search over them. Reads only; may be shared.

    Args:
        path: the file that `build` wrote.

    Raises:
        InvalidInputError: if it is none.
    """

    def __init__(self, path: Path) -> None:
        # One reader for every environment of a process; SQLite lets them in one by one.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            rows = self._connection.execute("SELECT number FROM products ORDER BY asin")
            order = np.fromiter((number for (number,) in rows), dtype=np.int32)
            ranks = np.empty_like(order)
            ranks[order] = np.arange(len(order), dtype=np.int32)
            self._index = Index(self._connection, ranks)
        except (sqlite3.Error, TypeError, ValueError):
            self._connection.close()
            raise InvalidInputError(
                f"{path} is no catalogue of webshop; delete it, and it will be built again"
            ) from None
        self.size = len(order)
        self.product = lru_cache(_CACHED_PRODUCTS)(self._product)

    def search(self, query: str, limit: int) -> list[int]:
        """The numbers of the best products for a query, the best first."""
        return self._index.search(query, limit)

    def of_category(self, category: str) -> list[int]:
        """The numbers of all products of a category, in the order of the data."""
        return self._numbers("category", category)

    def of_query(self, query: str) -> list[int]:
        """The numbers of all products that were collected with a query, in the same order."""
        return self._numbers("query", query)

    def number(self, asin: str) -> int | None:
        """The number of a product; None if there is none of this id."""
        return next(iter(self._numbers("asin", asin)), None)

    def price_ranges(self) -> Iterator[tuple[float, float | None]]:
        """Each product's lowest and highest price, None where it has one price only."""
        yield from self._connection.execute("SELECT low, high FROM products ORDER BY number")

    def instructions(self) -> Iterator[tuple[int, str, tuple[str, ...]]]:
        """Number, instruction and its attributes of each product that has one."""
        query = "SELECT number, instruction FROM products WHERE instruction > '' ORDER BY number"
        for number, text in self._connection.execute(query):
            instruction, attributes = json.loads(text)
            yield number, instruction, tuple(attributes)

    def _numbers(self, column: str, value: str) -> list[int]:
        query = f"SELECT number FROM products WHERE {column} = ? ORDER BY number"
        return [number for (number,) in self._connection.execute(query, (value,))]

    def _product(self, number: int) -> Product:
        row = self._connection.execute("SELECT record FROM products WHERE number = ?", (number,))
        asin, title, text, features, prices, options, *kinds, attributes = json.loads(
            row.fetchone()[0]
        )
        category, query, product_category = kinds
        return Product(
            asin=asin,
            title=title,
            description=text,
            features=tuple(features),
            prices=tuple(prices),
            options={name: tuple(values) for name, values in options.items()},
            category=category,
            query=query,
            product_category=product_category,
            attributes=tuple(attributes),
        )


def open_catalogue(products: Path, instructions: Path) -> Catalogue:
    """Returns the catalogue of a data set; the first time it is built in the user's cache.

    Raises:
        InvalidInputError: if a file is damaged, or the cache can't be written.
        MissingDependencyError: if a file cannot be read.
    """
    files = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for file in (products, instructions)
    ]
    digest = hashlib.sha256(repr((_FORMAT, files)).encode()).hexdigest()
    path = cache_directory() / f"{products.stem}-{digest[:16]}.sqlite"
    if not path.exists():
        build(products, instructions, path)
    return Catalogue(path)


def cache_directory() -> Path:
    """Where catalogues are kept: amp/webshop in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "amp" / "webshop"


def build(products: Path, instructions: Path, path: Path) -> None:
    """Writes the catalogue of a data set to a file, which is there only when it is complete.

    Args:
        products: an ``items_shuffle*.json`` of the original project.
        instructions: the ``items_ins_v2*.json`` to it.
        path: the file to write.

    Raises:
        InvalidInputError: if a file is damaged, or the path can't be written.
        MissingDependencyError: if a file cannot be read.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError as error:
        raise InvalidInputError(
            f"cannot write the catalogue of webshop to {path.parent}: {error.strerror}; name a "
            "directory that can be written in XDG_CACHE_HOME"
        ) from None
    os.close(handle)
    try:
        with contextlib.closing(sqlite3.connect(name)) as connection:
            _fill(connection, products, instructions)
        Path(name).replace(path)
    except sqlite3.OperationalError as error:
        raise InvalidInputError(f"cannot write {path}: {error}") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _fill(connection: sqlite3.Connection, products: Path, instructions: Path) -> None:
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
    notes = ((asin, json.dumps(_note(asin, note))) for asin, note in read_members(instructions))
    connection.executemany("INSERT INTO notes VALUES (?, ?)", notes)
    writer = IndexWriter(connection)
    number = 0
    for record in read_elements(products):
        if not isinstance(record, dict):
            raise InvalidInputError(f"{products}: a product is {record!r:.60}; get the file again")
        if _insert(connection, number, record, writer):
            number += 1
    writer.finish()
    connection.commit()
    if number == 0:
        raise InvalidInputError(f"{products} holds no products; get it again")


def _insert(
    connection: sqlite3.Connection, number: int, record: dict[str, Any], writer: IndexWriter
) -> bool:
    """Takes a record in; False if it is left out, as one whose id was there before."""
    asin = record.get("asin")
    row = connection.execute("SELECT note FROM notes WHERE asin = ?", (asin,)).fetchone()
    note = json.loads(row[0]) if row else {}
    product = read_product(record, note.get("attributes"))
    if product is None:
        return False
    wanted = json.dumps(_instruction(product.asin, note)) if note.get("instruction") else None
    low, high = (*product.prices, None)[:2]
    ours = json.dumps(astuple(product))
    columns = (number, product.asin, product.category, product.query, low, high, ours, wanted)
    added = connection.execute(
        "INSERT OR IGNORE INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?)", columns
    )
    if added.rowcount == 0:
        return False
    writer.add(product.document)
    return True


def _note(asin: str, note: Any) -> dict[str, Any]:
    """What the instructions' file says about a product."""
    if isinstance(note, dict) and _is_texts(note.get("attributes", [])):
        return note
    raise InvalidInputError(
        f'instructions: that of {asin!r} is {note!r:.60}, expected {{"attributes": [texts], ...}}; '
        "get the file again"
    )


def _instruction(asin: str, note: dict[str, Any]) -> tuple[str, list[str]]:
    instruction, attributes = note["instruction"], note.get("instruction_attributes")
    if isinstance(instruction, str) and attributes and _is_texts(attributes):
        return instruction, attributes
    raise InvalidInputError(
        f"instructions: instruction_attributes of {asin!r} is {attributes!r:.60}, expected texts; "
        "get the file again"
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
