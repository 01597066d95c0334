"""Where a thing that was not seen yet may be: by common sense, by chance, or as a model says."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from amp.benchmarks.alfworld.scene import kind

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


def chance(seed: str) -> Belief:
    """Returns a belief that is drawn at random, the same for the same seed, thing and places."""

    def believe(thing: str, places: Sequence[str]) -> Mapping[str, float]:
        rng = random.Random(f"{seed} {thing} {' '.join(places)}")
        return _normal({place: rng.random() for place in places})

    return believe


def by_kind(weights: Mapping[str, Mapping[str, float]]) -> Belief:
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
