"""Goals: what a task asks for, read from its words, and how much of it is still to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from amp.benchmarks.alfworld.scene import Scene, kind

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
