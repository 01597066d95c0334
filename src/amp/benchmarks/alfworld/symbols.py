"""A STRIPS problem from what is believed, for the symbolic planner (`amp.execute.tools.symbols`).

What was seen holds; what was not seen is supposed to be where belief puts it. So a plan is made for
the room as it is believed to be, its first step is taken, and what is seen then corrects belief, as
in LLM-DP (Dagan et al., 2023, "Dynamic Planning with a LLM").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amp.benchmarks.alfworld.beliefs import Belief
from amp.benchmarks.alfworld.goal import TOOLS, VERBS, Goal
from amp.benchmarks.alfworld.scene import Scene, kind

_FREE = "hand free"


@dataclass(frozen=True, slots=True)
class _Supposed:
    """The room as it is believed to be.

    Attributes:
        things: those that the goal is about, with their places; None for the one that is held.
        lamp: the lamp that the goal is about, with its place.
        target: where things shall be; empty for a look under a lamp.
        tool: where their state is brought about; empty if none is asked for.
    """

    things: Mapping[str, str | None]
    lamp: tuple[str, str] | None
    target: str
    tool: str


def problem(goal: Goal, scene: Scene, believe: Belief) -> Mapping[str, Any] | None:
    """Returns the problem, or None where no place is left in which a missing thing could be.

    A thing that was not seen has its kind for a name; a plan's steps before it is taken are
    commands that the game knows.
    """
    supposed = _suppose(goal, scene, believe)
    if supposed is None:
        return None
    places = dict.fromkeys(
        place
        for place in (scene.at, *supposed.things.values(), supposed.target, supposed.tool)
        if place
    )
    if supposed.lamp is not None:
        places[supposed.lamp[1]] = None
    held = scene.held
    return {
        "init": [
            f"at {scene.at or 'middle'}",
            f"holding {held}" if held else _FREE,
            *(f"{place} {'closed' if scene.shut.get(place) else 'open'}" for place in places),
            *(f"{thing} in {place}" for thing, place in supposed.things.items() if place),
            *(f"{n} {state}" for n in supposed.things for state in sorted(scene.states.get(n, ()))),
            *(f"{lamp} lit" for lamp in sorted(scene.lit)),
            *(f"at {place}" for place in scene.near if place in places),
            *(f"away from {place}" for place in places if place not in (scene.at, *scene.near)),
            *(f"{place} seen" for place in places if place in scene.contents),
        ],
        "goal": list(_wanted(goal, supposed)),
        "actions": [
            *_moves(scene, list(places)),
            *_handling(goal, scene, supposed, list(places)),
        ],
    }


def missing(goal: Goal, scene: Scene) -> tuple[str, ...]:
    """Returns the kinds of things that the goal needs and that were not found, each once."""
    found = len(scene.found(goal.object))
    wanted = (goal.object,) if found < goal.count else ()
    return (*wanted, goal.lamp) if goal.lamp and _lamp(goal, scene) is None else wanted


def _suppose(goal: Goal, scene: Scene, believe: Belief) -> _Supposed | None:
    targets = [place for place in scene.receptacles if kind(place) == goal.place]
    target = max(targets, key=lambda place: _there(goal, scene, place), default="")
    found = sorted(scene.found(goal.object), key=lambda name: -_done(goal, scene, name, target))
    things: dict[str, str | None] = {
        name: None if name == scene.held else scene.where(name) for name in found[: goal.count]
    }
    lamp = _lamp(goal, scene)
    unseen = scene.unexplored()
    for name in missing(goal, scene):  # two of a kind are looked for one after the other
        if not unseen:
            return None
        belief = believe(name, scene.receptacles)
        place = max(unseen, key=lambda place: belief[place])
        if name == goal.lamp:
            lamp = (name, place)
        else:
            things[name] = place
    tool = next((p for p in scene.receptacles if kind(p) == TOOLS.get(goal.state)), "")
    return _Supposed(things, lamp, target, tool)


def _lamp(goal: Goal, scene: Scene) -> tuple[str, str] | None:
    """A lamp of the kind that the goal names, with its place."""
    lamps = ((name, scene.where(name)) for name in scene.found(goal.lamp)) if goal.lamp else ()
    return next(((name, place) for name, place in lamps if place), None)


def _there(goal: Goal, scene: Scene, place: str) -> int:
    """How much speaks for a place as the target: what is there already, then being there."""
    right = [n for n in scene.contents.get(place, ()) if _done(goal, scene, n, place) == 3]
    return 4 * len(right) + 2 * (place == scene.at) + (place in scene.contents)


def _done(goal: Goal, scene: Scene, name: str, target: str) -> int:
    """How far a thing is: in place and in its state, held, in its state, or merely seen."""
    right = not goal.state or goal.state in scene.states.get(name, ())
    if right and target and name in scene.contents.get(target, ()):
        return 3
    return 2 if name == scene.held else int(right)


def _wanted(goal: Goal, supposed: _Supposed) -> Iterator[str]:
    for thing, place in supposed.things.items():
        if place is not None:
            yield f"{place} seen"  # what is only supposed to be there has to turn up
        if supposed.target:
            yield f"{thing} in {supposed.target}"
        else:
            yield f"holding {thing}"
        if goal.state:
            yield f"{thing} {goal.state}"
    if supposed.lamp is not None:
        yield f"{supposed.lamp[0]} lit"
        yield f"at {supposed.lamp[1]}"


def _moves(scene: Scene, places: list[str]) -> Iterator[dict[str, Any]]:
    everywhere = [f"at {place}" for place in (*places, scene.at or "middle")]
    for place in places:
        here, away = f"at {place}", f"away from {place}"
        yield {
            "name": f"go to {place}",
            "preconditions": [away],
            "add": [
                here,
                *([] if scene.shut.get(place) else [f"{place} seen"]),
                *(f"away from {other}" for other in places if other != place),
            ],
            "delete": [away, *(fact for fact in everywhere if fact != here)],
        }
        if place not in scene.contents:
            yield {
                "name": f"examine {place}",
                "preconditions": [here, f"{place} open"],
                "add": [f"{place} seen"],
            }
        if scene.shut.get(place):
            yield {
                "name": f"open {place}",
                "preconditions": [here, f"{place} closed"],
                "add": [f"{place} open", f"{place} seen"],
                "delete": [f"{place} closed"],
            }


def _handling(
    goal: Goal, scene: Scene, supposed: _Supposed, places: list[str]
) -> Iterator[dict[str, Any]]:
    things = list(dict.fromkeys([*supposed.things, *([scene.held] if scene.held else [])]))
    for thing in things:
        holding = f"holding {thing}"
        for place in places:
            here = [f"at {place}", f"{place} open", f"{place} seen"]
            inside = f"{thing} in {place}"
            yield {
                "name": f"take {thing} from {place}",
                "preconditions": [*here, inside, _FREE],
                "add": [holding],
                "delete": [inside, _FREE],
            }
            yield {
                "name": f"move {thing} to {place}",
                "preconditions": [*here, holding],
                "add": [inside, _FREE],
                "delete": [holding],
            }
        if supposed.tool:
            yield {
                "name": f"{VERBS[goal.state]} {thing} with {supposed.tool}",
                "preconditions": [f"at {supposed.tool}", holding],
                "add": [f"{thing} {goal.state}"],
            }
    if supposed.lamp is not None:
        lamp, place = supposed.lamp
        yield {
            "name": f"use {lamp}",
            "preconditions": [f"at {place}", f"{place} open", f"{place} seen"],
            "add": [f"{lamp} lit"],
        }
