"""What an action looks like against the mission and what was seen; it knows what the agent knows.

The clause that counts is the first that the plan has not carried out. Its thing is what it speaks
of now: to put one thing next to another, the first until it is carried, then the second.
"""

from __future__ import annotations

import re
from functools import lru_cache

from amp.benchmarks.babyai.mission import (
    Clause,
    Description,
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
from amp.execute.choice_looks import choice_looks
from amp.types import Candidate, StepContext, StepRecord

_SUBGOAL = re.compile(
    r"(go to|pick up|open|drop|put) the (?:locked )?(\w+) (key|ball|box|door)"
    r"(?: next to the (?:locked )?(\w+) (key|ball|box|door))?(?: (\d.*))?"
)
_DONE = {"go to": "You went", "pick up": "You picked", "open": "You opened", "put": "You put"}
_CACHED_STATES = 512


def plausibility(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """`choice_looks`, and what the mission and the state tell of the action.

    Of any: ``carries``, ``goal_seen`` (the thing that counts now is in sight or carried). Of a
    subgoal: ``explores``, ``explores_in_vain`` (with that thing in sight), ``names_goal``,
    ``strays`` (names another although that is in sight), ``farther`` (how many such things are
    nearer), ``fulfils`` (does what the clause asks), ``key`` (names one that fits a locked door in
    sight), ``locked_out`` (names a locked door whose key is not carried), ``puts_away`` (lets go of
    what is carried), ``puts_goal_away``. Of a primitive action: ``in_vain`` (nothing can come of
    it), ``turns_back`` (undoes the last turn), ``towards`` and ``away`` (where that thing lies).
    """
    looks = choice_looks(context, candidate)
    action, parts = candidate.action, clauses(context.task.goal)
    if action is None or not looks:
        return looks
    seen = _sightings(context.observation.state)
    carried = next((one.thing for one in seen if one.carried), None)
    wanted = _wanted(parts, context.steps, carried)
    fitting = [one for one in seen if wanted is not None and wanted[1].matches(one.thing)]
    looks |= {"carries": float(carried is not None), "goal_seen": float(bool(fitting))}
    if action in PRIMITIVES:
        return looks | _of_primitive(action, context, carried, fitting)
    return looks | _of_subgoal(action, seen, carried, wanted, fitting)


@lru_cache(maxsize=_CACHED_STATES)
def _sightings(state: str) -> tuple[Sighting, ...]:
    """The things seen, remembered and carried; the nearest first."""
    return tuple(filter(None, map(sighting_in, state.splitlines())))


def _wanted(
    parts: tuple[Clause, ...], steps: tuple[StepRecord, ...], carried: Thing | None
) -> tuple[Clause, Description] | None:
    """The first clause that is left, and the thing that it is about now; None if none is left."""
    left = list(parts)
    for step in steps:
        done = _SUBGOAL.match(step.action or "")
        if (
            left
            and done is not None
            and done[1] == left[0].verb
            and left[0].target.matches(Thing(done[3], done[2]))
            and step.feedback.startswith(_DONE[left[0].verb])
        ):
            del left[0]
    if not left:
        return None
    clause = left[0]
    if clause.beside is not None and carried is not None and clause.target.matches(carried):
        return clause, clause.beside
    return clause, clause.target


def _of_subgoal(
    action: str,
    seen: tuple[Sighting, ...],
    carried: Thing | None,
    wanted: tuple[Clause, Description] | None,
    fitting: list[Sighting],
) -> dict[str, float]:
    locked = [one.thing.color for one in seen if one.thing.state == "locked"]
    looks = {
        "explores": float(action == EXPLORE),
        "explores_in_vain": float(action == EXPLORE and bool(fitting)),
    }
    parts = _SUBGOAL.fullmatch(action)
    if parts is None:
        return looks
    verb, place = parts[1], parts[6]
    thing = Thing(parts[5], parts[4]) if parts[5] else Thing(parts[3], parts[2])
    is_goal = wanted is not None and wanted[1].matches(thing)
    lets_go = verb in ("drop", "put")
    is_locked = " the locked " in action
    nearer = [one.place for one in fitting if not one.carried]
    return looks | {
        "names_goal": float(is_goal),
        "strays": float(bool(fitting) and not is_goal),
        "farther": float(nearer.index(place)) if is_goal and place in nearer else 0.0,
        "fulfils": float(is_goal and wanted is not None and verb == wanted[0].verb),
        "key": float(thing.kind == "key" and thing.color in locked),
        "locked_out": float(is_locked and carried != Thing("key", thing.color)),
        "puts_away": float(lets_go),
        "puts_goal_away": float(
            verb == "drop"
            and carried is not None
            and wanted is not None
            and wanted[0].target.matches(carried)
        ),
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
