"""One episode in the shop, for the planner, and the judge who knows what a purchase would earn.

A step chooses among the clicks that a page offers, as many as can be told apart by one letter each.
The goal-state distance D (spec 2.2) is how much of what was asked for is not in sight.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from amp.assess.evidence import remaining_words
from amp.assess.text import word_set
from amp.benchmarks.webshop.browser import SEPARATOR, ActionResult, Browser, Page, parse_action
from amp.benchmarks.webshop.shop import Shop, UnsupportedSearchError
from amp.errors import InvalidInputError
from amp.types import Observation, Task, Transition

MAX_ACTIONS = 52
"""Actions that are listed at most: as many as there are letters to label them."""

NOT_LISTED = "Not listed: "
"""How the piece of a state begins that names the values that are left out."""

_WORD = re.compile(r"[^\W_]+")


def listed_clicks(page: Page, instruction: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the clicks to choose from, and the values of options that are left out.

    All in the order of the page. On a page with more than `MAX_ACTIONS`, all buttons and products
    stay, and of the values those with the largest share of their words in the instruction; of
    equal ones the first. A value that no action can name, as one with brackets, is never listed.
    """
    texts = [text for text in page.clickables if parse_action(f"click[{text}]") == ("click", text)]
    values = [text for text in texts if text in page.options]
    kept = set(texts)
    surplus = len(texts) - MAX_ACTIONS
    if surplus > 0:
        said = set(_WORD.findall(instruction.lower()))
        kept -= set(sorted(values, key=lambda value: -_share(value, said))[-surplus:])
    clicks = tuple(f"click[{text}]" for text in texts if text in kept and text != "search")
    return clicks, tuple(value for value in values if value not in kept)


def _share(value: str, said: set[str]) -> float:
    words = _WORD.findall(value)
    return sum(word in said for word in words) / len(words) if words else 0.0


_PRICE_LIMIT = re.compile(r",? and price lower than (\d+(?:\.\d+)?) dollars")
_OPTIONS = re.compile(r"(?:^|.*\s)with ([^:]+: .*)", re.DOTALL)
_PRICE = re.compile(r"\$(\d+(?:\.\d+)?)")
_ASKING = word_set("find looking need want show give buy get interested")


@dataclass(frozen=True, slots=True)
class ShoppingRequest:
    """What an instruction says, read from its words alone.

    Attributes:
        words: what the product has to be, without the words of options and price.
        options: the options to choose, a name and a value each; none if they are not spelt out.
        price_limit: dollars that it has to cost less than; None if that is not said.
    """

    words: str
    options: tuple[tuple[str, str], ...]
    price_limit: float | None


@lru_cache(maxsize=256)
def read_request(instruction: str) -> ShoppingRequest:
    """Reads an instruction such as "Find me soft socks with color: red, and size: s"."""
    limit = _PRICE_LIMIT.search(instruction)
    text = _PRICE_LIMIT.sub("", instruction)
    options: list[tuple[str, str]] = []
    if found := _OPTIONS.fullmatch(text):
        text = text[: found.start(1)]
        for part in found[1].split(", and "):
            name, colon, value = part.partition(": ")
            if colon:
                options.append((name, value))
    return ShoppingRequest(text, tuple(options), float(limit[1]) if limit else None)


def distance(instruction: str, seen: Iterable[str], chosen: Mapping[str, str]) -> float:
    """D in [0, 1]: the share of the request that is not met by the best of what is seen.

    Each content word counts once, being met where it can be read; each option, being met once it is
    chosen; and the price limit, being met by a lower price. 1 where nothing is seen.

    Args:
        instruction: what the customer says.
        seen: what can be read about each product in sight.
        chosen: the values that were chosen, by the option's name.
    """
    request = read_request(instruction)
    wanted = content_words(request.words)
    limited = request.price_limit is not None
    parts = len(wanted) + len(request.options) + limited
    if parts == 0:
        return 0.0
    open_options = sum(chosen.get(name) != value for name, value in request.options)
    missing = [
        len(content_words(request.words, text))
        + (limited and not cheaper(text, request.price_limit))
        for text in seen
    ]
    return (min(missing, default=len(wanted) + limited) + open_options) / parts


def rows_of_results(text: str) -> list[str]:
    """What a page of results says about each of its products: title and price."""
    pieces = text.split(SEPARATOR)
    header = next((i for i, piece in enumerate(pieces) if piece == "Next >"), len(pieces))
    rows = pieces[header + 1 :]
    return [" ".join(rows[i + 1 : i + 3]) for i in range(0, len(rows), 3)]


@lru_cache(maxsize=256)
def content_words(words: str, *texts: str) -> tuple[str, ...]:
    """The words that say what is wanted and that no text names, each once."""
    return tuple(word for word in remaining_words(words, *texts) if word not in _ASKING)


def cheaper(text: str, limit: float | None) -> bool:
    """Whether the first price of a text, the lowest of a range, is below a limit."""
    price = _PRICE.search(text)
    return price is not None and limit is not None and float(price[1]) < limit


_NOTHING_CHANGED = "This is not possible here; nothing has changed."


class WebShopEnvironment:
    """Carries a plan out in the shop; `Environment` and `Forkable` of the planner.

    The state is the text observation of the original. On the search page an action is free text,
    ``search[words]``; on the other pages it is one of the listed ``click[...]``, and a search is
    possible, too, as in the original. An action that is not possible changes nothing, which the
    feedback says. Where clicks are left out of the list (`listing.listed_clicks`), a last piece of
    the state names them.

    The episode is over with a purchase: its reward is the score, and 1.0 is success.

    Args:
        shop: the shop, which others may use at the same time.
        level: the level that its tasks have to be of.
    """

    def __init__(self, shop: Shop, level: str) -> None:
        self._shop = shop
        self._level = level
        self._browser: Browser | None = None
        self._instruction = ""
        self._seen = ""  # what was read about the product that is looked at

    def reset(self, task: Task) -> Observation:
        """Starts a task, anew if it was begun before.

        Raises:
            InvalidInputError: if the task is not one of this level.
        """
        number = goal_number(task, self._level, len(self._shop.goals))
        goal = self._shop.goals[number]
        self._instruction = goal.instruction
        rng = random.Random(f"{task.seed} {task.id}")
        self._browser = Browser(self._shop, goal, str(number), rng)
        self._seen = ""
        return self._observation(self._browser, ActionResult())

    def step(self, action: str) -> Transition:
        """Carries an action out.

        Raises:
            InvalidInputError: if the episode is over or was never begun.
            MissingDependencyError: if a purchase can't be judged (`TitleNouns.of`).
        """
        browser = self._browser
        if browser is None:
            raise InvalidInputError("webshop: the episode is over; call reset first")
        feedback = ""
        try:
            outcome = browser.step(action)
        except UnsupportedSearchError as error:
            outcome, feedback = ActionResult(valid=False), str(error)
        if not outcome.valid and not feedback:
            feedback = _NOTHING_CHANGED
        observation = self._observation(browser, outcome)
        if not outcome.done:
            return Transition(observation, done=False, feedback=feedback)
        self._browser = None
        return Transition(observation, True, outcome.reward == 1.0, outcome.reward)

    def fork(self) -> WebShopEnvironment:
        """Returns a second environment in the same state; what is done in one leaves the other."""
        twin = copy.copy(self)
        twin._browser = self._browser and self._browser.fork()
        return twin

    def fingerprint(self) -> str:
        """Returns what tells the state of the shop, and what was read so far, from any other."""
        if self._browser is None:
            return "over"
        return json.dumps([*self._browser.told, self._seen])

    def _observation(self, browser: Browser, outcome: ActionResult) -> Observation:
        page = browser.page
        if outcome.done:
            return Observation(page.text, (), distance=1.0 - outcome.reward)
        if browser.product is None:
            self._seen = ""
            seen = rows_of_results(page.text) if page.links else []
        else:
            if outcome.valid:
                own = page.text.split(SEPARATOR)[2:]  # without the instruction
                self._seen = " ".join([*filter(None, [self._seen]), *own])
            seen = [self._seen]
        clicks, left_out = listed_clicks(page, self._instruction)
        state = page.text
        if left_out:
            state += f"{SEPARATOR}{NOT_LISTED}{'; '.join(left_out)}"
        return Observation(
            state=state,
            actions=None if page.search_bar else clicks,
            distance=distance(self._instruction, seen, browser.chosen),
        )


def goal_number(task: Task, level: str, goals: int) -> int:
    """The number of a task's goal.

    Raises:
        InvalidInputError: if the task's id is not that of one of so many goals of this level.
    """
    prefix, _, number = task.id.rpartition("/")
    if (
        prefix == f"webshop/{level}"
        and number.isascii()
        and number.isdigit()
        and int(number) < goals
    ):
        return int(number)
    raise InvalidInputError(
        f"task is {task.id!r}, expected webshop/{level}/N with N from 0 to {goals - 1}"
    )


class WebShopJudge:
    """Says which purchases are mistakes; `Judge` of benchmarks.

    To buy is a mistake if the reward is below 1.0. By the original's rule a few goals never earn
    that, whatever is bought; buying is a mistake there, too. Anything else that is possible can be
    put right again, so it is undecided.

    Args:
        shop: the shop.
        level: the level of the task.
        task: the task at whose start it begins.
    """

    def __init__(self, shop: Shop, level: str, task: Task) -> None:
        self._environment = WebShopEnvironment(shop, level)
        self._environment.reset(task)

    def mistaken(self, action: str | None) -> bool | None:
        """Whether it is a purchase that earns less than 1.0, or not possible; None for the rest.

        Raises:
            InvalidInputError: if the episode is over.
        """
        if action is None:
            return True
        transition = self._environment.fork().step(action)
        if transition.done:
            return not transition.success
        return True if transition.feedback else None

    def advance(self, action: str) -> None:
        """Carries an action of the plan out."""
        self._environment.step(action)
