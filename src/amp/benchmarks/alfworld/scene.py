"""What the agent believes about the room, and how much of the goal is still to do.

Everything in it comes from the game's own words. The facts of a room as plain JSON are
`Observation.symbols`: only what was seen; suppositions are up to the tool that plans on them
(`amp.benchmarks.alfworld.planning`).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_THING = r"([a-z]+ \d+)"
_ROOM = re.compile(r"Looking quickly around you, you see (.+?)\.(?:\n|$)")
_LOOK_IN = re.compile(rf"(?:On|In) (?:the {_THING}|it), you see (.+?)\.(?:\n|$)")
_ARRIVED = re.compile(rf"You arrive at {_THING}\.")
_SHUT = re.compile(rf"The {_THING} is closed\.")
_OPEN = re.compile(rf"The {_THING} is open\.")
_CLOSED = re.compile(rf"You close the {_THING}\.")
_TAKEN = re.compile(rf"You pick up the {_THING} from the {_THING}\.")
_PUT = re.compile(rf"You (?:move|put) the {_THING} (?:to|in/on|in|on) the {_THING}\.")
_CHANGED = re.compile(rf"You (heat|cool|clean) the {_THING} using the {_THING}\.")
_LIT = re.compile(rf"You turn on the {_THING}\.")
_NAMED = re.compile(_THING)
_TAKE = re.compile(rf"take {_THING} from {_THING}")
_USE = re.compile(rf"use {_THING}")

_BECOMES = {"heat": "hot", "cool": "cool", "clean": "clean"}
_UNDOES = {"heat": "cool", "cool": "hot"}


def kind(name: str) -> str:
    """Returns the kind of a thing: ``apple`` for ``apple 1``."""
    return name.rpartition(" ")[0]


@dataclass(slots=True)
class Scene:
    """What is known of the room.

    Attributes:
        receptacles: names of all places where things can be, in the order of their numbers.
        at: where the agent stands; None in the middle of the room.
        near: other places that it can reach into from there.
        held: what it holds.
        contents: what was last seen in or on each place that was looked into.
        visited: the places that it has been at, in that order.
        shut: whether a place is closed, for those that were found to open and close.
        states: what was done to things: ``hot``, ``cool``, ``clean``.
        lit: lamps that were turned on.
    """

    receptacles: tuple[str, ...] = ()
    at: str | None = None
    near: tuple[str, ...] = ()
    held: str | None = None
    contents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    visited: list[str] = field(default_factory=list)
    shut: dict[str, bool] = field(default_factory=dict)
    states: dict[str, frozenset[str]] = field(default_factory=dict)
    lit: set[str] = field(default_factory=set)

    def hear(self, text: str, commands: Sequence[str] = ()) -> None:
        """Takes in what the game said, and from its commands what is in reach."""
        # To look again in the middle of the room finds nothing, for the game.
        if (room := _ROOM.search(text)) and (names := _NAMED.findall(room[1])):
            self.receptacles = tuple(sorted(names, key=_by_number))
        if arrived := _ARRIVED.search(text):
            self.at = arrived[1]
            if self.at not in self.visited:
                self.visited.append(self.at)
        if shut := _SHUT.search(text) or _CLOSED.search(text):
            self.shut[shut[1]] = True
        if opened := _OPEN.search(text):
            self.shut[opened[1]] = False
        if seen := _LOOK_IN.search(text):
            place = seen[1] or (opened[1] if opened else None)
            if place in self.receptacles:
                self.contents[place] = tuple(_NAMED.findall(seen[2]))
        if taken := _TAKEN.search(text):
            self.held = taken[1]
            self._move(taken[1], None)
        if put := _PUT.search(text):
            self.held = None
            self._move(put[1], put[2])
        if changed := _CHANGED.search(text):
            now = self.states.get(changed[2], frozenset()) - {_UNDOES.get(changed[1], "")}
            self.states[changed[2]] = now | {_BECOMES[changed[1]]}
        if lit := _LIT.search(text):
            self.lit.add(lit[1])
        self._see(commands)

    def _see(self, commands: Sequence[str]) -> None:
        """What can be examined, taken and used is there, though the game has not told of it yet."""
        named = (command.removeprefix("examine ") for command in commands)
        self.near = tuple(n for n in named if n in self.receptacles and n != self.at)
        for command in commands:
            if (seen := _TAKE.fullmatch(command)) and self.where(seen[1]) is None:
                self._move(seen[1], seen[2])
            elif (used := _USE.fullmatch(command)) and self.at and self.where(used[1]) is None:
                self._move(used[1], self.at)

    def found(self, wanted: str) -> tuple[str, ...]:
        """Names of the things of a kind that were seen, the one that is held first."""
        seen = dict.fromkeys(
            name
            for name in (*([self.held] if self.held else []), *self._things())
            if kind(name) == wanted
        )
        return tuple(seen)

    def where(self, name: str) -> str | None:
        """The place where a thing was last seen; None for one that is held or was never seen."""
        return next((place for place, things in self.contents.items() if name in things), None)

    def unexplored(self) -> tuple[str, ...]:
        """Places that were not looked into yet."""
        return tuple(place for place in self.receptacles if place not in self.contents)

    def told(self, name: str) -> str:
        """A thing with its state, such as ``apple 1 (hot)``."""
        states = [*sorted(self.states.get(name, ())), *(["lit"] if name in self.lit else [])]
        return f"{name} ({', '.join(states)})" if states else name

    def list(self, names: Iterable[str]) -> str:
        """Things in words; ``nothing`` if there are none."""
        return ", ".join(self.told(name) for name in names) or "nothing"

    def known(self) -> Hashable:
        """Returns what is known, equal for equal knowledge in whatever order it was gained."""
        return (
            self.at,
            self.held,
            frozenset((place, frozenset(things)) for place, things in self.contents.items()),
            frozenset(self.shut.items()),
            frozenset(self.states.items()),
            frozenset(self.lit),
        )

    def extent(self) -> int:
        """How much is known, which never gets less: places, doors, lamps, and things changed."""
        return len(self.contents) + len(self.shut) + len(self.states) + len(self.lit)

    def describe(self) -> str:
        """Returns what is known in words, one line for what is held, here, seen, and not seen."""
        lines = [f"You hold {self.told(self.held) if self.held else 'nothing'}."]
        if self.at is None:
            lines.append("You are in the middle of the room.")
        elif self.shut.get(self.at):
            lines.append(f"You are at {self.at}, which is closed.")
        else:
            lines.append(f"You are at {self.at}, with {self.list(self.contents.get(self.at, ()))}.")
        if self.near:
            lines.append(f"You can also reach {', '.join(self.near)}.")
        lines += [
            f"{place}: {self.list(things)}"
            for place, things in self.contents.items()
            if place != self.at or self.shut.get(place)
        ]
        if unexplored := [place for place in self.unexplored() if place != self.at]:
            lines.append(f"Not looked into yet: {', '.join(unexplored)}")
        return "\n".join(lines)

    def _things(self) -> Iterable[str]:
        return (name for things in self.contents.values() for name in things)

    def _move(self, name: str, place: str | None) -> None:
        for holder, things in self.contents.items():
            self.contents[holder] = tuple(thing for thing in things if thing != name)
        if place is not None:
            self.contents[place] = (*self.contents.get(place, ()), name)


def _by_number(name: str) -> tuple[str, int]:
    kind_, _, number = name.rpartition(" ")
    return kind_, int(number)


_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:put|find) (?P<count>two) (?P<object>\w+) (?:and put them )?(?:in|on) (?P<place>\w+)",
        r"put a (?P<state>clean|hot|cool) (?P<object>\w+) (?:in|on) (?P<place>\w+)",
        r"(?P<state>clean|heat|cool) some (?P<object>\w+) and put it (?:in|on) (?P<place>\w+)",
        r"put (?:a|some) (?P<object>\w+) (?:in|on) (?P<place>\w+)",
        r"look at (?P<object>\w+) under the (?P<lamp>\w+)",
        r"examine the (?P<object>\w+) with the (?P<lamp>\w+)",
    )
)
"""The templates of ALFWorld's goals."""

VERBS = {"clean": "clean", "hot": "heat", "cool": "cool"}
"""The command that brings a state about."""

TOOLS = {"clean": "sinkbasin", "hot": "microwave", "cool": "fridge"}
"""The kind of place at which a state is brought about."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a task asks for.

    Attributes:
        object: kind of the object.
        count: how many of them, 1 or 2.
        state: ``clean``, ``hot`` or ``cool``; empty for as it is.
        place: kind of the receptacle where they shall be; empty if they shall be looked at.
        lamp: kind of the lamp under which they shall be looked at; empty if they shall be placed.
    """

    object: str
    count: int = 1
    state: str = ""
    place: str = ""
    lamp: str = ""


def read_goal(words: str) -> Goal | None:
    """Reads a goal that follows one of ALFWorld's templates; None for any other."""
    for pattern in _PATTERNS:
        if found := pattern.fullmatch(words.strip().rstrip(".")):
            parts = {name: text for name, text in found.groupdict().items() if text}
            state = parts.get("state", "")
            return Goal(
                object=parts["object"],
                count=2 if "count" in parts else 1,
                state="hot" if state == "heat" else state,
                place=parts.get("place", ""),
                lamp=parts.get("lamp", ""),
            )
    return None


def distance(goal: Goal, scene: Scene) -> float:
    """Returns the share of the goal's parts that are not met yet, from what was seen alone.

    Goal-state distance D of spec 2.2. For each object that is asked for, the parts are: one was
    found, it was taken, it has its state, and it is in its place (which takes all of them). For a
    look under a lamp: an object was found, it is held, a lamp was found, one is lit, and it is
    here.
    """
    if goal.lamp:
        held = scene.held is not None and kind(scene.held) == goal.object
        lamps = scene.found(goal.lamp)
        lit = [lamp for lamp in lamps if lamp in scene.lit]
        near = any(scene.where(lamp) == scene.at for lamp in lit)
        met = [bool(scene.found(goal.object)), held, bool(lamps), bool(lit), near]
        return 1.0 - sum(met) / len(met)
    places = [place for place in scene.receptacles if kind(place) == goal.place]
    parts = (4 if goal.state else 3) * goal.count
    # Two objects have to be in the same place.
    return 1.0 - max(_met(goal, scene, place) for place in places or [""]) / parts


def _met(goal: Goal, scene: Scene, place: str) -> int:
    """Parts that are met if the objects are to be in this place; the farthest ones count."""
    each = sorted(_progress(goal, scene, name, place) for name in scene.found(goal.object))
    return sum(each[-goal.count :])


def _progress(goal: Goal, scene: Scene, name: str, place: str) -> int:
    """Parts that one object meets."""
    right = not goal.state or goal.state in scene.states.get(name, ())
    held = scene.held == name
    there = right and not held and name in scene.contents.get(place, ())
    return 1 + (held or there) + (bool(goal.state) and right) + there


def facts(goal: Goal, scene: Scene) -> Mapping[str, Any]:
    """Returns the goal and what a plan rests on; the way there (`Scene.visited`) is left out."""
    return {
        "goal": asdict(goal),
        "receptacles": list(scene.receptacles),
        "at": scene.at,
        "near": list(scene.near),
        "held": scene.held,
        "contents": {place: list(things) for place, things in scene.contents.items()},
        "shut": dict(scene.shut),
        "states": {name: sorted(states) for name, states in scene.states.items()},
        "lit": sorted(scene.lit),
    }


def read_facts(known: Mapping[str, Any]) -> tuple[Goal, Scene]:
    """Returns the goal and the room that facts tell of."""
    return Goal(**known["goal"]), Scene(
        receptacles=tuple(known["receptacles"]),
        at=known["at"],
        near=tuple(known["near"]),
        held=known["held"],
        contents={place: tuple(things) for place, things in known["contents"].items()},
        shut=dict(known["shut"]),
        states={name: frozenset(states) for name, states in known["states"].items()},
        lit=set(known["lit"]),
    )
