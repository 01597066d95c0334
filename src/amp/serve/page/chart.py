"""Success against cost, laid out for a picture that a template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from amp.serve.accounts.budgets import shown

WIDTH, HEIGHT = 480, 260
LEFT, TOP, RIGHT, BOTTOM = 52, 20, 24, 44

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = 3


class Place(NamedTuple):
    """One point of a chart: its name, the cost of a call, the share of calls that succeed, how sure
    that is, in words, and whether it is the one that counts."""

    name: str
    cost: float
    success: float
    known: str
    chosen: bool = False


def chart(
    title: str, note: str, places: Sequence[Place], *, dollars: bool = True, line: bool = False
) -> dict[str, Any]:
    """Success against cost, laid out: the cost from 0, success up to 1, each place with a letter.

    Args:
        title: above it.
        note: of what it is.
        places: as many of them as there are letters are shown, the cheapest ones.
        dollars: whether costs are dollars, else tokens.
        line: whether one goes through the places, which are trade-offs then, else arms.
    """
    unit, amount = ("dollars", money) if dollars else ("tokens", "{:,.0f}".format)
    most = max((place.cost for place in places), default=0.0) or 1.0
    low = min(0.9, *(math.floor(10.0 * place.success) / 10.0 for place in places), 0.9)

    def x(cost: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * cost / most, 1)

    def y(success: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - success) / (1.0 - low), 1)

    lettered = list(zip(_LETTERS, sorted(places, key=lambda place: place.cost), strict=False))
    dots = [(x(each.cost), y(each.success), letter, each.chosen) for letter, each in lettered]
    return {
        "title": title,
        "note": note,
        "unit": f"{unit} a call",
        "heads": ["place", "trade-off" if line else "arm", f"{unit} a call", "success"],
        "rows": [[a, each.name, amount(each.cost), each.known] for a, each in lettered],
        "line": line,
        "dots": dots,
        "across": [(x(most * part), amount(most * part)) for part in (0.0, 0.5, 1.0)],
        "up": [(y(at), f"{at:.0%}") for at in (low, (low + 1.0) / 2.0, 1.0)],
        "size": (WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM),
    }


def money(dollars: float) -> str:
    """An amount for people, to the cent, or to three digits."""
    if (size := abs(dollars)) >= 1.0:
        text = f"${size:,.2f}"
    else:
        text = shown(round(float(f"{size:.{_DIGITS}g}") * 1e9))
    return f"-{text}" if dollars < 0.0 and text.strip("$0.") else text
