"""Every text that a model reads in the shop. A change of any of them is a new `VERSION`.

The texts are frozen: recordings depend on them to the letter.
"""

from __future__ import annotations

import re

from amp.benchmarks.webshop.situation import CHOSEN, Situation, searches, situation_of
from amp.execute.choice import labels_for
from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse

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
    own order does. It is free to name another.
    """

    version = VERSION

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
        found = _QUERY.findall(text)
        query = (
            found[-1] if found else ("" if allocation.depth else text.strip().partition("\n")[0])
        )
        words = [word.strip(".,;:") for word in _NO_QUERY.sub(" ", query).lower().split()]
        return f"search[{' '.join(filter(None, words))}]" if any(words) else None

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        """Prompt whose answer is at most `depth` numbered sentences; the first number is given."""
        labels = labels_for(len(actions))
        told = situation_of(context, actions).told(context.task.goal, labels)
        question = told + _THINK.format(depth=depth)
        messages = (*_shown(labels, thoughtful=True), Message("user", question))
        stop = (f"\n{depth + 1}.", "\nNext", "\n\n")
        return Prompt(
            (*messages, Message("assistant", "1.")), _TOKENS_A_STEP * depth, stop, VERSION
        )

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        """Prompt after which the next token is the label of the best action."""
        situation = situation_of(context, actions)
        told = situation.told(context.task.goal, labels)
        messages = (*_shown(labels, thoughtful=bool(thought)), Message("user", told))
        lead = f"1. {thought}\n{situation.lead}" if thought else situation.lead
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


def _shown(labels: str, *, thoughtful: bool) -> tuple[Message, ...]:
    """System and examples, with labels of the same kind as the step's."""
    messages = [Message("system", _SYSTEM)]
    for goal, situation, thought, best in _EXAMPLES:
        digits = labels[0].isdigit()
        shown = labels_for(9 if digits else 26)[: len(situation.clicks)]
        said = f"{situation.lead}{shown[best]})"
        messages += [
            Message("user", situation.told(goal, shown)),
            Message("assistant", f"1. {thought}.\n{said}" if thoughtful else said),
        ]
    return tuple(messages)
