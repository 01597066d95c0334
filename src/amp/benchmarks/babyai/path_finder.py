"""The path finder: the cheapest way over the believed map, as primitive actions."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from amp.benchmarks.babyai.world import (
    GO_FORWARD,
    HEADINGS,
    TOGGLE,
    TURN_LEFT,
    TURN_RIGHT,
    Belief,
    Cell,
    Pose,
)

DOOR_COST = 20
"""What opening a closed door on the way counts, in primitive actions: doors are opened on purpose,
not in passing, as long as there is a way around."""


class Routes:
    """All cheapest ways from where the agent stands, over cells that it has seen (Dijkstra).

    A snapshot: after the belief has changed, make a new one.
    """

    def __init__(self, belief: Belief) -> None:
        self._belief = belief
        self._cost: dict[Pose, int] = {belief.pose: 0}
        self._came: dict[Pose, tuple[Pose, tuple[str, ...]]] = {}
        self._search()

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
        poses = [
            Pose((cell[0] - dx, cell[1] - dy), heading) for heading, (dx, dy) in enumerate(HEADINGS)
        ]
        return [pose for pose in poses if pose in self._cost]

    def _search(self) -> None:
        start = self._belief.pose
        queue: list[tuple[int, int, Pose]] = [(0, 0, start)]
        pushed = 0
        while queue:
            cost, _, pose = heapq.heappop(queue)
            if cost > self._cost[pose]:
                continue
            for following, primitives, price in self._moves(pose):
                total = cost + price
                if total < self._cost.get(following, total + 1):
                    self._cost[following] = total
                    self._came[following] = (pose, primitives)
                    pushed += 1  # first come, first served among equals: the same way every time
                    heapq.heappush(queue, (total, pushed, following))

    def _moves(self, pose: Pose) -> Iterator[tuple[Pose, tuple[str, ...], int]]:
        yield pose.turned(-1), (TURN_LEFT,), 1
        yield pose.turned(1), (TURN_RIGHT,), 1
        ahead = self._belief.cells.get(pose.front)
        if ahead is None:
            return
        if ahead.passable:
            yield Pose(pose.front, pose.heading), (GO_FORWARD,), 1
        elif ahead.state == "closed":
            yield Pose(pose.front, pose.heading), (TOGGLE, GO_FORWARD), DOOR_COST


def neighbours(cell: Cell) -> tuple[Cell, ...]:
    """Returns the four cells next to a cell."""
    return tuple((cell[0] + dx, cell[1] + dy) for dx, dy in HEADINGS)


def frontier(belief: Belief, routes: Routes) -> list[Pose]:
    """The reachable poses that look at a cell which was never seen."""
    return [pose for pose in routes if pose.front not in belief.cells]


def closed_doors(belief: Belief, routes: Routes) -> list[Pose]:
    """The reachable poses before a closed door that nobody has looked behind."""
    found = []
    for pose in routes:
        ahead = belief.cells.get(pose.front)
        if (
            ahead is not None
            and ahead.state == "closed"
            and pose.place(forward=2, right=0) not in belief.cells
        ):
            found.append(pose)
    return found
