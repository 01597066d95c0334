"""BabyAI: missions in rooms and mazes, told in words (Chevalier-Boisvert et al., 2019; minigrid).

Two levels of action stand side by side. `Observation.actions` are the six primitive ones. With the
tool ``path_finder`` allocated, a step chooses a subgoal instead ("go to the red ball"), which is
carried out over the map of what the agent has seen. Not covered: minigrid's action ``done``, which
its missions do not need.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

from amp.allocate.space import Space
from amp.benchmarks.babyai import minigrid
from amp.benchmarks.babyai.environment import PATH_FINDER, BabyAIEnvironment
from amp.benchmarks.babyai.judge import BabyAIJudge
from amp.benchmarks.babyai.plans import BabyAIPlans
from amp.benchmarks.babyai.plausibility import plausibility
from amp.benchmarks.babyai.prompts import BabyAIPrompts
from amp.benchmarks.base import Defaults, Difficulty, DifficultyScale, Requirements
from amp.errors import InvalidInputError, did_you_mean
from amp.execute.base import Tool
from amp.execute.tools import MemoryTool, TriedTool
from amp.latency import Lengths
from amp.types import Allocation, Task

__all__ = ["PATH_FINDER", "SPLITS", "BabyAI", "BabyAIEnvironment", "BabyAIPrompts"]

SPLITS: Mapping[str, range] = {
    "test": range(0, 1_000),
    "dev": range(10_000, 11_000),
    "train": range(100_000, 110_000),
}
"""Seeds of the level generator, by split. Seeds from 1,000,000 on belong to no split."""

_SEEDS = re.compile(r"seeds:(\d+)-(\d+)")
_LARGEST_SEED = 2**31 - 1


class BabyAI:
    """One level of BabyAI; `Benchmark`.

    Args:
        level: minigrid's id of the level.
        max_steps: plan steps of an episode, whether they are subgoals or primitive actions.
            minigrid's own limit of primitive actions (64 in one room of the usual size, 576 and
            more in mazes) holds besides, and subgoals draw on it, too.

    Raises:
        InvalidInputError: if there is no such level, or max_steps is not positive.
    """

    name = "babyai"
    splits = tuple(SPLITS)
    levels = minigrid.LEVELS
    environment_tools = (PATH_FINDER,)
    about = "missions in rooms and mazes, told in words"
    # One token a step is the least there is. Thoughts and beams on top of it solved 10 of 10
    # development seeds, as without, at three times the tokens: only the rule check is left.
    defaults = Defaults(
        fixed=Allocation(tools=frozenset({PATH_FINDER})),
        space=Space(
            depth=(0, 0),
            temperature=(0.0, 0.0),
            beam_width=(1, 1),
            verification=(0, 1),
            tools=frozenset({PATH_FINDER}),
        ),
        lengths=Lengths(prompt_tokens=835, answer_tokens=1, thought_tokens=18),
        allocator="heuristic",
        plausibility=plausibility,
        plans=BabyAIPlans(),
    )
    difficulty_scale = DifficultyScale("primitive actions of the expert", (6, 18))
    requirements = Requirements(
        modules=("gymnasium", "minigrid"), install="pip install 'adaptive-meta-planning[babyai]'"
    )

    def __init__(self, level: str = "BabyAI-GoToLocal-v0", max_steps: int = 64) -> None:
        if max_steps < 1:
            raise InvalidInputError(f"BabyAI max_steps is {max_steps}, expected at least 1")
        self.level = minigrid.check_level(level)
        self.max_steps = max_steps
        self.prompts = BabyAIPrompts()
        self.tools: Mapping[str, Tool] = {tool.name: tool for tool in (MemoryTool(), TriedTool())}

    @classmethod
    def load(cls, data: Path | None, level: str | None, step: str | None) -> BabyAI:
        """Makes it from what the command line names; see `Benchmark.load`."""
        if step is not None:
            raise InvalidInputError(
                f"step is {step!r}, but a step of babyai is an action; leave it out"
            )
        return cls() if level is None else cls(level)

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Returns the tasks of a split; each is generated when it is first looked at.

        Args:
            split: one of `splits`, or ``seeds:FIRST-LAST`` for the generator's seeds from FIRST to
                LAST, both included.
            limit: how many at most; None for all.
            seed: becomes `Task.seed`, so that repeated runs draw other samples.

        Raises:
            InvalidInputError: if the split is unknown.
            MissingDependencyError: if minigrid is not installed.
        """
        if limit is not None and limit < 0:
            raise InvalidInputError(f"limit is {limit}, expected 0 or more")
        seeds = _seeds(split)
        minigrid.require_minigrid()
        return _Tasks(self.level, seeds if limit is None else seeds[:limit], seed)

    def size(self, split: str) -> int:
        """Returns how many tasks a split has; takes no minigrid."""
        return len(_seeds(split))

    def environment(self, task: Task) -> BabyAIEnvironment:
        """Returns a fresh environment for one of its tasks."""
        return BabyAIEnvironment()

    def judge(self, task: Task) -> BabyAIJudge:
        """Returns a judge at the start of one of its tasks; it asks the official expert."""
        return BabyAIJudge(task)

    def difficulty(self, task: Task) -> Difficulty:
        """Returns how hard a task is, of any level; generates it and leads the expert to its goal.

        The score is infinite where the expert does not reach it.
        """
        level = task.data.get("level")
        if not isinstance(level, str):
            raise InvalidInputError(f"task {task.id!r} is no BabyAI task: data lacks level")
        plan = BabyAI(level).expert(task)
        return self.difficulty_scale.difficulty(math.inf if plan is None else len(plan))

    def expert(self, task: Task) -> tuple[str, ...] | None:
        """Returns the primitive actions of the official expert, or None if it misses the goal.

        It has to find its way as an agent does. It misses the goal where minigrid made a task that
        cannot be solved, and sometimes in a room too full to put anything down in.
        """
        environment = self.environment(task)
        environment.reset(task)
        return environment.expert()


def _seeds(split: str) -> range:
    if split in SPLITS:
        return SPLITS[split]
    if numbers := _SEEDS.fullmatch(split):
        first, last = int(numbers[1]), int(numbers[2])
        if first <= last <= _LARGEST_SEED:
            return range(first, last + 1)
        raise InvalidInputError(
            f"BabyAI split {split!r}: expected FIRST <= LAST <= {_LARGEST_SEED} in seeds:FIRST-LAST"
        )
    hint = did_you_mean(split, tuple(SPLITS))
    raise InvalidInputError(
        f"unknown BabyAI split {split!r}{hint} (splits: {', '.join(SPLITS)}, or seeds:FIRST-LAST)"
    )


class _Tasks(Sequence[Task]):
    """Tasks by seed. The mission is known only once a level is generated, so that is put off."""

    def __init__(self, level: str, seeds: range, seed: int) -> None:
        self._level, self._seeds, self._seed = level, seeds, seed
        self._made: dict[int, Task] = {}
        self._generator: object | None = None

    def __len__(self) -> int:
        return len(self._seeds)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | Sequence[Task]:
        if isinstance(index, slice):
            return _Tasks(self._level, self._seeds[index], self._seed)
        level_seed = self._seeds[index]
        if level_seed not in self._made:
            if self._generator is None:
                self._generator = minigrid.make_level(self._level)
            self._made[level_seed] = Task(
                id=f"{self._level}/{level_seed}",
                goal=str(minigrid.reset_level(self._generator, level_seed)["mission"]),
                data={"level": self._level, "seed": level_seed},
                seed=self._seed,
            )
        return self._made[level_seed]
