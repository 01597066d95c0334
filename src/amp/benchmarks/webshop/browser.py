"""One customer in the shop: actions in, pages out, quirks of the original included.

A page says what stands on it and what can be clicked.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from amp.benchmarks.webshop.goals import Goal
from amp.benchmarks.webshop.products import Product
from amp.benchmarks.webshop.shop import Shop

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


_HOST = "http://127.0.0.1:3000"
_PLACES = ("search_results", "item_page", "item_sub_page", "done")


def parse_action(action: str) -> tuple[str, str] | None:
    """Name and argument of ``name[argument]``, the argument in lower case; None if it is no action.

    The last ``[`` that is followed by something parts them; what stands behind the last ``]`` does
    not count.
    """
    line = action.partition("\n")[0]
    end = line.rfind("]")
    begin = line.rfind("[", 1, max(0, end - 1))
    return None if begin < 0 else (line[:begin], line[begin + 1 : end].lower())


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action brought.

    Attributes:
        reward: that of a purchase; 0 for any other action.
        done: whether it was a purchase.
        valid: whether the action was one; nothing has changed otherwise.
    """

    reward: float = 0.0
    done: bool = False
    valid: bool = True


_INVALID = ActionResult(valid=False)


class Browser:
    """Walks through a shop with one goal.

    Args:
        shop: the shop.
        goal: what to buy.
        session: name of the session; a part of the addresses.
        rng: draws the products of a search for any products.

    Attributes:
        page: the page that is seen.
        keywords: words of the last search; None before it.
        number: number of the page of results; None before a search.
        product: the product that was looked at last; None on pages that show none of its own.
        chosen: the options chosen for it, in the order of choosing.
    """

    def __init__(self, shop: Shop, goal: Goal, session: str, rng: random.Random) -> None:
        self._shop = shop
        self._goal = goal
        self._session = session
        self._rng = rng
        self._start()

    @property
    def place(self) -> str:
        """Name of the kind of page, as the original finds it in the address.

        The first of `_PLACES` in it counts, wherever it stands: a keyword may be one. Empty for the
        search page.
        """
        return next((place for place in _PLACES if place in self._address), "")

    def fork(self) -> Browser:
        """A second customer in the same state; what one does leaves the other as it is."""
        twin = copy.copy(self)
        twin._rng = copy.copy(self._rng)
        return twin

    @property
    def told(self) -> list[str]:
        """All that what follows depends on, but for the shop and the goal; an order counts, too."""
        drawn = hashlib.sha256(repr(self._rng.getstate()).encode()).hexdigest()
        product = "" if self.product is None else self.product.asin
        return [self._address, self.page.text, product, json.dumps(self.chosen), drawn]

    def step(self, action: str) -> ActionResult:
        """Carries an action out. One that is not possible changes nothing.

        Raises:
            UnsupportedSearchError: for a search at which the original breaks down; the state stays.
        """
        parts = parse_action(action)
        if parts is None:
            return _INVALID
        name, argument = parts
        if name == "search":
            self._show_results(tuple(argument.split(" ")), 1)
            return ActionResult()
        if name == "click" and argument != "search" and argument in self.page.clickables:
            return self._click(argument)
        return _INVALID

    def _click(self, text: str) -> ActionResult:
        place = self.place
        if text == BUY:
            return self._buy()
        if text == BACK_TO_SEARCH:
            self._start()
        elif text == NEXT and place == "search_results":
            self._turn_page(1)
        elif text == PREVIOUS and place == "search_results":
            self._turn_page(-1)
        elif text == PREVIOUS and place == "item_page":
            self._turn_page(0)
        elif text in SUB_PAGES:
            self._show_sub_page(text)
        else:
            self._show_item(text)
        return ActionResult()

    def _start(self) -> None:
        self.keywords: tuple[str, ...] | None = None
        self.number: int | None = None
        self.product: Product | None = None
        self.chosen: Mapping[str, str] = {}
        self._show(search_page(self._goal.instruction), self._session)

    def _turn_page(self, by: int) -> None:
        if self.keywords is not None and self.number is not None:
            self._show_results(self.keywords, self.number + by)

    def _show_results(self, keywords: tuple[str, ...], number: int) -> None:
        results = self._shop.results(keywords, self._rng)
        self.keywords, self.number, self.product, self.chosen = keywords, number, None, {}
        shown = results[(number - 1) * PRODUCTS_A_PAGE : number * PRODUCTS_A_PAGE]
        products = [self._shop.catalogue.product(i) for i in shown]
        page = results_page(self._goal.instruction, products, number, len(results))
        self._show(page, "search_results", self._session, "+".join(keywords), number)

    def _show_item(self, text: str) -> None:
        """The page of a product after a click on its link, on an option's value, or on a button."""
        if text in self.page.options:
            self.chosen = {**self.chosen, self.page.options[text]: text}
        elif text in self.page.links:
            self.product = self._shop.product(text.upper())
        product = self._looked_at()
        page = item_page(self._goal.instruction, product)
        self._show(page, "item_page", *self._address_of(product), json.dumps(self.chosen))

    def _show_sub_page(self, name: str) -> None:
        product = self._looked_at()
        page = sub_page(self._goal.instruction, product, name)
        where = self._address_of(product)
        self._show(page, "item_sub_page", *where, name.capitalize(), self.chosen)

    def _buy(self) -> ActionResult:
        product = self._looked_at()
        reward = self._shop.reward(product.asin, self.chosen, self._goal).total
        page = done_page(product.asin, self.chosen, reward)
        self._show(page, "done", self._session, product.asin, self.chosen)
        return ActionResult(reward, done=True)

    def _looked_at(self) -> Product:
        assert self.product is not None, "only pages of a product lead here"
        return self.product

    def _address_of(self, product: Product) -> tuple[object, ...]:
        return self._session, product.asin, "+".join(self.keywords or ()), self.number

    def _show(self, page: Page, *address: object) -> None:
        self.page = page
        self._address = "/".join(map(str, (_HOST, *address)))
