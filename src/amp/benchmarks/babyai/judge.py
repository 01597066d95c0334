"""The judge of BabyAI's plan steps: every action offered is tried out, and an expert goes on."""

from __future__ import annotations

import copy
import heapq
import itertools
import math
import sys
from collections.abc import Hashable, Mapping
from functools import cached_property
from typing import Any

from amp.benchmarks.babyai import minigrid
from amp.benchmarks.babyai.environment import PATH_FINDER, BabyAIEnvironment
from amp.benchmarks.babyai.minigrid import moves_to_goal
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.types import Observation, Task

MAX_PARTIAL_PLANS = 50
"""Partial plans of subgoals that are looked at for one plan step."""


class BabyAIJudge:
    """Says which actions begin no shortest expert plan; `Judge` of benchmarks.

    The total of an action is the number of primitive actions of the shortest plan that begins with
    it and reaches the goal. An action is mistaken if its total is above the least total of the
    actions offered beside it (the subgoals for a subgoal, the primitive actions for a primitive
    one), and above the expert's (`moves_to_goal`), which knows what the agent has seen. The first
    lets the path finder take its own way; the second takes luck out, since an action that goes
    to unseen cells may turn out shorter than what was best to do. There is no further
    slack; equals are all right.

    After a primitive action the rest of the plan is the expert's, too. A plan of subgoals has to go
    on in subgoals, so it is searched for, best first, with the rest of an expert that is held to
    what subgoals can say (to put a thing beside another, face that first) as the estimate of what
    is left; the expert that it is compared with is held to it, too. The search ends after
    `MAX_PARTIAL_PLANS`: if it has found a plan, what is left open counts with its estimate; else
    it is undecided.

    Args:
        task: the task at whose start it begins.
    """

    def __init__(self, task: Task) -> None:
        environment = BabyAIEnvironment()
        observation = environment.reset(task)
        # A level of its own, kept in step: the expert goes on in copies of it.
        level = minigrid.make_level(task.data["level"])
        minigrid.reset_level(level, task.data["seed"])
        self._here = _Place(environment, level, observation)
        self._known: dict[bool, dict[str, float]] = {}  # by whether primitive

    def mistaken(self, action: str | None) -> bool | None:
        """Whether the expert, and another action offered now, would be at the goal sooner.

        True for no action and for one that is not admissible; None if no plan is found, whatever is
        done first, or the episode is over.
        """
        if action is None:
            return True
        totals = self.totals(action)
        if min(totals.values(), default=math.inf) == math.inf:
            return None
        here = self._here
        expert = here.primitive_total if action in PRIMITIVES else here.subgoal_total
        return totals.get(action, math.inf) > _standard(totals, expert)

    def totals(self, action: str) -> dict[str, float]:
        """Primitive actions from the start to the goal by way of each action offered beside this.

        Those of mistaken actions are estimates; infinite where the goal is missed.
        """
        primitive = action in PRIMITIVES
        if primitive not in self._known:
            here = self._here
            offered = () if here.done else PRIMITIVES
            self._known[primitive] = (
                {option: here.after(option).primitive_total for option in offered}
                if primitive
                else _search(here)
            )
        return self._known[primitive]

    def advance(self, action: str) -> None:
        """Carries an action of the plan out."""
        self._here = self._here.after(action)
        self._known = {}


class _Place:
    """A possible state of an episode.

    Attributes:
        moves: primitive actions that led there.
        done: whether the episode is over there.
    """

    def __init__(
        self,
        environment: BabyAIEnvironment,
        level: Any,
        observation: Observation,
        done: bool = False,
        success: bool | None = None,
    ) -> None:
        self._environment = environment
        self._level = level
        self._success = success
        self.moves = len(environment.primitives)
        self.done = done
        self._offered = observation.tool_actions

    @property
    def subgoals(self) -> tuple[str, ...]:
        """What the path finder can be asked to do there."""
        return self._offered.get(PATH_FINDER, ())

    @cached_property
    def primitive_total(self) -> float:
        """Primitive actions from the start to the goal if the expert takes over here."""
        return self._total(faces=False)

    @cached_property
    def subgoal_total(self) -> float:
        """The same for an expert that puts things down as subgoals do, of a plan of subgoals."""
        return self._total(faces=True)

    def _total(self, *, faces: bool) -> float:
        if self.done:
            return self.moves if self._success else math.inf
        return self.moves + moves_to_goal(self._level, self._environment.belief, faces=faces)

    @property
    def state(self) -> Hashable:
        """Equal where the same is left to do; the expert's rest tells how far the mission is."""
        belief = self._environment.belief
        cells = frozenset(belief.cells.items())
        return belief.pose, belief.carrying, cells, self.subgoal_total - self.moves

    def after(self, action: str) -> _Place:
        """What comes of an action; nothing changes here."""
        environment, level = self._environment.fork(), copy.deepcopy(self._level)
        transition = environment.step(action)
        for primitive in environment.primitives[self.moves :]:
            level.step(PRIMITIVES.index(primitive))
        return _Place(
            environment, level, transition.observation, transition.done, transition.success
        )


def _standard(totals: Mapping[str, float], expert: float) -> float:
    """The largest total that is no mistake; the expert's counts only where it gets to the goal."""
    least = min(totals.values(), default=sys.float_info.max)
    return least if expert == math.inf else max(least, expert)


def _search(here: _Place) -> dict[str, float]:
    """Length of the shortest plan by the subgoal that it begins with, as far as it matters."""
    totals: dict[str, float] = {}
    passed: set[tuple[str, Hashable]] = set()
    tried = {subgoal: here.after(subgoal) for subgoal in here.subgoals}
    count = itertools.count()
    # The longest of equally good partial plans comes first: it is next to be complete.
    queue = [(p.subgoal_total, -p.moves, next(count), first, p) for first, p in tried.items()]
    heapq.heapify(queue)
    for _ in range(MAX_PARTIAL_PLANS):
        if not queue or queue[0][0] > _standard(totals, here.subgoal_total):
            break
        estimate, _, _, first, place = heapq.heappop(queue)
        if first in totals or (first, place.state) in passed:
            continue
        passed.add((first, place.state))
        if place.done:
            totals[first] = estimate
            continue
        for subgoal in place.subgoals:
            further = place.after(subgoal)
            entry = (further.subgoal_total, -further.moves, next(count), first, further)
            heapq.heappush(queue, entry)
    if not totals:
        return dict.fromkeys(tried, math.inf)
    while queue:  # what was left open, best first
        estimate, _, _, first, _ = heapq.heappop(queue)
        totals.setdefault(first, estimate)
    return totals
