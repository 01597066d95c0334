"""What is known of a room as plain JSON: `Observation.symbols` of ALFWorld.

Only what was seen, nothing that anybody supposes: that is for the tool that plans on it
(`amp.benchmarks.alfworld.planner_tool`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from amp.benchmarks.alfworld.goal import Goal
from amp.benchmarks.alfworld.scene import Scene


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
