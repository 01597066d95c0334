"""ALFWorld's symbolic planner: plans for the room as it is believed to be.

What was seen holds; what was not seen is supposed to be where belief puts it. So a STRIPS problem
is made for the room as it is believed to be, the first step of its plan is taken, and what is seen
then corrects belief, as in LLM-DP (Dagan et al., 2023, "Dynamic Planning with a LLM"). Where an
unseen thing may be, the base model says, or a table, or chance; which of them is the tool's name.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amp.benchmarks.alfworld.prompts import where
from amp.benchmarks.alfworld.scene import TOOLS, VERBS, Goal, Scene, kind, read_facts
from amp.execute.base import Question, Tool
from amp.execute.choice_step import labels_for
from amp.execute.tools.symbolic_planner import SymbolicPlannerTool
from amp.types import StepContext, Task

Belief = Callable[[str, Sequence[str]], Mapping[str, float]]
"""Takes the kind of a thing and the names of all places of a room; gives each place's probability
before any was looked into, which add up to 1.

What a model says is such a function, too, made from its answer to the question where things of this
kind are.
"""

_FOOD = ("fridge", "countertop", "diningtable", "sinkbasin", "microwave", "garbagecan")
_DISHES = ("countertop", "cabinet", "diningtable", "sinkbasin", "shelf", "drawer", "fridge")
_CUTLERY = ("drawer", "countertop", "diningtable", "sinkbasin", "sidetable")
_SEASONING = ("countertop", "cabinet", "diningtable", "drawer", "shelf", "sidetable")
_BATHROOM = ("countertop", "sinkbasin", "toilet", "cabinet", "bathtubbasin", "garbagecan", "shelf")
_TOWELS = ("towelholder", "handtowelholder", "countertop", "bathtubbasin", "sinkbasin", "cabinet")
_DESK = ("desk", "sidetable", "dresser", "shelf", "drawer", "coffeetable", "diningtable", "bed")
_LIVING = ("sofa", "coffeetable", "sidetable", "armchair", "tvstand", "dresser", "diningtable")
_SOFT = ("bed", "sofa", "armchair", "dresser")

_USUAL: Mapping[str, tuple[str, ...]] = (
    dict.fromkeys(("apple", "bread", "egg", "lettuce", "potato", "tomato"), _FOOD)
    | dict.fromkeys(("bowl", "cup", "glassbottle", "mug", "plate", "winebottle"), _DISHES)
    | dict.fromkeys(("kettle", "pan", "pot"), ("stoveburner", *_DISHES))
    | dict.fromkeys(("butterknife", "fork", "knife", "ladle", "spatula", "spoon"), _CUTLERY)
    | dict.fromkeys(("peppershaker", "saltshaker"), _SEASONING)
    | dict.fromkeys(("candle", "cloth", "dishsponge", "plunger", "scrubbrush"), _BATHROOM)
    | dict.fromkeys(("soapbar", "soapbottle", "spraybottle"), _BATHROOM)
    | dict.fromkeys(("tissuebox", "toiletpaper"), ("toiletpaperhanger", *_BATHROOM))
    | dict.fromkeys(("handtowel", "towel"), _TOWELS)
    | dict.fromkeys(("alarmclock", "book", "cd", "cellphone", "laptop", "pen", "pencil"), _DESK)
    | dict.fromkeys(("desklamp", "baseballbat", "basketball", "tennisracket"), _DESK)
    | dict.fromkeys(("box", "newspaper", "remotecontrol", "statue", "vase"), _LIVING)
    | dict.fromkeys(("creditcard", "keychain", "watch", "wateringcan"), (*_LIVING, *_DESK))
    | dict.fromkeys(("pillow", "teddybear"), _SOFT)
)
"""Kinds of places of a kind of thing, the likeliest first. Written for this, not measured."""


def common_sense(thing: str, places: Sequence[str]) -> Mapping[str, float]:
    """Belief by a small table: the n-th usual kind of place has weight 1 / n, any other 1 / 20.

    The weight is that of all places of the kind together, so that one sofa outweighs one of ten
    drawers.
    """
    usual = {name: 1.0 / (n + 1) for n, name in enumerate(dict.fromkeys(_USUAL.get(thing, ())))}
    kinds = [kind(place) for place in places]
    return _normal(
        {
            place: usual.get(name, 0.05) / kinds.count(name)
            for place, name in zip(places, kinds, strict=True)
        }
    )


def random_belief(seed: str) -> Belief:
    """Returns a belief that is drawn at random, the same for the same seed, thing and places."""

    def believe(thing: str, places: Sequence[str]) -> Mapping[str, float]:
        rng = random.Random(f"{seed} {thing} {' '.join(places)}")
        return _normal({place: rng.random() for place in places})

    return believe


def belief_by_kind(weights: Mapping[str, Mapping[str, float]]) -> Belief:
    """Returns the belief that follows from what a model says of kinds of places.

    Args:
        weights: for a kind of thing a weight, at least 0, of each kind of place; a kind of place
            that is missing weighs nothing. Of a thing without any weight all places are alike.
    """

    def believe(thing: str, places: Sequence[str]) -> Mapping[str, float]:
        kinds = [kind(place) for place in places]
        known = weights.get(thing, {})
        shares = {
            place: known.get(name, 0.0) / kinds.count(name)
            for place, name in zip(places, kinds, strict=True)
        }
        return _normal(shares if any(shares.values()) else dict.fromkeys(places, 1.0))

    return believe


def _normal(weights: Mapping[str, float]) -> Mapping[str, float]:
    total = sum(weights.values())
    return {place: weight / total for place, weight in weights.items()}


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


def planning_problem(goal: Goal, scene: Scene, believe: Belief) -> Mapping[str, Any] | None:
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
    candidates = sorted(
        scene.found(goal.object), key=lambda name: -_done(goal, scene, name, target)
    )
    things: dict[str, str | None] = {
        name: None if name == scene.held else scene.where(name) for name in candidates[: goal.count]
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


class RoomPlannerTool(SymbolicPlannerTool):
    """Supposes where the things are that the goal needs and that were not seen, then plans.

    Its questions are put to the base model as long as such a thing is missing. They name all kinds
    of places in the room, so they stay the same during an episode, and what was searched in vain is
    ruled out afterwards.

    Args:
        name: its name.
        source: where its beliefs come from, for its description.
        believe: returns the beliefs for a task; None to ask the base model.
    """

    def __init__(
        self, name: str, source: str, believe: Callable[[Task], Belief] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.description = f"plans for the goal; where unseen things may be is known from {source}"
        self._believe = believe

    def questions(self, context: StepContext) -> tuple[Question, ...]:
        """Asks for each kind of thing that is missing at which kind of place it is."""
        known = context.observation.symbols
        if self._believe is not None or known is None:
            return ()
        goal, scene = read_facts(known)
        kinds = _kinds(scene)
        labels = labels_for(len(kinds))
        return tuple(Question(where(thing, kinds), labels) for thing in missing(goal, scene))

    def informed(
        self, context: StepContext, answers: Sequence[Sequence[float] | None]
    ) -> StepContext:
        """Returns the step with a STRIPS problem for its facts; none if all was searched in vain.

        A thing about which the model had no answer may be anywhere.
        """
        known = context.observation.symbols
        if known is None:
            return context
        goal, scene = read_facts(known)
        if self._believe is not None:
            believe = self._believe(context.task)
        else:
            kinds = _kinds(scene)
            believe = belief_by_kind(
                {
                    thing: dict(zip(kinds, answer, strict=True)) if answer else {}
                    for thing, answer in zip(missing(goal, scene), answers, strict=True)
                }
            )
        stated = planning_problem(goal, scene, believe)
        return replace(context, observation=replace(context.observation, symbols=stated))


def planner_tools() -> Mapping[str, Tool]:
    """Returns the planner with each source of beliefs, by name."""
    tools = (
        RoomPlannerTool("symbolic_planner", "the base model"),
        RoomPlannerTool(
            "symbolic_planner_random",
            "chance",
            lambda task: random_belief(f"{task.id} {task.seed}"),
        ),
        RoomPlannerTool("symbolic_planner_table", "a table", lambda _: common_sense),
    )
    return {tool.name: tool for tool in tools}


def _kinds(scene: Scene) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind(place) for place in scene.receptacles))
