"""Two small environments that nothing in amp was chosen on: a van with a parcel, and a kitchen.

Both list their actions, are deterministic, and have as many tasks as are asked for, from easy to
hard: task n of a split is the same always.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from amp.types import Observation, Task, Transition

TOWNS = ("Ash", "Birk", "Crow", "Dale", "Elm", "Fen")


@dataclass
class Van:
    """A van that fetches a parcel and brings it where it has to go, in towns along one road."""

    road: Sequence[str] = ()
    goal: str = ""
    place: str = ""
    parcel: str = ""

    def reset(self, task: Task) -> Observation:
        self.road, self.goal = task.data["road"], task.data["goal"]
        self.place, self.parcel = task.data["start"], task.data["parcel"]
        return self._look()

    def step(self, action: str) -> Transition:
        if action.startswith("drive to "):
            self.place = action.removeprefix("drive to ")
        elif action == "load the parcel":
            self.parcel = "the van"
        else:
            self.parcel = self.place
        done = self.parcel == self.goal
        return Transition(self._look(), done, done or None, float(done))

    def _look(self) -> Observation:
        here, loaded = self.road.index(self.place), self.parcel == "the van"
        near = [*self.road[max(0, here - 1) : here], *self.road[here + 1 : here + 2]]
        actions = ["load the parcel"] * (self.parcel == self.place)
        actions += ["unload the parcel"] * (loaded and self.place == self.goal)
        actions += [f"drive to {town}" for town in near]
        road = " - ".join(self.road)
        state = f"road: {road}; the van is in {self.place}; the parcel is in {self.parcel}"
        return Observation(state, tuple(actions))


def van_tasks(split: str, count: int) -> list[Task]:
    """A parcel among three to five towns."""
    made = []
    for number in range(count):
        chance = random.Random(f"road {split} {number}")
        road = chance.sample(TOWNS, 3 + number % 3)
        parcel, end = chance.sample(road, 2)
        data = {"start": chance.choice(road), "road": road, "parcel": parcel, "goal": end}
        goal = f"Drive to {parcel}, load the parcel, drive to {end} with it, unload it."
        made.append(Task(f"van/{split}/{number}", goal, data))
    return made


DISHES: Mapping[str, Sequence[str]] = {
    "pancakes": ("crack the eggs", "whisk the batter", "heat the pan", "fry the pancakes"),
    "soup": ("chop the carrots", "boil the water", "simmer the soup", "season the soup"),
    "bread": ("mix the dough", "knead the dough", "heat the oven", "bake the bread"),
    "salad": ("wash the lettuce", "tear the lettuce", "stir the dressing", "toss the salad"),
}
"""By dish, its steps in their order."""


@dataclass
class Kitchen:
    """A kitchen in which a step of the recipe is refused until it is its turn."""

    recipe: Sequence[str] = ()
    steps: Sequence[str] = ()
    done: list[str] = field(default_factory=list)

    def reset(self, task: Task) -> Observation:
        self.recipe, self.steps, self.done = task.data["recipe"], task.data["steps"], []
        return self._look()

    def step(self, action: str) -> Transition:
        right = action == self.recipe[len(self.done)]
        if right:
            self.done.append(action)
        over = len(self.done) == len(self.recipe)
        told = "" if right else f"It is not time to {action}."
        return Transition(self._look(), over, over or None, float(over), told)

    def _look(self) -> Observation:
        left = tuple(step for step in self.steps if step not in self.done)
        return Observation(f"done: {', '.join(self.done) or 'nothing'}", left)


def kitchen_tasks(split: str, count: int) -> list[Task]:
    """A dish, whose steps are listed in any order among those of none, one or two others."""
    made = []
    for number in range(count):
        chance = random.Random(f"recipe {split} {number}")
        dish, *others = chance.sample(sorted(DISHES), 1 + number % 3)
        steps = [step for one in (dish, *others) for step in DISHES[one]]
        chance.shuffle(steps)
        *first, last = DISHES[dish]
        goal = f"Make {dish}: {', '.join(first)}, then {last}."
        data = {"recipe": DISHES[dish], "steps": steps}
        made.append(Task(f"kitchen/{split}/{number}", goal, data))
    return made
