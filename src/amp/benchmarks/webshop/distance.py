"""Goal-state distance D in the shop: how much of what was asked for is not in sight (spec 2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from amp.assess.goal import remaining_words
from amp.assess.language import word_set
from amp.benchmarks.webshop.pages import SEPARATOR

_PRICE_LIMIT = re.compile(r",? and price lower than (\d+(?:\.\d+)?) dollars")
_OPTIONS = re.compile(r"(?:^|.*\s)with ([^:]+: .*)", re.DOTALL)
_PRICE = re.compile(r"\$(\d+(?:\.\d+)?)")
_ASKING = word_set("find looking need want show give buy get interested")


@dataclass(frozen=True, slots=True)
class Request:
    """What an instruction says, read from its words alone.

    Attributes:
        words: what the product has to be, without the words of options and price.
        options: the options to choose, a name and a value each; none if they are not spelt out.
        price_limit: dollars that it has to cost less than; None if that is not said.
    """

    words: str
    options: tuple[tuple[str, str], ...]
    price_limit: float | None


@lru_cache(maxsize=256)
def read_request(instruction: str) -> Request:
    """Reads an instruction such as "Find me soft socks with color: red, and size: s"."""
    limit = _PRICE_LIMIT.search(instruction)
    text = _PRICE_LIMIT.sub("", instruction)
    options: list[tuple[str, str]] = []
    if found := _OPTIONS.fullmatch(text):
        text = text[: found.start(1)]
        for part in found[1].split(", and "):
            name, colon, value = part.partition(": ")
            if colon:
                options.append((name, value))
    return Request(text, tuple(options), float(limit[1]) if limit else None)


def distance(instruction: str, seen: Iterable[str], chosen: Mapping[str, str]) -> float:
    """D in [0, 1]: the share of the request that is not met by the best of what is seen.

    Each content word counts once, being met where it can be read; each option, being met once it is
    chosen; and the price limit, being met by a lower price. 1 where nothing is seen.

    Args:
        instruction: what the customer says.
        seen: what can be read about each product in sight.
        chosen: the values that were chosen, by the option's name.
    """
    request = read_request(instruction)
    wanted = _content(request.words)
    limited = request.price_limit is not None
    parts = len(wanted) + len(request.options) + limited
    if parts == 0:
        return 0.0
    open_options = sum(chosen.get(name) != value for name, value in request.options)
    missing = [
        len(_content(request.words, text)) + (limited and not _cheaper(text, request.price_limit))
        for text in seen
    ]
    return (min(missing, default=len(wanted) + limited) + open_options) / parts


def rows_of_results(text: str) -> list[str]:
    """What a page of results says about each of its products: title and price."""
    pieces = text.split(SEPARATOR)
    header = next((i for i, piece in enumerate(pieces) if piece == "Next >"), len(pieces))
    rows = pieces[header + 1 :]
    return [" ".join(rows[i + 1 : i + 3]) for i in range(0, len(rows), 3)]


def _content(words: str, *texts: str) -> list[str]:
    return [word for word in remaining_words(words, *texts) if word not in _ASKING]


def _cheaper(text: str, limit: float | None) -> bool:
    price = _PRICE.search(text)
    return price is not None and limit is not None and float(price[1]) < limit
