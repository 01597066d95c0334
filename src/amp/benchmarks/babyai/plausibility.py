"""What an action looks like against the mission and what was seen; it knows what the agent knows.

What counts now is the first clause that the plan has not carried out, and of that what comes first:
what shall be put beside something has to be picked up, and a locked door needs its key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from amp.benchmarks.babyai.mission import (
    Clause,
    Description,
    MissionVerb,
    Sighting,
    ahead_in,
    clauses,
    sighting_in,
)
from amp.benchmarks.babyai.path_finder import EXPLORE
from amp.benchmarks.babyai.world import (
    DROP,
    GO_FORWARD,
    PICK_UP,
    PRIMITIVES,
    TOGGLE,
    TURN_LEFT,
    TURN_RIGHT,
    Thing,
)
from amp.execute.choice_step import choice_looks
from amp.types import Candidate, StepContext, StepRecord

_SUBGOAL = re.compile(
    r"(go to|pick up|open|drop|put) the (?:locked )?(\w+) (key|ball|box|door)"
    r"(?: next to the (?:locked )?(\w+) (key|ball|box|door))?(?: (\d.*))?"
)
_DONE = {"go to": "You went", "pick up": "You picked", "open": "You opened", "put": "You put"}
_CACHED_STATES = 512


@dataclass(frozen=True, slots=True)
class _Need:
    """What has to be done next, as far as the mission tells: a verb and the thing to do it to."""

    verb: MissionVerb
    thing: Description


def plausibility(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """`choice_looks`, and what the mission and the state tell of the action.

    Of any: ``carries``; ``hindered``, by carrying what is not needed where something has to be
    picked up; ``goal_seen``, the thing that counts now is in sight or carried. Of a subgoal:
    ``names_goal`` (that thing), ``fulfils`` (does what has to be done with it), ``strays`` (names
    another although it is in sight), ``farther`` (how many such things are nearer), ``explores``,
    ``explores_in_vain`` (with that thing in sight), ``takes_other`` (picks another up), ``key``
    (names one that fits a locked door in sight), ``locked_out`` (names a locked door without its
    key), ``frees`` (lets go of what hinders), ``loses`` (of what is needed), ``puts_other`` (next
    to something, though that is not to be done). Of a primitive action: ``in_vain`` (nothing can
    come of it), ``turns_back`` (undoes the last turn), ``towards`` and ``away`` (where the thing
    that counts lies).
    """
    looks = choice_looks(context, candidate)
    action = candidate.action
    if action is None or not looks:
        return looks
    seen = _sightings(context.observation.state)
    carried = next((one.thing for one in seen if one.carried), None)
    need = _need(_left(clauses(context.task.goal), context.steps), seen, carried)
    fitting = [one for one in seen if need is not None and need.thing.matches(one.thing)]
    hindered = carried is not None and need is not None and need.verb == "pick up"
    looks |= {
        "carries": float(carried is not None),
        "hindered": float(hindered),
        "goal_seen": float(bool(fitting)),
    }
    if action in PRIMITIVES:
        return looks | _of_primitive(action, context, carried, fitting)
    return looks | _of_subgoal(action, seen, carried, need, fitting)


@lru_cache(maxsize=_CACHED_STATES)
def _sightings(state: str) -> tuple[Sighting, ...]:
    """The things seen, remembered and carried; the nearest first."""
    return tuple(filter(None, map(sighting_in, state.splitlines())))


def _left(parts: tuple[Clause, ...], steps: tuple[StepRecord, ...]) -> tuple[Clause, ...]:
    """The clauses that the plan has not carried out."""
    done = 0
    for step in steps:
        if done == len(parts):
            break
        clause, did = parts[done], _SUBGOAL.match(step.action or "")
        done += (
            did is not None
            and did[1] == clause.verb
            and clause.target.matches(Thing(did[3], did[2]))
            and step.feedback.startswith(_DONE[clause.verb])
        )
    return parts[done:]


def _need(
    left: tuple[Clause, ...], seen: tuple[Sighting, ...], carried: Thing | None
) -> _Need | None:
    """What the first of the clauses takes next; None if none is left.

    What is to be put beside something has to be picked up first, and so has the key of a door.
    """
    if not left:
        return None
    clause = left[0]
    if clause.beside is not None:
        if carried is not None and clause.target.matches(carried):
            return _Need("put", clause.beside)
        return _Need("pick up", clause.target)
    if clause.verb == "open":
        door = next((one.thing for one in seen if clause.target.matches(one.thing)), None)
        if door is not None and door.state == "locked" and carried != Thing("key", door.color):
            return _Need("pick up", Description(door.color, "key"))
    return _Need(clause.verb, clause.target)


def _of_subgoal(
    action: str,
    seen: tuple[Sighting, ...],
    carried: Thing | None,
    need: _Need | None,
    fitting: list[Sighting],
) -> dict[str, float]:
    looks = {
        "explores": float(action == EXPLORE),
        "explores_in_vain": float(action == EXPLORE and bool(fitting)),
    }
    parts = _SUBGOAL.fullmatch(action)
    if parts is None:
        return looks
    verb, place = parts[1], parts[6]
    thing = Thing(parts[5], parts[4]) if parts[5] else Thing(parts[3], parts[2])
    is_goal = need is not None and need.thing.matches(thing)
    fulfils = is_goal and need is not None and verb == need.verb
    hindered = carried is not None and need is not None and need.verb == "pick up"
    lets_go = verb in ("drop", "put")
    locked = [one.thing.color for one in seen if one.thing.state == "locked"]
    nearer = [one.place for one in fitting if not one.carried]
    return looks | {
        "names_goal": float(is_goal),
        "fulfils": float(fulfils),
        "strays": float(bool(fitting) and not is_goal and not (lets_go and hindered)),
        "farther": float(nearer.index(place)) if is_goal and place in nearer else 0.0,
        "takes_other": float(verb == "pick up" and not fulfils),
        "key": float(thing.kind == "key" and thing.color in locked),
        "locked_out": float(" the locked " in action and carried != Thing("key", thing.color)),
        "frees": float(lets_go and hindered),
        "loses": float(lets_go and not hindered and not fulfils),
        "puts_other": float(verb == "put" and not fulfils),
    }


_BACK = {TURN_LEFT: TURN_RIGHT, TURN_RIGHT: TURN_LEFT}
_WAYS = {TURN_LEFT: "left", TURN_RIGHT: "right", GO_FORWARD: "forward"}


def _of_primitive(
    action: str, context: StepContext, carried: Thing | None, fitting: list[Sighting]
) -> dict[str, float]:
    ahead = ahead_in(context.observation.state)
    words = ahead.split()
    can_be_taken = words[-1] in ("key", "ball", "box")
    can_do = {
        GO_FORWARD: ahead == "free" or words[0] == "open",
        PICK_UP: can_be_taken and carried is None,
        DROP: ahead == "free" and carried is not None,
        TOGGLE: words[-1] in ("door", "box"),
    }
    looks = {
        "in_vain": float(not can_do.get(action, True)),
        "turns_back": float(
            bool(context.steps) and context.steps[-1].action == _BACK.get(action, "")
        ),
    }
    if fitting and action in _WAYS:
        place = fitting[0].place
        looks["towards"] = float(_WAYS[action] in place)
        looks["away"] = float(
            _WAYS.get(_BACK.get(action, ""), "behind") in place and not looks["towards"]
        )
    return looks
