"""The judge of actions in the shop: it knows what a purchase would earn."""

from __future__ import annotations

from amp.benchmarks.webshop.environment import WebShopEnvironment
from amp.benchmarks.webshop.shop import Shop
from amp.types import Task


class WebShopJudge:
    """Says which purchases are mistakes; `Judge` of benchmarks.

    To buy is a mistake if the reward is below 1.0. By the original's rule a few goals never earn
    that, whatever is bought; buying is a mistake there, too. Anything else that is possible can be
    put right again, so nobody can tell.

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
