"""What in an observation's text a mission is about; text in, text out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from amp.benchmarks.babyai.mission import Description, clauses
from amp.benchmarks.babyai.world import Thing

_SEEN = re.compile(
    r"You (?:see|remember) a (?:(open|closed|locked) )?(\w+) (key|ball|box|door) (.+)"
)
_CARRIED = re.compile(r"You carry a (\w+) (key|ball|box)")
_CARRIED_PLACE = "carried"
_AT_HAND = "1 step forward"
_AHEAD = re.compile(r"You see a (.+) 1 step forward")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing that a line of an observation is about.

    Attributes:
        thing: what it is; its state is that of a door.
        place: where it lies, such as ``2 steps left``; ``carried`` if the agent has it.
    """

    thing: Thing
    place: str

    @property
    def name(self) -> str:
        """What subgoals call it: a locked door is called so."""
        return f"locked {self.thing.name}" if self.thing.state == "locked" else self.thing.name

    @property
    def carried(self) -> bool:
        return self.place == _CARRIED_PLACE

    @property
    def openness(self) -> str:
        """``open, `` or ``closed, `` for a door that is not locked; empty for anything else."""
        return f"{self.thing.state}, " if self.thing.state in ("open", "closed") else ""


def sighting_in(line: str) -> Sighting | None:
    """Reads a line about a thing seen, remembered or carried; None for any other line."""
    if seen := _SEEN.fullmatch(line):
        return Sighting(Thing(seen[3], seen[2], seen[1] or ""), seen[4])
    if carried := _CARRIED.fullmatch(line):
        return Sighting(Thing(carried[2], carried[1]), _CARRIED_PLACE)
    return None


def target_in(mission: str, state: str) -> str:
    """Returns the lines about the things that a mission names, the nearest of each.

    Such as ``red ball 2 steps left and 1 step forward``; ``not seen`` where none is.
    """
    found = [_nearest(description, state) for description in _named(mission)]
    lines = dict.fromkeys(f"{near.thing.name} {near.place}" for near in found if near)
    return "; ".join(lines) or "not seen"


def status_in(mission: str, state: str, actions: tuple[str, ...]) -> str:
    """Returns how it stands with each thing that a mission names, in the order of doing.

    Such as ``yellow box carried; purple ball ahead; grey key; door not seen``. What lies farther
    off is named as the actions name it: with its place where there are several such.
    """
    lines = []
    for description in _named(mission):
        near = _nearest(description, state)
        if near is None:
            lines.append(f"{description.name} not seen")
        elif near.place == _AT_HAND:
            lines.append(f"{near.name} ahead")
        elif near.carried or f"go to the {near.name} {near.place}" in actions:
            lines.append(f"{near.name} {near.place}")
        else:
            lines.append(near.name)
    return "; ".join(dict.fromkeys(lines))


def carried_in(state: str) -> str:
    """Returns the name of what the agent carries; ``nothing`` if it has free hands."""
    sightings = (sighting_in(line) for line in state.splitlines())
    return next((s.name for s in sightings if s and s.carried), "nothing")


def ahead_in(state: str) -> str:
    """Returns what stands in the cell ahead, such as ``wall``; ``free`` if nothing does."""
    for line in state.splitlines():
        if (found := _AHEAD.fullmatch(line)) and " step" not in found[1]:
            return found[1]
    return "free"


def _named(mission: str) -> list[Description]:
    return [
        description
        for clause in clauses(mission)
        for description in (clause.target, clause.beside)
        if description is not None
    ]


def _nearest(description: Description, state: str) -> Sighting | None:
    """The first thing that fits: carried if it is, else the nearest, as lines are sorted so."""
    sightings = (sighting_in(line) for line in state.splitlines())
    return next((s for s in sightings if s and description.matches(s.thing)), None)
