"""Every text that a model reads in the shop, and how a page is told in lines and clicks in words.

The texts are frozen, since recordings depend on them to the letter: a change of any of them is a
new `VERSION`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from amp.benchmarks.webshop import browser
from amp.benchmarks.webshop.browser import SEPARATOR, SUB_PAGES, parse_action
from amp.benchmarks.webshop.environment import NOT_LISTED, read_request
from amp.execute.choice_step import labels_for
from amp.models.base import Message, Prompt
from amp.types import UNAIDED, Allocation, Candidate, StepContext, ToolUse

_PRICE = re.compile(r"\$(\d+(?:\.\d+)?)")
_RESULTS = re.compile(r"Page -?\d+ \(Total results: \d+\)")
_LONGEST_TITLE = 80  # characters; what follows seldom says more about the kind of product
_LONGEST_TEXT = 1_200  # characters of a description or of features
_LATEST = 6  # actions of the plan that are told
_PATIENCE = 3  # products that lack a wanted option and are left again
_END = ("Rating: N.A.", "Description", "Features", "Reviews", "Buy Now")
_NO_LEAD = "Next: ("
CHOSEN, SEEN = "(chosen already)", "(seen already)"
_BUTTONS = frozenset(
    (browser.PREVIOUS, browser.NEXT, browser.BACK_TO_SEARCH, browser.BUY, *SUB_PAGES)
)


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
        return f"Next: {self.next} (" if self.next else _NO_LEAD

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
    elif is_results(pieces):
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
    *options, title, price = ["", "", *pieces]  # a title without text is no piece
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
    if not following and browser.NEXT in texts:
        following = browser.NEXT
    clicks = tuple(said.get(text, text) for text in texts)
    return Situation(f"Results. {pieces[3]}", clicks, next=following)


def _opened(context: StepContext) -> set[str]:
    """The products that were opened from a list of results."""
    return {
        _clicked_text(step.action or "") or ""
        for step in context.steps
        if is_results(step.observation.state.split(SEPARATOR))
    } - _BUTTONS


def is_results(pieces: Sequence[str]) -> bool:
    """Whether the pieces of a state are those of a page of results."""
    return len(pieces) > 3 and _RESULTS.fullmatch(pieces[3]) is not None


def _clicks_on_product(context: StepContext) -> list[str]:
    """What was clicked on since the product that is looked at was opened, in order."""
    clicked: list[str] = []
    for step in reversed(context.steps):
        if is_results(step.observation.state.split(SEPARATOR)):
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
        return browser.PREVIOUS
    return next((option for option in missing if option in offered), browser.BUY)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


VERSION = "webshop/2"

_SYSTEM = (
    "You shop for a customer in a web shop. Search, open a product that fits, choose the options "
    "that the customer named, one click each, and buy it. The shop lists first what fits best. "
    "Options that are chosen stay chosen. Buy once all wanted options are chosen."
)
_QUERY_SYSTEM = (
    "You write search queries for a web shop. A good query has three to eight words: the kind of "
    "product and what sets it apart. Leave out the price and words of politeness."
)
_QUERY_EXAMPLES = (
    (
        "i would like a foldable camping chair that is light, in dark green, and price lower than "
        "60.00 dollars",
        "The kind of product is a camping chair, foldable and light.",
        "foldable light camping chair dark green",
    ),
    (
        "Find me dishwasher safe coffee mugs with double wall with color: white, and size: 12 "
        "ounce, and price lower than 40.00 dollars",
        "Coffee mugs are wanted, with double walls, of 12 ounces.",
        "dishwasher safe double wall coffee mug white 12 ounce",
    ),
)
_QUERY_TOKENS = 32
_TOKENS_A_STEP = 40
_PLAN = "Think in at most {depth} short steps first, one line each. "
_ASK_QUERY = "{plan}Then write one line `Query: ...`."
_ASK_QUERY_AT_ONCE = "Write one line `Query: ...`."
_EARLIER = "These searches did not help: {searches}. Write another one."

_GOAL_A = (
    "Find me non slip yoga mats for home gym with color: teal, and size: 6mm, and price lower than "
    "50.00 dollars"
)
_EXAMPLES = (
    (
        _GOAL_A,
        Situation(
            "Results. Page 1 (Total results: 50)",
            (
                "back to search",
                "next >",
                "product 1: Steel Water Bottle with Straw, $18.0 (seen already)",
                "product 2: Non Slip Yoga Mat for Home Gym, Thick Exercise Mat, $24.5 to $31.0",
                "product 3: Cork Yoga Block Set of 2, $15.99",
            ),
            ("search[non slip yoga mat teal 6mm]", "click[b0example1]", "click[< prev]"),
            next="product 2",
        ),
        "Product 1 was seen; product 2 is a yoga mat for the home gym and costs less than 50",
        3,
    ),
    (
        _GOAL_A,
        Situation(
            "Product: Non Slip Yoga Mat for Home Gym, Thick Exercise Mat\nPrice: $24.5 to $31.0",
            (
                *("back to search", "< prev", "description", "buy now"),
                *(f"size: 6mm {CHOSEN}", "size: 10mm", "color: black", "color: teal"),
            ),
            ("search[non slip yoga mat teal 6mm]", "click[b0example2]", "click[6mm]"),
            ("size: 6mm",),
            "color: teal",
        ),
        "The size is chosen; the color teal is wanted and not chosen yet",
        7,
    ),
    (
        _GOAL_A,
        Situation(
            "Product: Non Slip Yoga Mat for Home Gym, Thick Exercise Mat\nPrice: $24.5 to $31.0",
            (
                *("back to search", "< prev", "description", "buy now"),
                *(f"size: 6mm {CHOSEN}", "size: 10mm", "color: black", f"color: teal {CHOSEN}"),
            ),
            ("click[b0example2]", "click[6mm]", "click[teal]"),
            ("size: 6mm", "color: teal"),
            "buy now",
        ),
        "The size 6mm and the color teal are chosen, and nothing else is wanted",
        3,
    ),
)
_THINK = "\nThink in at most {depth} short steps: which click is the best one now?"

_JUDGE = "You check what a shopper in a web shop is about to do. Answer with yes or no only."
_CHECK = "{situation}\nNext action: {action}\nIs this the best action now?"
_CHECK_PREFIX = "Answer (yes or no): "
_CRITIC = "You look for mistakes in what a shopper in a web shop is about to do."
_CRITIQUE = (
    '{situation}\nNext action: {action}\nSay in one sentence what is wrong with it, or "nothing".'
)
_CRITIQUE_TOKENS = 60
_REFINE = "A check of this says: {critique}\nTry again. {question}"

_QUERY = re.compile(r"query\s*:\s*(.+)", re.IGNORECASE)
_NO_QUERY = re.compile(r"[\[\]<>\"`*]")


class WebShopPrompts:
    """Prompts of the shop: queries in free text, clicks chosen from a list.

    The examples come first and are the same for every step of a kind, so that a prefix cache holds
    them. A label stands behind its click, and the answer begins with the click that the page and
    the customer's words suggest (`Situation.next`): a small model finds the label by copying, where
    it otherwise clicks on the same value for ever, and tells products apart worse than the shop's
    own order does. It is free to name another. With the tool `UNAIDED` nothing is suggested.
    """

    version = VERSION

    def remembers(self, context: StepContext, tools: frozenset[str]) -> object:
        """The latest actions, the searches, and what was opened and clicked on."""
        done = [step.action for step in context.steps if step.action is not None]
        clicked = _clicks_on_product(context)
        return [done[-_LATEST:], list(searches(context)), sorted(_opened(context)), clicked]

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        """Prompt whose answer is a search query, after a thought if `depth` allows one."""
        depth = allocation.depth
        messages = [Message("system", _QUERY_SYSTEM)]
        for goal, thought, query in _QUERY_EXAMPLES:
            said = f"1. {thought}\nQuery: {query}" if depth else f"Query: {query}"
            messages += [
                Message("user", f"Wanted: {goal}\n{_ask(depth)}"),
                Message("assistant", said),
            ]
        messages.append(Message("user", _query_question(context, depth)))
        messages.append(Message("assistant", "1." if depth else "Query:"))
        room = _QUERY_TOKENS + _TOKENS_A_STEP * depth
        return Prompt(tuple(messages), room, () if depth else ("\n",), VERSION)

    def read(
        self, context: StepContext, allocation: Allocation, text: str, uses: tuple[ToolUse, ...]
    ) -> str | None:
        """Reads ``search[words]`` from the last ``Query:``, in lower case and one spelling.

        Without a thought the whole answer is the query. Brackets and quotation marks go, so that no
        query is a command to the shop.
        """
        queries = _QUERY.findall(text)
        query = (
            queries[-1]
            if queries
            else ("" if allocation.depth else text.strip().partition("\n")[0])
        )
        words = [word.strip(".,;:") for word in _NO_QUERY.sub(" ", query).lower().split()]
        return f"search[{' '.join(filter(None, words))}]" if any(words) else None

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        """Prompt whose answer is at most `depth` numbered sentences; the first number is given."""
        labels = labels_for(len(actions))
        told = situation_of(context, actions).told(context.task.goal, labels)
        question = told + _THINK.format(depth=depth)
        shown = _shown(labels, thoughtful=True, unaided=UNAIDED in context.tools)
        messages = (*shown, Message("user", question))
        stop = (f"\n{depth + 1}.", "\nNext", "\n\n")
        return Prompt(
            (*messages, Message("assistant", "1.")), _TOKENS_A_STEP * depth, stop, VERSION
        )

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        """Prompt after which the next token is the label of the best action."""
        unaided = UNAIDED in context.tools
        situation = situation_of(context, actions)
        told = situation.told(context.task.goal, labels)
        shown = _shown(labels, thoughtful=bool(thought), unaided=unaided)
        lead = _NO_LEAD if unaided else situation.lead
        messages = (*shown, Message("user", told))
        lead = f"1. {thought}\n{lead}" if thought else lead
        return Prompt((*messages, Message("assistant", lead)), 1, (), VERSION)

    def check(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt after which the next token says whether the candidate's action is right."""
        question = _CHECK.format(situation=_told(context), action=candidate.action)
        prefix = Message("assistant", _CHECK_PREFIX)
        return Prompt(
            (Message("system", _JUDGE), Message("user", question), prefix), 1, (), VERSION
        )

    def critique(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt whose answer says in one sentence what is wrong with the candidate's action."""
        question = _CRITIQUE.format(situation=_told(context), action=candidate.action or "none")
        if candidate.broken_rule is not None:
            question += f"\nA check found: {candidate.broken_rule}"
        messages = (Message("system", _CRITIC), Message("user", question))
        return Prompt(messages, _CRITIQUE_TOKENS, ("\n",), VERSION)

    def refine(
        self, context: StepContext, allocation: Allocation, candidate: Candidate, critique: str
    ) -> Prompt:
        """Prompt of a new query: that of `solve`, after the first answer and its critique."""
        solve = self.solve(context, allocation)
        *asked, begun = solve.messages
        first = Message("assistant", f"{begun.content} {candidate.text.strip()}")
        question = _REFINE.format(critique=critique.strip(), question=_ask(allocation.depth))
        messages = (*asked, first, Message("user", question), begun)
        return Prompt(messages, solve.max_tokens, solve.stop, VERSION)


def _ask(depth: int) -> str:
    return _ASK_QUERY.format(plan=_PLAN.format(depth=depth)) if depth else _ASK_QUERY_AT_ONCE


def _query_question(context: StepContext, depth: int) -> str:
    lines = [f"Wanted: {context.task.goal}"]
    if earlier := searches(context):
        lines.append(_EARLIER.format(searches=", ".join(earlier)))
    return "\n".join([*lines, _ask(depth)])


def _told(context: StepContext) -> str:
    return situation_of(context, context.observation.actions or ()).told(context.task.goal)


def _shown(labels: str, *, thoughtful: bool, unaided: bool) -> tuple[Message, ...]:
    """System and examples, with labels of the same kind as the step's, and answers likewise."""
    messages = [Message("system", _SYSTEM)]
    for goal, situation, thought, best in _EXAMPLES:
        digits = labels[0].isdigit()
        shown = labels_for(9 if digits else 26)[: len(situation.clicks)]
        said = f"{_NO_LEAD if unaided else situation.lead}{shown[best]})"
        messages += [
            Message("user", situation.told(goal, shown)),
            Message("assistant", f"1. {thought}.\n{said}" if thoughtful else said),
        ]
    return tuple(messages)
