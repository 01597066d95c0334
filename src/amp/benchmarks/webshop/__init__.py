"""WebShop: shopping by instruction in a simulated web shop (Yao et al. 2022, arXiv 2207.01206).

An engine of our own with the behaviour of the original's text environment: the same search, pages,
clicks, goals and rewards, and no server. The data is that of the original project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from amp.allocate.space import Space
from amp.benchmarks.base import Defaults, Difficulty, DifficultyScale, Requirements, count_in
from amp.benchmarks.download import find_data
from amp.benchmarks.webshop.environment import WebShopEnvironment, WebShopJudge, goal_number
from amp.benchmarks.webshop.goals import NO_LIMIT
from amp.benchmarks.webshop.plans import WebShopPlans
from amp.benchmarks.webshop.plausibility import plausibility
from amp.benchmarks.webshop.prompts import WebShopPrompts
from amp.benchmarks.webshop.shop import LEVELS, Shop, fetch_products, load_shop
from amp.errors import InvalidInputError, did_you_mean
from amp.execute.base import Tool
from amp.execute.tools import MemoryTool
from amp.latency import Lengths
from amp.types import UNAIDED, Allocation, Task

__all__ = ["SPLITS", "WebShop", "WebShopEnvironment", "WebShopPrompts"]

SPLITS: Mapping[str, slice] = {
    "test": slice(0, 500),
    "dev": slice(500, 1_000),
    "train": slice(1_000, None),
}
"""Numbers of the goals, by split. The original tests on the first 500; dev is the beginning of what
it trains on."""


class WebShop:
    """One data set of the shop; `Benchmark`.

    A task's id holds the number of its goal: ``webshop/small/17``. Its data holds the level, how
    many attributes and options are wanted, and the price limit in dollars (None without one).

    Args:
        data: directory of the benchmarks' data, in which the folder ``webshop`` is looked for; None
            for the usual places (`amp.benchmarks.download`).
        level: ``small`` for 1,000 products and synthetic goals; ``small-human`` for the same with
            the goals of people; ``full`` for all 1.18 million products and the goals of people.
        max_steps: actions after which an episode is over without a purchase.

    Raises:
        InvalidInputError: if there is no such level, or max_steps is not positive.
    """

    name = "webshop"
    splits = tuple(SPLITS)
    levels = tuple(LEVELS)
    environment_tools = (UNAIDED,)
    about = "shopping by instruction"
    # Acting at once is all that was measured.
    defaults = Defaults(
        fixed=Allocation(),
        space=Space(depth=(0, 0), temperature=(0.0, 0.0), beam_width=(1, 1), verification=(0, 1)),
        lengths=Lengths(prompt_tokens=850, answer_tokens=4, thought_tokens=40),
        allocator="heuristic",
        plausibility=plausibility,
        plans=WebShopPlans(),
    )
    difficulty_scale = DifficultyScale(
        "conditions of a purchase: attributes, options and the price limit", (5, 7)
    )
    requirements = Requirements(
        modules=("ijson", "rapidfuzz"),
        install="pip install 'adaptive-meta-planning[webshop]'",
        find=lambda data: find_data("webshop", data),
        fetch=fetch_products,
    )

    def __init__(self, data: Path | None = None, level: str = "small", max_steps: int = 15) -> None:
        if level not in LEVELS:
            raise InvalidInputError(
                f"unknown level {level!r} of webshop{did_you_mean(level, self.levels)} "
                f"(levels: {', '.join(self.levels)})"
            )
        if max_steps < 1:
            raise InvalidInputError(f"webshop max_steps is {max_steps}, expected at least 1")
        self._data = data
        self.level = level
        self.max_steps = max_steps
        self.prompts = WebShopPrompts()
        self.tools: Mapping[str, Tool] = {MemoryTool.name: MemoryTool()}

    @classmethod
    def load(cls, data: Path | None, level: str | None, step: str | None) -> WebShop:
        """Makes it from what the command line names; see `Benchmark.load`."""
        if step is not None:
            raise InvalidInputError(
                f"step is {step!r}, but a step of webshop is an action; leave it out"
            )
        return cls(data) if level is None else cls(data, level)

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Returns the goals of a split in the order of their numbers; see `Benchmark.tasks`."""
        if split not in SPLITS:
            raise InvalidInputError(
                f"unknown split {split!r} of webshop{did_you_mean(split, self.splits)} "
                f"(splits: {', '.join(self.splits)})"
            )
        if limit is not None and limit < 0:
            raise InvalidInputError(f"limit is {limit}, expected 0 or more")
        goals = list(enumerate(self._shop().goals))[SPLITS[split]]
        return [
            Task(
                f"webshop/{self.level}/{number}",
                goal.instruction,
                {
                    "level": self.level,
                    "attributes": len(goal.attributes),
                    "options": len(goal.options),
                    "price_limit": None if goal.price_upper == NO_LIMIT else goal.price_upper,
                },
                seed,
            )
            for number, goal in goals[:limit]
        ]

    def size(self, split: str) -> int:
        return len(self.tasks(split))

    def environment(self, task: Task) -> WebShopEnvironment:
        """Returns a fresh environment for one of its tasks.

        Raises:
            InvalidInputError: if the task is not one of this level.
        """
        shop = self._shop()
        goal_number(task, self.level, len(shop.goals))
        return WebShopEnvironment(shop, self.level)

    def judge(self, task: Task) -> WebShopJudge:
        """Returns a judge at the start of one of its tasks."""
        return WebShopJudge(self._shop(), self.level, task)

    def difficulty(self, task: Task) -> Difficulty:
        limited = task.data.get("price_limit") is not None
        count = count_in(task, "attributes") + count_in(task, "options") + limited
        return self.difficulty_scale.difficulty(count)

    def _shop(self) -> Shop:
        self.requirements.check(self.name)
        return load_shop(find_data("webshop", self._data).absolute(), self.level)
