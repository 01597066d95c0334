"""Stairs: several steps a task, each a choice among listed actions."""

from __future__ import annotations

from collections.abc import Sequence

from amp.allocate.space import Space
from amp.benchmarks.base import Benchmark, Defaults, Difficulty, DifficultyScale, count_in
from amp.execute.base import PlainPrompts
from amp.latency import Lengths
from amp.types import Allocation, Observation, Task, Transition


class Staircase:
    """So many steps up to a door."""

    position = 0
    height = 0

    def reset(self, task: Task) -> Observation:
        self.position, self.height = 0, int(task.data["height"])
        return self._observe()

    def step(self, action: str) -> Transition:
        self.position = max(0, self.position + (1 if action == "up" else -1))
        there = self.position == self.height
        return Transition(
            self._observe(), there, there, self.position / self.height, f"step {self.position}"
        )

    def _observe(self) -> Observation:
        return Observation(f"you stand on step {self.position}", actions=("down", "up"))


class Guide:
    """Knows the way."""

    def mistaken(self, action: str | None) -> bool:
        return action != "up"

    def advance(self, action: str) -> None:
        """Up is right everywhere."""


class Stairs(Benchmark):
    """Three staircases."""

    name = "stairs"
    about = "climbing stairs"
    splits = ("test", "train")
    max_steps = 8
    prompts = PlainPrompts()
    defaults = Defaults(
        fixed=Allocation(),
        space=Space(depth=(0, 1), temperature=(0.0, 0.0), beam_width=(1, 1), verification=(0, 0)),
        lengths=Lengths(prompt_tokens=60, answer_tokens=1, thought_tokens=20),
    )
    difficulty_scale = DifficultyScale("steps to climb", (2, 3))

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[Task]:
        return [
            Task(f"stairs/{split}/{height}", "Reach the door.", {"height": height}, seed)
            for height in (2, 3, 4)
        ][:limit]

    def environment(self, task: Task) -> Staircase:
        return Staircase()

    def judge(self, task: Task) -> Guide:
        return Guide()

    def difficulty(self, task: Task) -> Difficulty:
        return self.difficulty_scale.difficulty(count_in(task, "height"))
