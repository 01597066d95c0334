"""The path finder: subgoals, named as missions name them, and the cheapest way to reach one.

A way leads over the map as the agent believes it to be, and is made of primitive actions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from amp.benchmarks.babyai.world import (
    DROP,
    GO_FORWARD,
    HEADINGS,
    PICK_UP,
    TOGGLE,
    TURN_LEFT,
    TURN_RIGHT,
    Belief,
    Cell,
    Pose,
    Thing,
    whereabouts,
)

DOOR_COST = 20
"""What opening a closed door on the way counts, in primitive actions: doors are opened on purpose,
not in passing, as long as there is a way around."""


class Routes:
    """All cheapest ways from where the agent stands, over cells that it has seen (Dijkstra).

    A snapshot: after the belief has changed, make a new one.

    Attributes:
        frontier: the reachable poses that look at a cell which was never seen.
        closed_doors: the reachable poses before a closed door with unseen cells behind it.
    """

    def __init__(self, belief: Belief) -> None:
        self.frontier: list[Pose] = []
        self.closed_doors: list[Pose] = []
        self._cost: dict[Pose, int] = {belief.pose: 0}
        self._came: dict[Pose, _Step] = {}
        self._search(belief.cells, belief.pose)

    def __iter__(self) -> Iterator[Pose]:
        """The poses that can be reached."""
        return iter(self._cost)

    def cost(self, poses: Iterable[Pose]) -> int | None:
        """Returns the cost of the nearest of the poses; None if no one can be reached."""
        return min((self._cost[pose] for pose in poses if pose in self._cost), default=None)

    def to(self, poses: Iterable[Pose]) -> tuple[str, ...] | None:
        """Returns the primitive actions that lead to the nearest of the poses, or None."""
        reachable = [pose for pose in poses if pose in self._cost]
        if not reachable:
            return None
        pose = min(reachable, key=lambda p: (self._cost[p], p))
        parts: list[tuple[str, ...]] = []
        while pose in self._came:
            pose, primitives = self._came[pose]
            parts.append(primitives)
        return tuple(primitive for part in reversed(parts) for primitive in part)

    def beside(self, cell: Cell) -> list[Pose]:
        """The reachable poses that look at a cell from next to it."""
        return [pose for pose in _beside(cell) if pose in self._cost]

    def _search(self, cells: Mapping[Cell, Thing], start: Pose) -> None:
        """Goes by cost and among equals by the order of finding: the same way every time."""
        costs, came = self._cost, self._came
        waiting = defaultdict(list, {0: [start]})
        cost = 0
        while waiting:
            for pose in waiting.pop(cost, ()):
                if cost > costs[pose]:
                    continue
                front, moves, walk, open_and_walk = _moves_from(pose)
                ahead = cells.get(front)
                if ahead is None:
                    self.frontier.append(pose)
                elif ahead.passable:
                    moves = walk
                elif ahead.state == "closed":
                    moves = open_and_walk
                    if pose.place(forward=2, right=0) not in cells:
                        self.closed_doors.append(pose)
                for following, step, price in moves:
                    total = cost + price
                    if following not in costs or total < costs[following]:
                        costs[following] = total
                        came[following] = step
                        waiting[total].append(following)
            cost += 1


_Step = tuple[Pose, tuple[str, ...]]
"""Where one comes from, and by which primitive actions."""

_Move = tuple[Pose, _Step, int]
"""Where it leads, how, and what that counts."""

_Moves = tuple[_Move, ...]


@lru_cache(maxsize=1 << 14)
def _moves_from(pose: Pose) -> tuple[Cell, _Moves, _Moves, _Moves]:
    """The cell before a pose, and the moves where that is blocked, free, or a closed door.

    Kept, since every search asks for the same again.
    """
    left, right, ahead = pose.turned(-1), pose.turned(1), Pose(pose.front, pose.heading)
    turns = (left, (pose, (TURN_LEFT,)), 1), (right, (pose, (TURN_RIGHT,)), 1)
    walk = ahead, (pose, (GO_FORWARD,)), 1
    open_and_walk = ahead, (pose, (TOGGLE, GO_FORWARD)), DOOR_COST
    return pose.front, turns, (*turns, walk), (*turns, open_and_walk)


@lru_cache(maxsize=1 << 12)
def _beside(cell: Cell) -> tuple[Pose, ...]:
    """The poses that look at a cell from next to it."""
    return tuple(
        Pose((cell[0] - dx, cell[1] - dy), heading) for heading, (dx, dy) in enumerate(HEADINGS)
    )


def neighbours(cell: Cell) -> tuple[Cell, ...]:
    """Returns the four cells next to a cell."""
    return tuple((cell[0] + dx, cell[1] + dy) for dx, dy in HEADINGS)


Verb = Literal["go to", "pick up", "open", "put", "drop", "explore"]

EXPLORE = "explore"

MAX_SUBGOALS = 52
"""As many as there are letters to label a choice with; those about the farthest cells go first."""


@dataclass(frozen=True, slots=True)
class Subgoal:
    """One thing to do.

    Attributes:
        verb: what to do.
        name: the whole in words, unique among the subgoals of one moment.
        target: the cell of the object or door that it is about; None for drop and explore.
    """

    verb: Verb
    name: str
    target: Cell | None = None


def possible_subgoals(belief: Belief, *, at_start: bool) -> tuple[Subgoal, ...]:
    """Returns the subgoals that can be carried out now, from the believed map alone.

    The agent can go to whatever it has seen and can reach, nearest first. To pick up, to open and
    to put next to is offered for what it faces. There are at most `MAX_SUBGOALS`. To go to what it
    already faces is left out, since that would change nothing; at the start it is in, since BabyAI
    judges only after an action.
    """
    routes = Routes(belief)
    reach = {
        cell: routes.cost(poses) or 0
        for cell in belief.things
        if (poses := routes.beside(cell)) and cell != belief.pose.cell
    }
    cells = sorted(reach, key=lambda cell: (reach[cell], belief.pose.offset(cell)))
    names = _names(belief, cells)
    while True:
        subgoals = _about(belief, routes, cells, names, at_start=at_start)
        if len(subgoals) <= MAX_SUBGOALS:
            return tuple(subgoals)
        cells = cells[:-1]


def _about(
    belief: Belief, routes: Routes, cells: list[Cell], names: dict[Cell, str], *, at_start: bool
) -> list[Subgoal]:
    """The subgoals about these cells, and those about none."""
    subgoals = [
        Subgoal("go to", f"go to {names[cell]}", cell)
        for cell in cells
        if at_start or cell != belief.pose.front
    ]
    if belief.pose.front in names:
        subgoals += _at_hand(belief, routes, names[belief.pose.front])
    if belief.carrying is not None and _drop_poses(belief, routes, None):
        subgoals.append(Subgoal("drop", f"drop the {belief.carrying.name}"))
    if routes.frontier or routes.closed_doors:
        subgoals.append(Subgoal("explore", EXPLORE))
    return subgoals


def _at_hand(belief: Belief, routes: Routes, name: str) -> Iterator[Subgoal]:
    """What can be done to the thing that the agent faces."""
    cell = belief.pose.front
    thing, carried = belief.cells[cell], belief.carrying
    if carried is None and thing.portable:
        yield Subgoal("pick up", f"pick up {name}", cell)
    if _can_open(thing, carried):
        yield Subgoal("open", f"open {name}", cell)
    if carried is not None and _drop_poses(belief, routes, cell):
        yield Subgoal("put", f"put the {carried.name} next to {name}", cell)


def way(belief: Belief, subgoal: Subgoal) -> tuple[str, ...] | None:
    """Returns the primitive actions that the believed map suggests for a subgoal.

    Returns:
        The actions, the last of which fulfils the subgoal (except for ``explore``, which goes on
        until something new is seen); empty if nothing is left to do; None if no way is known.
    """
    routes = Routes(belief)
    if subgoal.verb == "explore":
        walk = routes.to(routes.frontier)
        if walk is not None:
            return walk
        walk = routes.to(routes.closed_doors)
        return None if walk is None else (*walk, TOGGLE)
    if subgoal.verb in ("drop", "put"):
        walk = routes.to(_drop_poses(belief, routes, subgoal.target))
        return None if walk is None else (*walk, DROP)
    assert subgoal.target is not None
    walk = routes.to(routes.beside(subgoal.target))
    if walk is None or subgoal.verb == "go to":
        return walk
    return (*walk, PICK_UP if subgoal.verb == "pick up" else TOGGLE)


def _can_open(thing: Thing, carried: Thing | None) -> bool:
    if thing.state == "locked":
        return carried == Thing("key", thing.color)
    return thing.state == "closed" or thing.kind == "box"


def _drop_poses(belief: Belief, routes: Routes, target: Cell | None) -> list[Pose]:
    """Reachable poses before a free cell, next to the target if there is one.

    Without a target the cells next to doors are kept free, so that no doorway gets blocked.
    """
    free = {cell for cell, thing in belief.cells.items() if thing.kind == "empty"}
    if target is not None:
        return [
            pose for cell in free.intersection(neighbours(target)) for pose in routes.beside(cell)
        ]
    doors = (cell for cell, thing in belief.things.items() if thing.kind == "door")
    clear = free.difference(*map(neighbours, doors))
    poses = [pose for pose in routes if pose.front in free]
    return [pose for pose in poses if pose.front in clear] or poses


def _names(belief: Belief, cells: list[Cell]) -> dict[Cell, str]:
    """``the red ball``, ``the locked red door``, with the place where there are several such."""
    plain = {cell: _name(belief.cells[cell]) for cell in cells}
    count = Counter(plain.values())
    return {
        cell: f"{name} {whereabouts(belief.pose, cell)}" if count[name] > 1 else name
        for cell, name in plain.items()
    }


def _name(thing: Thing) -> str:
    """That a door is locked is part of its name: what can be done about it differs."""
    return f"the locked {thing.name}" if thing.state == "locked" else f"the {thing.name}"
