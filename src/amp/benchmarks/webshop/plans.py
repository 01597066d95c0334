"""Plans of a whole purchase, as one answer; a changed text is a new version.

A plan names products by their place in the results and options by name and value, so it can be
written before either is seen. The worked examples were written for the prompts and are taken from
no goal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from amp.benchmarks.webshop import browser
from amp.benchmarks.webshop.prompts import CHOSEN, SEEN, Situation, situation_of
from amp.execute.plans import numbered_list
from amp.models.base import Message, Prompt
from amp.types import StepContext

VERSION = "webshop-plan/1"

_RULES = """\
You shop for a customer in a web shop. You read what is wanted and the page, and write all actions \
from now to the purchase, each in these words:
search[WORDS] | open product N | choose NAME: VALUE | buy | back | next page
- WORDS: three to eight, the kind of product and what sets it apart; no price.
- The shop lists first what fits best: product 1, unless it is too dear or was seen.
- Choose every option that the customer named, then buy."""

_MATS = (
    "Find me non slip yoga mats for home gym with color: teal, and size: 6mm, and price lower than "
    "50.00 dollars"
)
_MUGS = (
    "Find me dishwasher safe coffee mugs with double wall with size: 12 ounce, and price lower "
    "than 40.00 dollars"
)
_SEARCH_PAGE = Situation("You are on the search page.", ())

PLANS: Sequence[tuple[str, Situation, tuple[str, ...]]] = (
    (
        _MUGS,
        _SEARCH_PAGE,
        (
            "search[dishwasher safe double wall coffee mug 12 ounce]",
            "open product 1",
            "choose size: 12 ounce",
            "buy",
        ),
    ),
    (
        _MATS,
        Situation(
            "Results. Page 1 (Total results: 50)",
            (
                "back to search",
                "next >",
                f"product 1: Steel Water Bottle with Straw, $18.0 {SEEN}",
                "product 2: Non Slip Yoga Mat for Home Gym, Thick Exercise Mat, $24.5 to $31.0",
                "product 3: Cork Yoga Block Set of 2, $15.99",
            ),
            ("search[non slip yoga mat teal 6mm]", "click[b0example1]", "click[< prev]"),
        ),
        ("open product 2", "choose color: teal", "choose size: 6mm", "buy"),
    ),
    (
        _MATS,
        _SEARCH_PAGE,
        (
            "search[non slip yoga mat home gym teal 6mm]",
            "open product 1",
            "choose color: teal",
            "choose size: 6mm",
            "buy",
        ),
    ),
)

_SEARCH = re.compile(r"search ?\[?([^\[\]]+)\]?")
_OPEN = re.compile(r"(?:open|click) (?:on )?(?:the )?(product \d+)\b.*")
_CHOOSE = re.compile(r"(?:choose|select) (?:the )?([^:]+): ?(.+)")
_NO_QUERY = re.compile(r"[<>\"`*]")
_BUTTONS: Mapping[str, str] = {
    "buy": browser.BUY,
    "buy now": browser.BUY,
    "back": browser.PREVIOUS,
    "next page": browser.NEXT,
}


class WebShopPlans:
    """Asks for plans and follows them; `PlanPrompts`.

    An option that is chosen already needs no choosing. To search again from another page, it goes
    back to the search page first.
    """

    version = VERSION

    def ask(self, context: StepContext, actions: tuple[str, ...] | None, count: int) -> Prompt:
        messages = [Message("system", _RULES)]
        for goal, situation, plan in PLANS:
            numbered = (f"{number}. {line}" for number, line in enumerate(plan, start=1))
            messages += [
                Message("user", situation.told(goal)),
                Message("assistant", "\n".join(numbered)),
            ]
        now = situation_of(context, actions or ())
        messages.append(Message("user", now.told(context.task.goal)))
        return numbered_list(tuple(messages), count, tokens_an_action=20, version=VERSION)

    def read(self, line: str) -> str | None:
        plain = " ".join(_NO_QUERY.sub(" ", line.lower()).split()).strip(".; ")
        if plain in _BUTTONS:
            return plain
        if search := _SEARCH.fullmatch(plain):
            return f"search[{search[1].strip()}]"
        if opened := _OPEN.fullmatch(plain):
            return f"open {opened[1]}"
        if chosen := _CHOOSE.fullmatch(plain):
            return f"choose {chosen[1].strip()}: {chosen[2]}"
        return None

    def following(
        self, context: StepContext, plan: tuple[str, ...], actions: tuple[str, ...] | None
    ) -> tuple[str, ...]:
        if actions is None:
            return plan if plan and plan[0].startswith("search[") else ()
        clicks = dict(zip(situation_of(context, actions).clicks, actions, strict=True))
        for done, line in enumerate(plan):
            if line.startswith("search["):
                back = clicks.get(browser.BACK_TO_SEARCH)
                return () if back is None else (back, *plan[done:])
            if f"{line.removeprefix('choose ')} {CHOSEN}" in clicks:
                continue
            found = next((a for click, a in clicks.items() if _means(line, click)), None)
            return () if found is None else (found, *plan[done + 1 :])
        return ()


def _means(line: str, click: str) -> bool:
    if line.startswith("open "):
        return click.startswith(f"{line.removeprefix('open ')}: ")
    if line.startswith("choose "):
        return click.lower() == line.removeprefix("choose ")
    return click == _BUTTONS.get(line)
