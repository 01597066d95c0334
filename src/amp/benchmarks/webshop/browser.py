"""One customer in the shop: actions in, pages out, quirks of the original included."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from amp.benchmarks.webshop import pages
from amp.benchmarks.webshop.goals import Goal
from amp.benchmarks.webshop.pages import PRODUCTS_A_PAGE, Page
from amp.benchmarks.webshop.products import Product
from amp.benchmarks.webshop.shop import Shop

_ACTION = re.compile(r"(.+)\[(.+)\]")
_HOST = "http://127.0.0.1:3000"
_PLACES = ("search_results", "item_page", "item_sub_page", "done")


def parse_action(action: str) -> tuple[str, str] | None:
    """Name and argument of ``name[argument]``, the argument in lower case; None if it is no action.

    The last ``[`` that is followed by something parts them; what stands behind the last ``]`` does
    not count.
    """
    parts = _ACTION.match(action)
    return None if parts is None else (parts[1], parts[2].lower())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action brought.

    Attributes:
        reward: that of a purchase; 0 for any other action.
        done: whether it was a purchase.
        valid: whether the action was one; nothing has changed otherwise.
    """

    reward: float = 0.0
    done: bool = False
    valid: bool = True


_INVALID = Outcome(valid=False)


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

    def step(self, action: str) -> Outcome:
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
            return Outcome()
        if name == "click" and argument != "search" and argument in self.page.clickables:
            return self._click(argument)
        return _INVALID

    def _click(self, text: str) -> Outcome:
        place = self.place
        if text == pages.BUY:
            return self._buy()
        if text == pages.BACK_TO_SEARCH:
            self._start()
        elif text == pages.NEXT and place == "search_results":
            self._turn_page(1)
        elif text == pages.PREVIOUS and place == "search_results":
            self._turn_page(-1)
        elif text == pages.PREVIOUS and place == "item_page":
            self._turn_page(0)
        elif text in pages.SUB_PAGES:
            self._show_sub_page(text)
        else:
            self._show_item(text)
        return Outcome()

    def _start(self) -> None:
        self.keywords: tuple[str, ...] | None = None
        self.number: int | None = None
        self.product: Product | None = None
        self.chosen: Mapping[str, str] = {}
        self._show(pages.search_page(self._goal.instruction), self._session)

    def _turn_page(self, by: int) -> None:
        if self.keywords is not None and self.number is not None:
            self._show_results(self.keywords, self.number + by)

    def _show_results(self, keywords: tuple[str, ...], number: int) -> None:
        found = self._shop.results(keywords, self._rng)
        self.keywords, self.number, self.product, self.chosen = keywords, number, None, {}
        shown = found[(number - 1) * PRODUCTS_A_PAGE : number * PRODUCTS_A_PAGE]
        products = [self._shop.store.product(i) for i in shown]
        page = pages.results_page(self._goal.instruction, products, number, len(found))
        self._show(page, "search_results", self._session, "+".join(keywords), number)

    def _show_item(self, text: str) -> None:
        """The page of a product after a click on its link, on an option's value, or on a button."""
        if text in self.page.options:
            self.chosen = {**self.chosen, self.page.options[text]: text}
        elif text in self.page.links:
            self.product = self._shop.product(text.upper())
        product = self._looked_at()
        page = pages.item_page(self._goal.instruction, product)
        self._show(page, "item_page", *self._address_of(product), json.dumps(self.chosen))

    def _show_sub_page(self, name: str) -> None:
        product = self._looked_at()
        page = pages.sub_page(self._goal.instruction, product, name)
        where = self._address_of(product)
        self._show(page, "item_sub_page", *where, name.capitalize(), self.chosen)

    def _buy(self) -> Outcome:
        product = self._looked_at()
        reward = self._shop.reward(product.asin, self.chosen, self._goal).total
        page = pages.done_page(product.asin, self.chosen, reward)
        self._show(page, "done", self._session, product.asin, self.chosen)
        return Outcome(reward, done=True)

    def _looked_at(self) -> Product:
        assert self.product is not None, "only pages of a product lead here"
        return self.product

    def _address_of(self, product: Product) -> tuple[object, ...]:
        return self._session, product.asin, "+".join(self.keywords or ()), self.number

    def _show(self, page: Page, *address: object) -> None:
        self.page = page
        self._address = "/".join(map(str, (_HOST, *address)))
