"""The pages of the shop: what stands on them and what can be clicked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from amp.benchmarks.webshop.products import Product

SEPARATOR = " [SEP] "
PRODUCTS_A_PAGE = 10

BACK_TO_SEARCH, NEXT, PREVIOUS, BUY = "back to search", "next >", "< prev", "buy now"
SUB_PAGES = ("description", "features", "reviews")

_BLANKS = " \t\n\f\r"
_DONE_BEFORE = ("Thank you for shopping with us!", "Your code:", "None")
_DONE_PURCHASE = ("(Paste it in your MTurk interface.)", "Purchased", "asin")
_DONE_AFTER = (
    *("attrs", "None", "category", "None", "query", "None", "product category", "None"),
    *("Target", "asin", "options", "attrs", "price upper", "instuction text", "category"),
    *("product category", "query", "Goal", "None", "Reward"),
    "Your score (min 0.0, max 1.0)",
)
_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "&<>'"})


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        text: all that can be read on it.
        search_bar: whether it shows a search bar.
        buttons: its buttons, in lower case.
        links: ids of the products that it links to, in lower case.
        options: the name of the option that clicking on a value sets, by the value.
    """

    text: str
    search_bar: bool = False
    buttons: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def clickables(self) -> tuple[str, ...]:
        """What can be clicked, each text once, in the order of the page."""
        return tuple(dict.fromkeys((*self.buttons, *self.links, *self.options)))


def search_page(instruction: str) -> Page:
    """Where a session begins."""
    return Page(_text("WebShop", "Instruction:", instruction, "Search"), True, ("search",))


def results_page(instruction: str, products: Sequence[Product], page: int, total: int) -> Page:
    """A page of what a search found; the products are those of this page."""
    buttons = ("Back to Search", *(("< Prev",) if page > 1 else ()), "Next >")
    header = (buttons[0], f"Page {page} (Total results: {total})", *buttons[1:])
    rows = [text for p in products for text in (p.asin, p.title, p.price_tag)]
    return Page(
        text=_text("Instruction:", instruction, *header, *rows),
        buttons=_lower(buttons),
        links=tuple(product.asin.lower() for product in products),
    )


def item_page(instruction: str, product: Product) -> Page:
    """A product's own page. It does not show which options were chosen."""
    options = [text for name, values in product.options.items() for text in (name, *values)]
    facts = (product.title, f"Price: {product.price_tag}", "Rating: N.A.")
    buttons = ("Description", "Features", "Reviews", "Buy Now")
    header = ("Back to Search", "< Prev")
    return Page(
        text=_text("Instruction:", instruction, *header, *options, *facts, *buttons),
        buttons=_lower((*header, *buttons)),
        options={value: name for name, values in product.options.items() for value in values},
    )


def sub_page(instruction: str, product: Product, name: str) -> Page:
    """A product's description, features or reviews, of which there are none."""
    if name == "description":
        shown: tuple[str, ...] = (product.description,)
    elif name == "features":
        shown = tuple(f" {line}" for line in product.features)  # so an empty line is a piece, too
    else:
        shown = ()
    header = ("Back to Search", "< Prev")
    return Page(_text("Instruction:", instruction, *header, *shown), buttons=_lower(header))


def done_page(asin: str, chosen: Mapping[str, str], reward: float) -> Page:
    """What follows a purchase."""
    options = json.dumps(chosen, sort_keys=True).translate(_ESCAPES)
    purchase = (*_DONE_PURCHASE, asin, "options", options)
    score = (str(reward), "Reward Details", "None")
    return Page(_text(*_DONE_BEFORE, *purchase, *_DONE_AFTER, *score))


def _lower(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.lower() for text in texts)


def _text(*pieces: str) -> str:
    """Pieces of text as they are read off a page of HTML.

    There is no piece where there is no text, nor where there is nothing but white space with a line
    break; white space without one is an empty piece.
    """
    return SEPARATOR.join(
        piece.strip() for piece in pieces if piece.strip(_BLANKS) or (piece and "\n" not in piece)
    )
