"""Goals of sessions by name, as the original hands them out."""

from __future__ import annotations

import bisect
import itertools
import random
import string
from collections.abc import Sequence

from amp.benchmarks.webshop.goals import SHUFFLE_SEED, Goal
from amp.errors import InvalidInputError

_NAME_LENGTH = 10


class Sessions:
    """Remembers which session has which goal, and draws goals for new ones.

    Args:
        goals: the goals in their final order.

    Attributes:
        rng: the generator of all draws; it goes on where shuffling the goals left it.
    """

    def __init__(self, goals: Sequence[Goal]) -> None:
        self._goals = goals
        self._sums = [0.0, *itertools.accumulate(goal.weight for goal in goals)]
        self._known: dict[str, int] = {}
        self.rng = random.Random(SHUFFLE_SEED)
        self.rng.shuffle(list(range(len(goals))))

    def begin(self, session: int | str | None = None) -> tuple[str, int]:
        """Returns a session's name and the number of its goal.

        A session keeps the goal that it had. A new one has the goal of its number, or a goal drawn
        by weight if it is a text or None; None makes up a name, too.

        Raises:
            InvalidInputError: if there is no goal of that number.
        """
        name = (
            "".join(self.rng.choices(string.ascii_lowercase, k=_NAME_LENGTH))
            if session is None
            else str(session)
        )
        if name not in self._known:
            self._known[name] = session if isinstance(session, int) else self._draw()
        goal = self._known[name]
        if not 0 <= goal < len(self._goals):
            raise InvalidInputError(f"goal is {goal}, expected 0 to {len(self._goals) - 1}")
        return name, goal

    def _draw(self) -> int:
        # To the right of its place among sums that begin with 0: the first goal is never drawn.
        place = bisect.bisect(self._sums, self.rng.uniform(0, self._sums[-1]))
        return min(place, len(self._goals) - 1)
