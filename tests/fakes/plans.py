"""Blocks and packages simulated on their own, to hold the validator of plans to."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

Call = tuple[str, ...]
"""An action and its objects."""

COLOURS = ("red", "blue", "orange", "yellow", "white", "magenta")


@dataclass(frozen=True)
class Blocks:
    """Towers of blocks, each from the table up, and what the hand holds."""

    towers: frozenset[tuple[str, ...]]
    held: str | None = None

    def after(self, call: Call) -> Blocks | None:
        """The blocks after an action; None where it can't be done."""
        tower = {block: t for t in self.towers for block in t}
        match call:
            case ("pick-up", x) if self.held is None and tower.get(x) == (x,):
                return Blocks(self.towers - {(x,)}, x)
            case ("put-down", x) if self.held == x:
                return Blocks(self.towers | {(x,)})
            case ("stack", x, y) if self.held == x and tower.get(y, ("",))[-1] == y:
                return Blocks(self.towers - {tower[y]} | {(*tower[y], x)})
            case ("unstack", x, y) if self.held is None and tower.get(x, ())[-2:] == (y, x):
                return Blocks(self.towers - {tower[x]} | {tower[x][:-1]}, x)
        return None

    def facts(self) -> list[Call]:
        """What holds, in the order in which PlanBench states it."""
        towers = sorted(self.towers)
        return [
            *(("clear", t[-1]) for t in towers),
            ("handempty",) if self.held is None else ("holding", self.held),
            *(("on", x, y) for t in towers for y, x in pairwise(t)),
            *(("ontable", t[0]) for t in towers),
        ]

    def calls(self) -> list[Call]:
        """All actions on these blocks, most of which can't be done."""
        names = sorted({block for t in self.towers for block in t} | {self.held or "a"})
        return [
            *((name, x) for name in ("pick-up", "put-down") for x in names),
            *((name, x, y) for name in ("stack", "unstack") for x in names for y in names),
        ]


def blocks(rng: random.Random, most: int = 5) -> Blocks:
    """Some blocks in towers; the hand is empty."""
    towers: list[tuple[str, ...]] = []
    for block in rng.sample("abcdef"[:most], rng.randint(2, most)):
        if towers and rng.random() < 0.5:
            towers[-1] += (block,)
        else:
            towers.append((block,))
    return Blocks(frozenset(towers))


@dataclass(frozen=True)
class Deliveries:
    """Where packages and vehicles are; a city has the locations l0-0 (its airport), l0-1, ..."""

    cities: int = 2
    locations: int = 2
    where: tuple[tuple[str, str], ...] = field(default=())

    def after(self, call: Call) -> Deliveries | None:
        """What is where after an action; None where it can't be done."""
        at = dict(self.where)
        match call:
            case (("load-truck" | "load-airplane") as verb, p, v, place):
                fits = p[0] == "p" and v[0] == verb[5] and at.get(p) == place == at.get(v)
                moved, to = p, v
            case (("unload-truck" | "unload-airplane") as verb, p, v, place):
                fits = v[0] == verb[7] and p[0] == "p" and at.get(p) == v and at.get(v) == place
                moved, to = p, place
            case ("drive-truck", t, start, to, city):
                ours = to in self.places() and start[:2] == to[:2] == f"l{city[1:]}"
                fits, moved = ours and t[0] == "t" and city[0] == "c" and at.get(t) == start, t
            case ("fly-airplane", a, start, to):
                airports = {start, to} <= set(self.places()) and start[2:] == to[2:] == "-0"
                fits, moved = airports and a[0] == "a" and at.get(a) == start, a
            case _:
                return None
        return replace(self, where=tuple(sorted((at | {moved: to}).items()))) if fits else None

    def places(self) -> list[str]:
        return [f"l{c}-{n}" for c in range(self.cities) for n in range(self.locations)]

    def facts(self) -> list[Call]:
        """What holds, in the order in which PlanBench states it."""
        return [
            *(("airport", f"l{c}-0") for c in range(self.cities)),
            *(("in" if to[0] in "ta" else "at", x, to) for x, to in self.where),
            *(("in-city", place, f"c{place[1]}") for place in self.places()),
        ]

    def calls(self) -> list[Call]:
        """All actions of these things, most of which can't be done, and some with wrong ones."""
        things = [x for x, _ in self.where]
        places, cities = self.places(), [f"c{c}" for c in range(self.cities)]
        loads = ("load-truck", "load-airplane", "unload-truck", "unload-airplane")
        return [
            *((name, p, v, at) for name in loads for p in things for v in things for at in places),
            *(
                ("drive-truck", t, a, b, c)
                for t in things
                for a in places
                for b in places
                for c in cities
            ),
            *(("fly-airplane", v, a, b) for v in things for a in places for b in places),
        ]


def deliveries(rng: random.Random) -> Deliveries:
    """A truck in each city, an airplane, and a package."""
    world = Deliveries()
    things = [f"t{c}" for c in range(world.cities)] + ["a0", "p0"]
    where = {x: rng.choice(world.places()) for x in things}
    where |= {f"t{c}": f"l{c}-{rng.randrange(world.locations)}" for c in range(world.cities)}
    where |= {"a0": rng.choice(("l0-0", "l1-0"))}
    return replace(world, where=tuple(sorted(where.items())))


def walk(
    world: Blocks | Deliveries, rng: random.Random, steps: int
) -> tuple[list[Call], Blocks | Deliveries]:
    """Actions that can be done one after the other, and where they lead."""
    plan = []
    for _ in range(steps):
        possible = [(c, after) for c in world.calls() if (after := world.after(c)) is not None]
        call, world = rng.choice(possible)
        plan.append(call)
    return plan, world


WORDS = {
    "blocksworld": {
        "clear": "the {} block is clear",
        "handempty": "the hand is empty",
        "holding": "the hand is currently holding {} block",
        "on": "the {} block is on top of the {} block",
        "ontable": "the {} block is on the table",
    },
    "mystery_blocksworld": {
        "clear": "province object {}",
        "handempty": "harmony",
        "holding": "pain object {}",
        "on": "object {} craves object {}",
        "ontable": "planet object {}",
        "pick-up": "attack",
        "put-down": "succumb",
        "stack": "overcome",
        "unstack": "feast",
    },
    "obfuscated_blocksworld": {
        "clear": "tv30k33pzoulql6w object_{}",
        "handempty": "cql4o62p1yeke3ok",
        "holding": "a46zhwykn6jvbabk object_{}",
        "on": "b6e9q4r60gagvdcn object_{} object_{}",
        "ontable": "af9tse23ljclsqad object_{}",
        "pick-up": "u64y1a9apusmslxb",
        "put-down": "kip9uw781pv62umn",
        "stack": "j4gv801gnu2it0yj",
        "unstack": "wio5amhq7814n006",
    },
    "logistics": {
        "airport": "{} is an airport",
        "at": "{} is at {}",
        "in": "{} is in {}",
        "in-city": "{} is in the city {}",
    },
}
"""How each kind of problem says what, and calls its actions."""
KINDS = {"p": "package_", "t": "truck_", "a": "airplane_", "l": "location_", "c": "city_"}


def statement(domain: str, init: Iterable[Call], goal: Iterable[Call]) -> str:
    """The problem in the words of PlanBench."""

    def named(thing: str) -> str:
        match domain:
            case "blocksworld":
                return COLOURS[ord(thing) - ord("a")]
            case "obfuscated_blocksworld":
                return str(ord(thing) - ord("a"))
            case "logistics":
                return KINDS[thing[0]] + thing[1:].replace("-", "_")
        return thing

    def listed(facts: Iterable[Call]) -> str:
        *most, last = (WORDS[domain][f[0]].format(*map(named, f[1:])) for f in facts)
        return f"{', '.join(most)} and {last}" if most else last

    return (
        f"As initial conditions I have that, {listed(init)}.\n"
        f"My goal is to have that {listed(goal)}."
    )


def written(domain: str, plan: Sequence[Call]) -> str:
    """The plan in the form of PDDL."""

    def named(thing: str) -> str:
        return f"o{ord(thing) - ord('a')}" if domain == "obfuscated_blocksworld" else thing

    names = WORDS[domain]
    return " ".join(f"({' '.join((names.get(c[0], c[0]), *map(named, c[1:])))})" for c in plan)
