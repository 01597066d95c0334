"""The one page of the gateway: what was spent and saved, and why calls got what they got.

Names of models, keys and episodes come from clients and are not to be trusted: jinja2 escapes every
value (autoescape), and the page's policy allows no script and no style but its own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from amp.report.metrics import wilson
from amp.serve.accounts.budgets import shown
from amp.serve.decide.desk import Desk
from amp.serve.decide.memory import Against, Sums
from amp.serve.sqlite_file import SqliteFileError
from amp.serve.traffic.sums import TrafficSums
from amp.serve.traffic.writer import Traffic

if TYPE_CHECKING:
    from jinja2 import Template


DECISIONS = 25
"""Decisions that are shown."""

WIDTH, HEIGHT = 480, 260
LEFT, TOP, RIGHT, BOTTOM = 52, 20, 24, 44

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = 3
_TEMPLATES = Path(__file__).parent / "templates"
_OF_REPORTS = Path(__file__).parents[2] / "report" / "templates"
_LONGEST = 300
_UNKNOWN = "-"
_TOLD = {0: "under way", 200: "answered"}


async def page_of(desk: Desk, traffic: Traffic | None, key: str | None) -> tuple[bytes, str]:
    """The page, and the policy that a browser is to hold it to.

    Args:
        desk: where calls are decided.
        traffic: what is kept of them; None if nothing is.
        key: of which alone it shows figures; None for all.
    """
    sums, problem = None, ""
    try:
        sums = None if traffic is None else await traffic.sums(key)
    except SqliteFileError as error:
        problem = str(error)
    template, style, digest = _template()
    texts = view(desk, sums, key, time.time())
    # Beside the event loop, where calls wait.
    html = await asyncio.to_thread(template.render, texts, style=style, problem=problem)
    return html.encode("utf-8", "replace"), (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )


def view(desk: Desk, sums: TrafficSums | None, key: str | None, now: float) -> dict[str, Any]:
    """What the template reads: texts, and rows of texts; without sums where no traffic is kept."""
    keys, routes = desk.spending.by_key(key), desk.spending.by_route(key)
    policies = {route.model: route.policy for route, _ in desk.routes()}
    whole = sum(keys.values(), Sums())
    # What is learned is learned from the calls of all keys.
    learned = () if key is not None else _policy_charts(desk)
    return {
        "since": _moment(desk.since),
        "now": _moment(now),
        "key": key,
        "tiles": _tiles(whole, sums),
        "by_key": [[name or "no key", *_spent(each)] for name, each in keys.items()],
        "by_route": [
            [name, Path(policies.get(name, "pass")).stem, *_spent(each)]
            for name, each in routes.items()
        ],
        "decides": any(policy != "pass" for policy in policies.values()),
        "has_keys": key is not None or any(keys),
        "sums": sums,
        "held": _held(sums),
        "charts": [*learned, *_judged_chart(sums)],
        "decisions": [_decision(each) for each in desk.last(DECISIONS, key)],
    }


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole > 0.0 else _UNKNOWN


def _against(one: Against) -> str:
    if not one.calls:
        return _UNKNOWN
    return f"{money(one.saved)}, {_share(one.saved, one.other)} (n {one.calls:,})"


def _spent(sums: Sums) -> list[str]:
    usage, others = sums.usage, (sums.asked, sums.dearest)
    spent = [f"{usage.model_calls:,}", f"{usage.tokens:,}", money(usage.dollars)]
    return [*spent, *map(_against, others)]


def _tiles(whole: Sums, sums: TrafficSums | None) -> list[tuple[str, str, str]]:
    """A name, a figure, and what is to be known of it."""
    usage, dearest = whole.usage, whole.dearest
    cached = _share(usage.cached_prompt_tokens, usage.prompt_tokens)
    unknown = f"{usage.model_calls - dearest.calls:,} calls without a known price"
    counted = f"{usage.estimated_calls:,} of them estimated"
    tiles = [
        ("spent", money(usage.dollars), unknown),
        ("calls", f"{usage.model_calls:,}", counted),
        ("tokens", f"{usage.tokens:,}", f"{cached} of prompts cached"),
    ]
    if dearest.calls:
        share = _share(dearest.saved, dearest.other)
        note = f"{share} against the dearest arm at the same tokens, n {dearest.calls:,}"
        tiles.append(("saved, estimate", money(dearest.saved), note))
    if sums is not None and (found := sums.measured):
        sure = "" if found.error is None else f"± {100.0 * found.error:.0f} points, "
        note = f"{sure}against the dear arm, in the traffic that is kept, n {found.calls:,}"
        tiles.append(("saved, measured", f"{found.saved:.0%}", note))
    return tiles


def _rate(part: float, calls: int, episodes: int) -> str:
    """A share of calls, its interval that of so many episodes, since calls of one are alike."""
    if not calls:
        return _UNKNOWN
    rate = part / calls
    sure = wilson(rate * episodes, episodes)
    return f"{rate:.0%} ({sure.low:.0%} to {sure.high:.0%}; n {calls:,}, episodes {episodes:,})"


def _held(sums: TrafficSums | None) -> list[list[str]]:
    return [
        [
            one.arm,
            "itself" if one.dear == one.arm else one.dear,
            f"{one.calls:,}",
            money(one.paid),
            money(one.dear_paid),
            _share(one.dear_paid - one.paid, one.dear_paid),
            _rate(one.same, one.compared, one.episodes),
        ]
        for one in (sums.held if sums else ())
    ]


def _decision(made: Mapping[str, Any]) -> dict[str, Any]:
    """One of `Desk.last`, in texts."""
    arms = [
        [
            each["arm"],
            _UNKNOWN if each["success"] is None else f"{each['success']:.0%}",
            _UNKNOWN if each["dollars"] is None else money(each["dollars"]),
            _UNKNOWN if each["most_dollars"] is None else money(each["most_dollars"]),
            each["masked"] or ("chosen" if each["arm"] == made["arm"] else ""),
        ]
        for each in made["arms"]
    ]
    unpriced = [each["arm"] for each in made["arms"] if each["dollars"] is None]
    return {
        **made,
        "time": _moment(made["made"]),
        "told": _TOLD.get(made["status"], f"status {made['status']}"),
        "spent": "price not known" if made["arm"] in unpriced else money(made["dollars"]),
        "arms": arms,
        "features": [f"{name} {value:.3g}" for name, value in made["features"].items() if value],
    }


def _policy_charts(desk: Desk) -> Iterable[dict[str, Any]]:
    """What each learned policy is expected to take and to reach."""
    for policy in {policy.name: policy for _, policy in desk.routes() if policy.curve}.values():
        priced = all(point.dollars is not None for point in policy.curve)
        # Several trade-offs may come to the same, so each is told only where it is new.
        found: dict[tuple[str, str], ChartPoint] = {}
        for point in sorted(policy.curve, key=lambda point: point.trade_off):
            cost = (point.dollars or 0.0) if priced else point.tokens
            runs = point.trade_off == policy.trade_off
            shown = f"{cost:.3g}", f"{point.success:.1%}"
            same = found.get(shown)
            name = f"{point.trade_off:g}{' (runs here)' if runs else ''}"
            name = f"{same.name}, {name}" if same else name
            runs = runs or bool(same and same.chosen)
            found[shown] = ChartPoint(name, cost, point.success, shown[1], runs)
        note = "Expected, when it was trained, on calls that it was not learned from."
        yield chart(f"Policy {policy.name}", note, [*found.values()], dollars=priced, line=True)


def _judged_chart(sums: TrafficSums | None) -> Iterable[dict[str, Any]]:
    """What clients said came of the calls of each arm."""
    if sums is None or not sums.judged:
        return
    note = (
        "What clients said came of their calls, by the arm that answered. Arms answered different"
        " calls, so this compares none at equal difficulty. Intervals are of 95 %, by episodes."
    )
    places = [
        ChartPoint(
            one.arm,
            one.dollars,
            one.success / one.calls,
            _rate(one.success, one.calls, one.episodes),
        )
        for one in sums.judged
    ]
    yield chart("Outcomes", note, places)


def _clip(value: Any) -> Any:
    """A text that is not too long for a page; what is HTML already stays."""
    is_long = type(value) is str and len(value) > _LONGEST
    return f"{value[:_LONGEST]}..." if is_long else value


@cache
def _template() -> tuple[Template, str, str]:
    """The template, its style, and the hash by which browsers know that."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader([_TEMPLATES, _OF_REPORTS])
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clip,
    )
    made.filters["money"] = money
    style = made.get_template("gateway.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return made.get_template("gateway.html"), Markup(style), digest


class ChartPoint(NamedTuple):
    """One point of a chart: its name, the cost of a call, the share of calls that succeed, how sure
    that is, in words, and whether it is the one that counts."""

    name: str
    cost: float
    success: float
    known: str
    chosen: bool = False


def chart(
    title: str, note: str, places: Sequence[ChartPoint], *, dollars: bool = True, line: bool = False
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
