"""What a mission asks for, and which part of an observation has to do with it; text in, text out.

A mission is taken apart into clauses in the order in which they are to be done. `Situation` is what
one step is decided on, as the prompts tell it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from amp.benchmarks.babyai.world import PRIMITIVES, Belief, Cell, Thing
from amp.types import StepContext

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
    parsed = []
    for half in ordered:
        for part in half.split(" and "):
            clause = _clause(part.strip())
            if clause is None:
                return ()
            parsed.append(clause)
    return tuple(parsed)


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
    nearest = [_nearest(description, state) for description in _named(mission)]
    lines = dict.fromkeys(f"{near.thing.name} {near.place}" for near in nearest if near)
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


_HISTORY = 6
"""Steps of the partial plan that the model reads, the last ones."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Mission, partial plan, state and what can be done.

    Attributes:
        mission: the mission.
        history: actions so far, each with what came of it.
        state: the state in words.
        actions: the admissible actions, all primitive or all subgoals.
    """

    mission: str
    history: tuple[tuple[str, str], ...]
    state: str
    actions: tuple[str, ...]

    @property
    def primitive(self) -> bool:
        """Whether the actions are primitive ones."""
        return set(self.actions) <= set(PRIMITIVES)

    def told(self, labels: str) -> str:
        """Returns the user's turn: what is seen, the actions with their labels, the mission.

        The label comes right behind its action. Without labels the actions stand alone.
        """
        marks = [f" ({label})" for label in labels] or [""] * len(self.actions)
        rest, remarks = (self._carried(), {}) if self.primitive else self._placed()
        listed = [
            f"- {action}{mark}{remarks.get(action, '')}"
            for action, mark in zip(self.actions, marks, strict=True)
        ]
        done = [] if self.primitive else self._done()
        return "\n".join([*rest, "Actions:", *listed, *done, f"Mission: {self.mission}"])

    def lead(self) -> str:
        """Returns what an answer begins with: how it stands with what the mission names."""
        if not self.primitive:
            status = status_in(self.mission, self.state, self.actions)
            return f"Carried: {carried_in(self.state)}. Target: {status}"
        target = target_in(self.mission, self.state)
        looked = f", {self.turns} turns made" if target == "not seen" else ""
        return f"Ahead: {ahead_in(self.state)}. Target: {target}{looked}"

    def _carried(self) -> list[str]:
        return [line for line in self.state.splitlines() if line.startswith("You carry")]

    def _placed(self) -> tuple[list[str], dict[str, str]]:
        """Moves each place to the action that goes there, since telling it twice costs twice.

        Who chooses subgoals need not know of walls; the path finder does. What is carried is told
        where the answer begins.

        Returns:
            The lines of the state that are left, and what to say behind an action.
        """
        rest, remarks = [], dict[str, str]()
        for line in self.state.splitlines():
            seen = sighting_in(line)
            if " a wall " in line or (seen is not None and seen.carried):
                continue
            plain = f"go to the {seen.name}" if seen else ""
            if seen and plain in self.actions and plain not in remarks:
                remarks[plain] = f" {seen.openness}{seen.place}"
            elif seen and f"{plain} {seen.place}" in self.actions:
                remarks[f"{plain} {seen.place}"] = f" {seen.openness}".rstrip(", ")
            else:
                rest.append(line)
        return rest, remarks

    def _done(self) -> list[str]:
        return ["Done:", *(f"- {came}" for _, came in self.history)] if self.history else []

    @property
    def turns(self) -> int:
        """Turns since the last action of another kind."""
        others = (n for n, (done, _) in enumerate(self.history, 1) if not done.startswith("turn"))
        return len(self.history) - max(others, default=0)


def situation_of(context: StepContext, actions: tuple[str, ...]) -> Situation:
    """Returns the situation in which a step chooses among these actions."""
    done = [(step.action, step.feedback) for step in context.steps if step.action is not None]
    history = tuple(done[-_HISTORY:])
    return Situation(context.task.goal, history, context.observation.state, actions)
