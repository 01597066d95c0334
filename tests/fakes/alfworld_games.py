"""A kitchen written by hand: a game, with the domain and grammar that ALFWorld brings."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path

GAME = "train/pick_heat_then_place_in_recep-Apple-None-Fridge-1/trial_by_hand"

_PLACES = {
    "CounterTop_bar_1": ("CounterTopType", "loc_1"),
    "Cabinet_bar_1": ("CabinetType", "loc_2"),
    "Microwave_bar_1": ("MicrowaveType", "loc_3"),
    "Fridge_bar_1": ("FridgeType", "loc_4"),
    "Shelf_bar_1": ("ShelfType", "loc_5"),
    "Shelf_bar_2": ("ShelfType", "loc_5"),
}
_OPENABLE = ("Cabinet_bar_1", "Microwave_bar_1", "Fridge_bar_1")
_THINGS = {
    "Apple_bar_1": ("AppleType", "Cabinet_bar_1"),
    "Apple_bar_2": ("AppleType", "Shelf_bar_2"),
    "Mug_bar_1": ("MugType", "CounterTop_bar_1"),
}


def problem() -> str:
    """The room in PDDL: an apple in a closed cabinet, another on a shelf beside a shelf."""
    kinds = sorted({kind for kind, _ in _PLACES.values()})
    things = sorted({kind for kind, _ in _THINGS.values()})
    locations = ["loc_0", *sorted({place for _, place in _PLACES.values()})]
    facts = ["(atLocation agent1 loc_0)"]
    for name, (kind, location) in _PLACES.items():
        facts += [f"(receptacleType {name} {kind})", f"(receptacleAtLocation {name} {location})"]
        facts += [f"(canContain {kind} {thing})" for thing in things]
    facts += [f"(openable {name})" for name in _OPENABLE]
    for name, (kind, place) in _THINGS.items():
        facts += [
            f"(objectType {name} {kind})",
            f"(inReceptacle {name} {place})",
            f"(objectAtLocation {name} {_PLACES[place][1]})",
            f"(pickupable {name})",
            f"(heatable {name})",
            f"(coolable {name})",
            f"(cleanable {name})",
        ]
    return f"""
(define (problem by_hand) (:domain alfred)
  (:objects agent1 - agent {" ".join(locations)} - location {" ".join(_PLACES)} - receptacle
    {" ".join(_THINGS)} - object {" ".join(kinds)} - rtype {" ".join(things)} - otype)
  (:init {" ".join(facts)} (= (total-cost) 0))
  (:goal (exists (?r - receptacle ?o - object)
    (and (heatable ?o) (objectType ?o AppleType) (receptacleType ?r FridgeType) (isHot ?o)
         (inReceptacle ?o ?r)))))
"""


def write(data: Path, name: str = GAME) -> Path:
    """Writes the game into a data directory as `alfworld-download` would, and returns its file."""
    brought = importlib.resources.files("alfworld") / "data"
    grammar = (brought / "alfred.twl2").read_text()
    game = {
        "pddl_domain": (brought / "alfred.pddl").read_text(),
        "grammar": grammar.replace("UNKNOWN GOAL", "put a hot apple in fridge"),
        "pddl_problem": problem(),
        "solvable": True,
        "walkthrough": ["go to shelf 2"],
    }
    file = data / "json_2.1.1" / name / "game.tw-pddl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(game))
    return file
