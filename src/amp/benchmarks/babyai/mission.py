"""Missions taken apart: clauses in the order in which they are to be done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from amp.benchmarks.babyai.world import Belief, Cell, Thing

MissionVerb = Literal["go to", "pick up", "open", "put"]

_DESCRIPTION = (
    r"(?:the|a) (?:(red|green|blue|purple|yellow|grey) )?(object|box|ball|key|door)"
    r"(?: (in front of you|behind you|on your left|on your right))?"
)
_PUT = re.compile(rf"put {_DESCRIPTION} next to {_DESCRIPTION}")
_OTHER = re.compile(rf"(go to|pick up|open) {_DESCRIPTION}")

_SIDES = {
    "in front of you": lambda cell: cell[1] < 0,
    "behind you": lambda cell: cell[1] > 0,
    "on your left": lambda cell: cell[0] < 0,
    "on your right": lambda cell: cell[0] > 0,
}
"""Places are relative to where the agent stood at the start, the origin of the belief's frame."""


@dataclass(frozen=True, slots=True)
class Description:
    """Which things a mission speaks of; an empty field matches everything."""

    color: str = ""
    kind: str = ""
    side: str = ""

    @property
    def name(self) -> str:
        """Colour and kind as far as they are told, such as ``red ball`` or ``object``."""
        return f"{self.color} {self.kind or 'object'}".strip()

    def matches(self, thing: Thing) -> bool:
        """Whether a thing fits by colour and kind."""
        return thing.notable and self.color in ("", thing.color) and self.kind in ("", thing.kind)

    def cells(self, belief: Belief) -> list[Cell]:
        """The believed cells of the things that fit, by their present place."""
        return [
            cell
            for cell, thing in belief.things.items()
            if self.matches(thing) and (not self.side or _SIDES[self.side](cell))
        ]


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that a mission asks for; `beside` only where something is put next to it."""

    verb: MissionVerb
    target: Description
    beside: Description | None = None


@lru_cache
def clauses(mission: str) -> tuple[Clause, ...]:
    """Takes a mission apart.

    Returns:
        Its clauses in the order in which they are to be done; empty if it is not BabyAI's language.
    """
    before, after_you, after = mission.partition(" after you ")
    ordered = [after, before] if after_you else mission.split(", then ")
    found = []
    for half in ordered:
        for part in half.split(" and "):
            clause = _clause(part.strip())
            if clause is None:
                return ()
            found.append(clause)
    return tuple(found)


def distance(mission: str, belief: Belief, span: int) -> float:
    """Goal-state distance D in [0, 1] from what has been seen (spec 2.2).

    The mean over all things that the mission names: 0 when carried or next to the agent, growing
    with the steps to the nearest one that fits, 1 from `span` steps on or while none was seen.
    """
    named = [
        description
        for clause in clauses(mission)
        for description in (clause.target, clause.beside)
        if description is not None
    ]
    if not named:
        return 1.0
    return sum(_distance(description, belief, span) for description in named) / len(named)


def _distance(description: Description, belief: Belief, span: int) -> float:
    if belief.carrying is not None and description.matches(belief.carrying):
        return 0.0
    x, y = belief.pose.cell
    steps = [abs(cell[0] - x) + abs(cell[1] - y) - 1 for cell in description.cells(belief)]
    return min(1.0, max(0, min(steps)) / span) if steps else 1.0


def _clause(text: str) -> Clause | None:
    if put := _PUT.fullmatch(text):
        groups = [group or "" for group in put.groups()]
        return Clause("put", _description(groups[:3]), _description(groups[3:]))
    if other := _OTHER.fullmatch(text):
        groups = [group or "" for group in other.groups()]
        verbs: dict[str, MissionVerb] = {"go to": "go to", "pick up": "pick up", "open": "open"}
        return Clause(verbs[groups[0]], _description(groups[1:]))
    return None


def _description(groups: list[str]) -> Description:
    color, kind, side = groups
    return Description(color, "" if kind == "object" else kind, side)
