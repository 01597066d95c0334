"""One episode in the shop, for the planner."""

from __future__ import annotations

import copy
import random

from amp.benchmarks.webshop.browser import Browser, Outcome
from amp.benchmarks.webshop.distance import distance, rows_of_results
from amp.benchmarks.webshop.listing import NOT_LISTED, listed_clicks
from amp.benchmarks.webshop.pages import SEPARATOR
from amp.benchmarks.webshop.shop import Shop, UnsupportedSearchError
from amp.errors import InvalidInputError
from amp.types import Observation, Task, Transition

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
        return self._observation(self._browser, Outcome())

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
            outcome, feedback = Outcome(valid=False), str(error)
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

    def _observation(self, browser: Browser, outcome: Outcome) -> Observation:
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
