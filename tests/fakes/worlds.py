"""Small worlds that the tests plan in."""

from __future__ import annotations

from dataclasses import dataclass, field

from amp.errors import InvalidInputError
from amp.types import Observation, StepContext, Task, Transition

CORRIDOR = Task("corridor", "reach the door at the end", {"length": 3})


@dataclass
class Corridor:
    """Three cells and a door: "walk" is right, "wait" changes nothing, a guide walks all along."""

    done: bool = False
    position: int = 0
    length: int = 3
    taken: list[str] = field(default_factory=list)

    def reset(self, task: Task) -> Observation:
        self.position, self.length, self.done = 0, int(task.data["length"]), False
        return self._observe()

    def step(self, action: str) -> Transition:
        if self.done or action not in ("walk", "wait", "follow the guide"):
            raise InvalidInputError(f"action is {action!r}, expected walk or wait")
        self.taken.append(action)
        self.position += {"walk": 1, "wait": 0}.get(action, self.length - self.position)
        self.done = self.position >= self.length
        return Transition(
            self._observe(), self.done, self.done, float(self.done), f"cell {self.position}"
        )

    def _observe(self) -> Observation:
        return Observation(
            state=f"you stand in cell {self.position} of {self.length}",
            actions=("wait", "walk"),
            tool_actions={"guide": ("wait", "follow the guide")},
            distance=1 - self.position / self.length,
        )


@dataclass
class Riddle:
    """One open question; the right answer is in the task's data."""

    answer: str = ""

    def reset(self, task: Task) -> Observation:
        self.answer = str(task.data["answer"])
        return Observation()

    def step(self, action: str) -> Transition:
        right = action == self.answer
        return Transition(Observation(), True, right, float(right))


RIDDLE = Task("riddle", "How many legs has a spider?", {"answer": "8"})


def context(task: Task = RIDDLE, observation: Observation | None = None) -> StepContext:
    return StepContext(task, observation or Observation())
