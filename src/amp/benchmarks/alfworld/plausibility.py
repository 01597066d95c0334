"""What a command looks like against the goal and what was seen of the room."""

from __future__ import annotations

import re

from amp.benchmarks.alfworld.scene import TOOLS, VERBS, kind, read_facts
from amp.execute.choice_step import choice_looks
from amp.types import Candidate, StepContext

_COMMAND = re.compile(r"([a-z]+)(?: to)?(?: ([a-z]+ \d+))?(?: [a-z/]+ ([a-z]+ \d+))?")


def plausibility(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """`choice_looks`, and what goal and room tell of the command, where the goal is understood.

    ``holds`` and ``holds_other``: whether the agent has a thing that is asked for, or another.
    ``found``: share of such things that were seen. ``searches``: looks into a place that is new;
    ``searches_in_vain``: although all were seen. ``takes`` and ``takes_other``: such a thing, or
    another. ``puts``: it, with its state, where it shall be; ``puts_elsewhere``: anything else.
    ``changes``: brings about the state that is asked for; ``changes_other``: another. ``lights``:
    the lamp that is asked for; ``lights_early``: without the thing in hand. ``goes_on``: goes where
    what is held is needed next; ``goes_to_it``: to a thing that is asked for, with free hands.
    """
    looks = choice_looks(context, candidate)
    parts = _COMMAND.fullmatch(candidate.action or "")
    symbols = context.observation.symbols
    if parts is None or not looks or symbols is None:
        return looks
    goal, scene = read_facts(symbols)
    verb, name, place = parts[1], parts[2] or "", parts[3] or ""
    held = scene.held or ""
    has_it = kind(held) == goal.object
    done = not goal.state or goal.state in scene.states.get(held, ())
    found = min(1.0, len(scene.found(goal.object)) / goal.count)
    is_object = kind(name) == goal.object
    is_put = verb in ("put", "move")
    fits = is_put and is_object and done and kind(place) == goal.place != ""
    is_new = verb in ("go", "open", "examine") and name in scene.unexplored()
    changes = verb in VERBS.values()
    lights = verb == "use"
    next_place = goal.place if done else TOOLS.get(goal.state, "")
    waiting = [
        where
        for thing in scene.found(goal.object)
        if (where := scene.where(thing)) is not None and kind(where) != goal.place
    ]
    return looks | {
        "holds": float(has_it),
        "holds_other": float(bool(held) and not has_it),
        "found": found,
        "searches": float(is_new),
        "searches_in_vain": float(is_new and found == 1.0),
        "takes": float(verb == "take" and is_object),
        "takes_other": float(verb == "take" and not is_object),
        "puts": float(fits),
        "puts_elsewhere": float(is_put and not fits),
        "changes": float(changes and is_object and verb == VERBS.get(goal.state)),
        "changes_other": float(changes and not (is_object and verb == VERBS.get(goal.state))),
        "lights": float(lights and kind(name) == goal.lamp),
        "lights_early": float(lights and not has_it),
        "goes_on": float(verb == "go" and has_it and kind(name) == next_place),
        "goes_to_it": float(verb == "go" and not held and name in waiting),
    }
