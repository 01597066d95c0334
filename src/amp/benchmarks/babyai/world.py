"""What the agent believes about the world, and how it is told in words.

The belief holds only what was seen, placed by the agent's own odometry. The frame is the agent's
own: it starts at (0, 0) and looks up, which is towards negative y. Nothing here reads the
simulator; `Belief.observe` takes the 7 x 7 x 3 image that the agent is given. The words are those
that the literature on BabyAI as text uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

KINDS = (
    "unseen",
    "empty",
    "wall",
    "floor",
    "door",
    "key",
    "ball",
    "box",
    "goal",
    "lava",
    "agent",
)
"""minigrid's codes of what stands in a cell, in order."""

COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
"""minigrid's codes of colours, in order."""

DOOR_STATES = ("open", "closed", "locked")
"""minigrid's codes of a door's state, in order."""

VIEW_SIZE = 7
"""The agent sees a square of this many cells; it stands in the middle of the near edge."""

TURN_LEFT, TURN_RIGHT, GO_FORWARD = "turn left", "turn right", "go forward"
PICK_UP, DROP, TOGGLE = "pick up", "drop", "toggle"

PRIMITIVES = (TURN_LEFT, TURN_RIGHT, GO_FORWARD, PICK_UP, DROP, TOGGLE)
"""The primitive actions in words; the position in this tuple is minigrid's code."""

Cell = tuple[int, int]
Image = Sequence[Sequence[Sequence[int]]]

_PORTABLE = frozenset({"key", "ball", "box"})
_NOTABLE = _PORTABLE | {"door"}
_GROUND = frozenset({"empty", "floor", "goal"})

HEADINGS: tuple[Cell, ...] = ((0, -1), (1, 0), (0, 1), (-1, 0))
"""Steps of the headings 0 to 3: up, right, down, left."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What stands in a cell.

    Attributes:
        kind: one of `KINDS`.
        color: one of `COLORS`.
        state: one of `DOOR_STATES` for a door, else empty.
    """

    kind: str
    color: str = ""
    state: str = ""

    @property
    def name(self) -> str:
        """Colour and kind, as missions say it."""
        return f"{self.color} {self.kind}"

    @property
    def portable(self) -> bool:
        return self.kind in _PORTABLE

    @property
    def notable(self) -> bool:
        """Whether it is worth a word: neither free space nor wall."""
        return self.kind in _NOTABLE

    @property
    def passable(self) -> bool:
        return self.kind in _GROUND or self.state == "open"


EMPTY = Thing("empty")


class Pose(NamedTuple):
    """Where the agent stands and looks; `heading` is an index of `HEADINGS`.

    A named tuple, since path finding hashes poses by the ten thousand.
    """

    cell: Cell
    heading: int

    @property
    def front(self) -> Cell:
        """The cell before the agent."""
        dx, dy = HEADINGS[self.heading]
        return self.cell[0] + dx, self.cell[1] + dy

    def turned(self, quarter_turns: int) -> Pose:
        """Returns the pose after that many turns to the right."""
        return Pose(self.cell, (self.heading + quarter_turns) % 4)

    def place(self, forward: int, right: int) -> Cell:
        """Returns the cell that lies so many steps forward and to the right."""
        (fx, fy), (rx, ry) = HEADINGS[self.heading], HEADINGS[(self.heading + 1) % 4]
        return self.cell[0] + forward * fx + right * rx, self.cell[1] + forward * fy + right * ry

    def offset(self, cell: Cell) -> tuple[int, int]:
        """Returns how many steps forward and to the right a cell lies; undoes `place`."""
        dx, dy = cell[0] - self.cell[0], cell[1] - self.cell[1]
        (fx, fy), (rx, ry) = HEADINGS[self.heading], HEADINGS[(self.heading + 1) % 4]
        return dx * fx + dy * fy, dx * rx + dy * ry


@dataclass(slots=True)
class Belief:
    """The map so far.

    Attributes:
        pose: where the agent thinks that it is.
        cells: what was last seen in each cell; a cell that was never seen is absent.
        visible: the cells in view now, the agent's own among them.
        carrying: what the agent carries.
    """

    pose: Pose = field(default_factory=lambda: Pose((0, 0), 0))
    cells: dict[Cell, Thing] = field(default_factory=dict)
    visible: frozenset[Cell] = frozenset()
    carrying: Thing | None = None

    def observe(self, image: Image) -> None:
        """Takes in an image, indexed [column][row][kind, colour, state] as minigrid gives it."""
        visible = []
        (x, y), cells = self.pose.cell, self.cells
        for column, row, dx, dy in _VIEW[self.pose.heading]:
            thing = _decode(*image[column][row])
            if thing is None:
                continue
            cell = x + dx, y + dy
            visible.append(cell)
            if cell != self.pose.cell:
                cells[cell] = thing
            else:
                # The own cell shows what is carried, not what the agent stands on.
                self.carrying = thing if thing.portable else None
                cells.setdefault(cell, EMPTY)
        self.visible = frozenset(visible)

    def moved(self, primitive: str) -> None:
        """Follows the agent's own motion; whether the way was free is known from what it saw."""
        if primitive == TURN_LEFT:
            self.pose = self.pose.turned(-1)
        elif primitive == TURN_RIGHT:
            self.pose = self.pose.turned(1)
        elif primitive == GO_FORWARD:
            ahead = self.cells.get(self.pose.front)
            if ahead is not None and ahead.passable:
                self.pose = Pose(self.pose.front, self.pose.heading)

    def snapshot(self) -> Belief:
        """Returns the belief as it is now, which what comes later leaves alone."""
        return replace(self, cells=self.cells.copy())

    @property
    def facing(self) -> Thing | None:
        """What stands in the cell before the agent; None if it was never seen."""
        return self.cells.get(self.pose.front)

    @property
    def things(self) -> dict[Cell, Thing]:
        """The objects and doors seen so far, by cell, in the order in which cells were seen."""
        return {cell: thing for cell, thing in self.cells.items() if thing.kind in _NOTABLE}


_VIEW = tuple(
    tuple(
        (column, row, *Pose((0, 0), heading).place(VIEW_SIZE - 1 - row, column - VIEW_SIZE // 2))
        for column in range(VIEW_SIZE)
        for row in range(VIEW_SIZE)
    )
    for heading in range(len(HEADINGS))
)
"""By heading: column and row of an image, and the cell there as seen from the agent's own."""


@lru_cache
def _decode(kind_code: int, color: int, state: int) -> Thing | None:
    kind = KINDS[kind_code]
    if kind == "unseen":
        return None
    if kind in ("empty", "floor", "wall"):
        return Thing(kind)
    return Thing(kind, COLORS[color], DOOR_STATES[state] if kind == "door" else "")


def whereabouts(pose: Pose, cell: Cell) -> str:
    """Returns where a cell lies for the agent, such as ``2 steps left and 1 step forward``."""
    forward, right = pose.offset(cell)
    parts = []
    if right:
        parts.append(_steps(abs(right), "right" if right > 0 else "left"))
    if forward:
        parts.append(_steps(abs(forward), "forward" if forward > 0 else "behind"))
    return " and ".join(parts) or "here"


def describe(belief: Belief) -> str:
    """Returns the state in words: what is carried, seen now, and remembered; one line each."""
    lines = []
    if belief.carrying is not None:
        lines.append(f"You carry a {belief.carrying.name}")
    lines.extend(_walls(belief))
    here = belief.pose.cell
    near = sorted(
        (item for item in belief.things.items() if item[0] != here),
        key=lambda item: (_distance(here, item[0]), belief.pose.offset(item[0])),
    )
    for cell, thing in near:
        verb = "see" if cell in belief.visible else "remember"
        lines.append(f"You {verb} a {_words(thing)} {whereabouts(belief.pose, cell)}")
    return "\n".join(lines) or "You see nothing"


def _walls(belief: Belief) -> list[str]:
    """Walls straight ahead, left and right, when nothing stands between."""
    lines = []
    for word, forward, right in (("forward", 1, 0), ("left", 0, -1), ("right", 0, 1)):
        for steps in range(1, VIEW_SIZE):
            cell = belief.pose.place(forward * steps, right * steps)
            thing = belief.cells.get(cell)
            if cell not in belief.visible or thing is None or thing.notable:
                break
            if thing.kind == "wall":
                lines.append(f"You see a wall {_steps(steps, word)}")
                break
    return lines


def _words(thing: Thing) -> str:
    return f"{thing.state} {thing.name}".strip()


def _steps(count: int, direction: str) -> str:
    return f"{count} step{'' if count == 1 else 's'} {direction}"


def _distance(a: Cell, b: Cell) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])
