"""The path finder: the cheapest way over the believed map, as primitive actions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from amp.benchmarks.babyai.world import (
    GO_FORWARD,
    HEADINGS,
    TOGGLE,
    TURN_LEFT,
    TURN_RIGHT,
    Belief,
    Cell,
    Pose,
    Thing,
)

DOOR_COST = 20
"""What opening a closed door on the way counts, in primitive actions: doors are opened on purpose,
not in passing, as long as there is a way around."""


class Routes:
    """All cheapest ways from where the agent stands, over cells that it has seen (Dijkstra).

    A snapshot: after the belief has changed, make a new one.

    Attributes:
        frontier: the reachable poses that look at a cell which was never seen.
        closed_doors: the reachable poses before a closed door that nobody has looked behind.
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
