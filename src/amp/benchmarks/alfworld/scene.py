"""What the agent believes about the room: only what the game's own words have told it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

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
