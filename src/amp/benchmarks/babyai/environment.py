"""One BabyAI episode: primitive actions or subgoals in, words out.

The words of the feedback say what an action brought about, as far as the agent saw it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from amp.benchmarks.babyai import minigrid
from amp.benchmarks.babyai.minigrid import fingerprint, plan_to_goal
from amp.benchmarks.babyai.mission import distance
from amp.benchmarks.babyai.path_finder import Subgoal, possible_subgoals, way
from amp.benchmarks.babyai.world import (
    DROP,
    GO_FORWARD,
    PICK_UP,
    PRIMITIVES,
    TOGGLE,
    TURN_LEFT,
    TURN_RIGHT,
    Belief,
    Pose,
    Thing,
    describe,
)
from amp.errors import InvalidInputError
from amp.types import Observation, Task, Transition

_DONE = {
    "go to": "You went to",
    "pick up": "You picked up",
    "open": "You opened",
    "put": "You put",
    "drop": "You dropped",
}


def of_primitive(
    primitive: str, pose: Pose, ahead: Thing | None, carried: Thing | None, after: Belief
) -> str:
    """Returns what a primitive action did.

    Args:
        primitive: the action.
        pose: where the agent was before it.
        ahead: what stood before the agent.
        carried: what it carried.
        after: the belief after the action.
    """
    obstacle = "something" if ahead is None else f"a {ahead.name.strip()}"
    if primitive == TURN_LEFT:
        return "You turned left."
    if primitive == TURN_RIGHT:
        return "You turned right."
    if primitive == GO_FORWARD:
        if after.pose != pose:
            return "You moved one step forward."
        return f"You did not move: {obstacle} is in the way."
    if primitive == PICK_UP and after.carrying is not None and carried is None:
        return f"You picked up the {after.carrying.name}."
    if primitive == DROP and carried is not None and after.carrying is None:
        return f"You dropped the {carried.name}."
    if primitive == TOGGLE and ahead is not None and after.facing != ahead:
        return f"You {'closed' if ahead.state == 'open' else 'opened'} the {ahead.name}."
    return "Nothing happened."


def reached(subgoal: Subgoal, belief: Belief) -> bool:
    """Whether the agent sees that a subgoal is fulfilled; ``explore`` never is."""
    if subgoal.verb == "go to":
        return belief.pose.front == subgoal.target
    if subgoal.verb == "pick up":
        return belief.carrying is not None
    if subgoal.verb in ("put", "drop"):
        return belief.carrying is None
    if subgoal.verb == "open":
        ahead = belief.facing
        return ahead is None or (ahead.kind != "box" and ahead.state in ("", "open"))
    return False


def of_subgoal(subgoal: Subgoal) -> str:
    """Returns what to say of a fulfilled subgoal."""
    return f"{_DONE[subgoal.verb]} {subgoal.name.removeprefix(subgoal.verb).strip()}."


def of_discovery(things: Sequence[Thing]) -> str:
    """Returns what to say when exploring brought new things into view."""
    return f"You explored and found {', '.join(f'a {thing.name}' for thing in things)}."


def of_failure(subgoal: Subgoal) -> str:
    """Returns what to say of a subgoal to which no way is left."""
    if subgoal.verb == "explore":
        return "You explored and found nothing new; all that can be reached has been seen."
    return f"You could not {subgoal.name}: no way leads there."


class Offered(Mapping[str, tuple[str, ...]]):
    """Actions by the name of their one tool; empty if it offers none.

    A pickle and a deep copy of it are plain dictionaries, and so is what is written of it.

    Args:
        tool: the tool's name.
        find: finds the actions; called once at most, at any time, so it must not depend on what
            changes meanwhile.
    """

    def __init__(self, tool: str, find: Callable[[], tuple[str, ...]]) -> None:
        self._tool = tool
        self._find = find

    @cached_property
    def _found(self) -> dict[str, tuple[str, ...]]:
        actions = self._find()
        return {self._tool: actions} if actions else {}

    def __getitem__(self, tool: str) -> tuple[str, ...]:
        return self._found[tool]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(self._found)

    def __reduce__(self) -> tuple[type[dict[str, tuple[str, ...]]], tuple[object]]:
        return dict, (self._found,)


PATH_FINDER = "path_finder"
"""Name of the tool that carries out subgoals."""

SUBGOAL_MOVES = 100
"""Primitive actions after which a subgoal is given up."""

DISTANCE_SPAN = 16
"""Steps to a target from which on the goal-state distance is 1; about two rooms."""


class BabyAIEnvironment:
    """Carries a plan out in minigrid; `Environment` of the planner.

    The planner sees words made from its own belief of the world, which holds nothing but what the
    agent saw. An action is one of the six primitive actions, or a subgoal, which the path finder
    carries out as primitive actions until it is reached, impossible, or the episode is over.

    Attributes:
        belief: the map so far.
        primitives: the primitive actions carried out since the reset, those of subgoals included.
    """

    def __init__(self) -> None:
        self.belief = Belief()
        self.primitives: list[str] = []
        self._level: Any = None
        self._made: str | None = None
        self._mission = ""
        self._over = True
        self._success = False

    def reset(self, task: Task) -> Observation:
        """Starts a task.

        Raises:
            InvalidInputError: if the task is not one of BabyAI's.
            MissingDependencyError: if minigrid is not installed.
        """
        level, seed = task.data.get("level"), task.data.get("seed")
        if not isinstance(level, str) or not isinstance(seed, int):
            raise InvalidInputError(
                f"task {task.id!r} is no BabyAI task: data lacks level and seed"
            )
        if self._made != level:
            self._level, self._made = minigrid.make_level(level), level
        raw = minigrid.reset_level(self._level, seed)
        self.belief, self.primitives = Belief(), []
        self._over, self._success = False, False
        self._mission = str(raw["mission"])
        self._see(raw)
        return self._observation()

    def step(self, action: str) -> Transition:
        """Carries out a primitive action or a subgoal.

        Raises:
            InvalidInputError: if the action is not admissible, or the episode is over.
        """
        said = self._carry_out(action)
        if self._over:
            said += " The mission is accomplished." if self._success else " The mission failed."
        return Transition(
            self._observation(),
            done=self._over,
            success=self._success if self._over else None,
            score=1.0 if self._success else 0.0,
            feedback=said,
        )

    def fork(self) -> BabyAIEnvironment:
        """Returns a second environment in the same state; what is done in one leaves the other.

        The simulator is copied, too, so a planner that looks ahead in forks knows more than one
        that acts once and for all.
        """
        return copy.deepcopy(self)

    def fingerprint(self) -> str:
        """Returns what tells the simulator's state and the map so far from any other."""
        known = sorted((cell, str(thing)) for cell, thing in self.belief.cells.items())
        order = list(self.belief.things)  # what was seen first is listed first
        return f"{fingerprint(self._level)} {self.belief.pose} {known} {order}"

    def expert(self) -> tuple[str, ...] | None:
        """Returns the primitive actions that lead the official expert from here to the goal.

        None where it does not get there, or the episode is over. Nothing is carried out.
        """
        return None if self._over else plan_to_goal(self._level, self.belief)

    @property
    def subgoals(self) -> tuple[Subgoal, ...]:
        """What the path finder can be asked to do now."""
        return () if self._over else possible_subgoals(self.belief, at_start=not self.primitives)

    def _carry_out(self, action: str) -> str:
        if self._over:
            raise InvalidInputError("the BabyAI episode is over; reset the environment first")
        if action in PRIMITIVES:
            return self._primitive(action)
        offered = self.subgoals
        for subgoal in offered:
            if subgoal.name == action:
                return self._pursue(subgoal)
        known = ", ".join((*PRIMITIVES, *(subgoal.name for subgoal in offered)))
        raise InvalidInputError(f"inadmissible BabyAI action {action!r}; expected one of: {known}")

    # ------------------------------------------------------------------ one primitive action

    def _primitive(self, primitive: str) -> str:
        """Carries one primitive action out and returns what came of it."""
        pose, ahead, carried = self.belief.pose, self.belief.facing, self.belief.carrying
        raw, reward, terminated, truncated, _ = self._level.step(PRIMITIVES.index(primitive))
        self.primitives.append(primitive)
        self.belief.moved(primitive)
        self._see(raw)
        self._over = bool(terminated or truncated)
        self._success = float(reward) > 0
        return of_primitive(primitive, pose, ahead, carried, self.belief)

    def _see(self, raw: Mapping[str, Any]) -> None:
        self.belief.observe(raw["image"].tolist())

    # ------------------------------------------------------------------ one subgoal

    def _pursue(self, subgoal: Subgoal) -> str:
        """Lets the path finder carry a subgoal out, planning anew as the map changes."""
        known, plan, cells = set(self.belief.things), None, None
        for _ in range(SUBGOAL_MOVES):
            if not plan or self.belief.cells != cells:
                plan = way(self.belief, subgoal)
                cells = dict(self.belief.cells)
            if plan is None:
                return of_failure(subgoal)
            # Nothing to do but the subgoal is offered: the agent faces its target at the start.
            # BabyAI judges only after an action, so one is taken that changes nothing.
            said = [self._primitive(p) for p in plan[:1] or self._idle()][-1]
            plan = plan[1:]
            new_things = [t for cell, t in self.belief.things.items() if cell not in known]
            if subgoal.verb == "explore" and new_things:
                return of_discovery(new_things)
            if not plan and reached(subgoal, self.belief):
                return of_subgoal(subgoal)
            if self._over:
                return said
        return f"You gave up to {subgoal.name} after {SUBGOAL_MOVES} moves."

    def _idle(self) -> tuple[str, ...]:
        """Bumping into what is solid does nothing; before an open door, half a turn and back."""
        ahead = self.belief.facing
        return (TURN_LEFT, TURN_RIGHT) if ahead is None or ahead.passable else (GO_FORWARD,)

    # ------------------------------------------------------------------ what the planner sees

    def _observation(self) -> Observation:
        then, at_start = self.belief.snapshot(), not self.primitives
        offered = Offered(
            PATH_FINDER,
            lambda: tuple(s.name for s in possible_subgoals(then, at_start=at_start)),
        )
        return Observation(
            state=describe(self.belief),
            actions=PRIMITIVES,
            tool_actions={} if self._over else offered,
            distance=distance(self._mission, self.belief, DISTANCE_SPAN),
        )
