"""The clicks that a page offers, as many as can be told apart by one letter each."""

from __future__ import annotations

import re

from amp.benchmarks.webshop.browser import parse_action
from amp.benchmarks.webshop.pages import Page

MOST_ACTIONS = 52
"""Actions that are listed at most: as many as there are letters to label them."""

NOT_LISTED = "Not listed: "
"""How the piece of a state begins that names the values that are left out."""

_WORD = re.compile(r"[^\W_]+")


def listed_clicks(page: Page, instruction: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the clicks to choose from, and the values of options that are left out.

    All in the order of the page. On a page with more than `MOST_ACTIONS`, all buttons and products
    stay, and of the values those with the largest share of their words in the instruction; of
    equal ones the first. A value that no action can name, as one with brackets, is never listed.
    """
    texts = [text for text in page.clickables if parse_action(f"click[{text}]") == ("click", text)]
    values = [text for text in texts if text in page.options]
    kept = set(texts)
    surplus = len(texts) - MOST_ACTIONS
    if surplus > 0:
        said = set(_WORD.findall(instruction.lower()))
        kept -= set(sorted(values, key=lambda value: -_share(value, said))[-surplus:])
    clicks = tuple(f"click[{text}]" for text in texts if text in kept and text != "search")
    return clicks, tuple(value for value in values if value not in kept)


def _share(value: str, said: set[str]) -> float:
    words = _WORD.findall(value)
    return sum(word in said for word in words) / len(words) if words else 0.0
