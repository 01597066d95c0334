"""What a model reads of a plan step in the shop: the page in lines, and the clicks in words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from amp.benchmarks.webshop import pages
from amp.benchmarks.webshop.browser import parse_action
from amp.benchmarks.webshop.distance import read_request
from amp.benchmarks.webshop.listing import NOT_LISTED
from amp.benchmarks.webshop.pages import SEPARATOR, SUB_PAGES
from amp.types import StepContext

_PRICE = re.compile(r"\$(\d+(?:\.\d+)?)")
_RESULTS = re.compile(r"Page -?\d+ \(Total results: \d+\)")
_LONGEST_TITLE = 80  # characters; what follows seldom says more about the kind of product
_LONGEST_TEXT = 1_200  # characters of a description or of features
_LATEST = 6  # actions of the plan that are told
_PATIENCE = 3  # products that lack a wanted option and are left again
_END = ("Rating: N.A.", "Description", "Features", "Reviews", "Buy Now")
CHOSEN, SEEN = "(chosen already)", "(seen already)"
_BUTTONS = frozenset((pages.PREVIOUS, pages.NEXT, pages.BACK_TO_SEARCH, pages.BUY, *SUB_PAGES))


@dataclass(frozen=True, slots=True)
class Situation:
    """One plan step in words.

    Attributes:
        page: the page without what can be clicked, one line a fact.
        clicks: what each action does, in the order of the actions.
        done: the latest actions of the plan.
        chosen: the options chosen for the product whose page it is.
        next: the click that the page and the customer's words suggest. Among results, the first
            product not seen yet that is not too dear, as the shop lists first what fits best; else
            the next page. On the page of a product, to go back if an option that the words spell
            out is not offered, until more than `_PATIENCE` products were opened; else the first one
            that is not chosen yet; else to buy. Empty on any other page, and on the page of a
            product where the words spell out no option.
    """

    page: str
    clicks: tuple[str, ...]
    done: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    next: str = ""

    @property
    def lead(self) -> str:
        """How an answer begins; the label of the best click is to follow."""
        return f"Next: {self.next} (" if self.next else "Next: ("

    def told(self, goal: str, labels: str = "") -> str:
        """The step as a model reads it; with labels, each stands behind its click."""
        lines = [f"Wanted: {goal}"]
        if self.done:
            lines.append(f"Done so far: {', '.join(self.done)}")
        lines.append(self.page)
        if self.chosen:
            lines.append(f"Chosen: {', '.join(self.chosen)}")
        if labels:
            lines += [
                f"{click} ({label})" for label, click in zip(labels, self.clicks, strict=True)
            ]
        elif self.clicks:
            lines.append(f"Possible: {'; '.join(self.clicks)}")
        return "\n".join(lines)


def situation_of(context: StepContext, actions: Sequence[str]) -> Situation:
    """Reads a step from its observation and the plan so far."""
    pieces = context.observation.state.split(SEPARATOR)
    texts = [text for action in actions if (text := _clicked_text(action)) is not None]
    left_out = pieces[-1] if pieces[-1].startswith(NOT_LISTED) else ""
    body = pieces[:-1] if left_out else pieces
    if tuple(body[-len(_END) :]) == _END:
        situation = _product(context, body[4 : -len(_END)], texts, left_out)
    elif _is_results(pieces):
        situation = _results(context, pieces, texts)
    elif pieces[0] == "WebShop":
        situation = Situation("You are on the search page.", tuple(texts))
    else:
        page = _cut(f"Text: {' '.join(pieces[4:])}", _LONGEST_TEXT)
        situation = Situation(page, tuple(texts))
    done = tuple(step.action for step in context.steps if step.action is not None)
    return replace(situation, done=done[-_LATEST:])


def searches(context: StepContext) -> tuple[str, ...]:
    """The searches of the plan so far, each once."""
    actions = (step.action for step in context.steps if step.action is not None)
    return tuple(dict.fromkeys(action for action in actions if action.startswith("search[")))


def _product(context: StepContext, pieces: list[str], texts: list[str], left_out: str) -> Situation:
    *options, title, price = ["", *pieces]  # a title without text is no piece
    values = {*texts, *left_out.removeprefix(NOT_LISTED).split("; ")} - _BUTTONS
    names: dict[str, str] = {}
    name = ""
    for piece in options:
        if piece in values:
            names[piece] = name
        else:
            name = piece
    clicked = _clicks_on_product(context)
    chosen = {names[text]: text for text in clicked if text in names}
    said = {text: f"{name}: {text}" for text, name in names.items()}
    following = _next_click(context, chosen, said.values())
    # A small model clicks on the same text for ever unless it reads that this is done.
    said |= {text: f"{said[text]} {CHOSEN}" for text in chosen.values()}
    said |= {text: f"{text} {SEEN}" for text in clicked if text in SUB_PAGES}
    return Situation(
        page="\n".join(
            [f"Product: {title}", price, *filter(None, [_cut(left_out, _LONGEST_TEXT)])]
        ),
        clicks=tuple(said.get(text, text) for text in texts),
        chosen=tuple(f"{name}: {value}" for name, value in chosen.items()),
        next=following,
    )


def _results(context: StepContext, pieces: list[str], texts: list[str]) -> Situation:
    limit = read_request(context.task.goal).price_limit
    seen = _opened(context)
    said: dict[str, str] = {}
    following = ""
    for asin, title, price in zip(pieces, pieces[1:], pieces[2:], strict=False):
        link = asin.lower()
        if link in texts and (lowest := _PRICE.match(price)):
            name = f"product {len(said) + 1}"
            said[link] = f"{name}: {_cut(title, _LONGEST_TITLE)}, {price}"
            if link in seen:
                said[link] += f" {SEEN}"
            elif limit is None or float(lowest[1]) < limit:
                following = following or name
    if not following and pages.NEXT in texts:
        following = pages.NEXT
    clicks = tuple(said.get(text, text) for text in texts)
    return Situation(f"Results. {pieces[3]}", clicks, next=following)


def _opened(context: StepContext) -> set[str]:
    """The products that were opened from a list of results."""
    return {
        _clicked_text(step.action or "") or ""
        for step in context.steps
        if _is_results(step.observation.state.split(SEPARATOR))
    } - _BUTTONS


def _is_results(pieces: Sequence[str]) -> bool:
    return len(pieces) > 3 and _RESULTS.fullmatch(pieces[3]) is not None


def _clicks_on_product(context: StepContext) -> list[str]:
    """What was clicked on since the product that is looked at was opened, in order."""
    clicked: list[str] = []
    for step in reversed(context.steps):
        if _is_results(step.observation.state.split(SEPARATOR)):
            break
        if step.action in (step.observation.actions or ()):
            clicked.append(_clicked_text(step.action) or "")
    return clicked[::-1]


def _clicked_text(action: str) -> str | None:
    """What a click clicks on; None if it is none."""
    parts = parse_action(action)
    return parts[1] if parts is not None and parts[0] == "click" else None


def _next_click(context: StepContext, chosen: Mapping[str, str], offered: Collection[str]) -> str:
    """What `Situation.next` says on the page of a product."""
    wanted = read_request(context.task.goal).options
    missing = [f"{name}: {value}" for name, value in wanted if chosen.get(name) != value]
    if not wanted:
        return ""
    if not set(missing) <= set(offered) and len(_opened(context)) <= _PATIENCE:
        return pages.PREVIOUS
    return next((option for option in missing if option in offered), pages.BUY)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
