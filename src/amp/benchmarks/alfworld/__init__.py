"""ALFWorld: household tasks as text games (Shridhar et al., 2021), played with TextWorld.

A game shows only what the agent stands before: things have to be found, and closed places opened.
Not covered: the same tasks in the 3D simulator, and goals in people's own words, which ALFWorld
writes into games of its own on demand (they can be played; goal-state distance and symbols are
missing then).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amp.allocate.space import Space
from amp.benchmarks.alfworld.environment import MAX_STEPS, ALFWorldEnvironment, ALFWorldJudge
from amp.benchmarks.alfworld.games import (
    SPLITS,
    TASK_TYPES,
    GameFile,
    Games,
    fetch_games,
    games_directory,
)
from amp.benchmarks.alfworld.planning import planner_tools
from amp.benchmarks.alfworld.plans import ALFWorldPlans
from amp.benchmarks.alfworld.plausibility import plausibility
from amp.benchmarks.alfworld.process import GameSession, Workers
from amp.benchmarks.alfworld.prompts import ALFWorldPrompts
from amp.benchmarks.base import Defaults, Difficulty, DifficultyScale, Requirements, count_in
from amp.errors import InvalidInputError, did_you_mean
from amp.execute.base import Tool
from amp.latency import Lengths
from amp.types import UNAIDED, Allocation, Task

__all__ = ["SPLITS", "TASK_TYPES", "ALFWorld", "ALFWorldEnvironment", "ALFWorldPrompts", "Expert"]


@dataclass(frozen=True, slots=True)
class Expert:
    """What the two experts of a game do, who both start where the agent does.

    The handcoded one is that of ALFWorld as it is, command by command. It was made for games that
    say ``put`` and doesn't notice that ``move`` emptied its hand, so after the first of two objects
    it wanders about.

    Attributes:
        planner: the shortest plan that the game's planner finds; it knows where everything is.
        handcoded: the commands of ALFWorld's handcoded expert, who has to search.
        handcoded_wins: whether it reaches the goal.
    """

    planner: tuple[str, ...] | None
    handcoded: tuple[str, ...]
    handcoded_wins: bool


class ALFWorld:
    """ALFWorld's text games; `Benchmark`.

    Args:
        data: directory of the benchmarks' data; None to look in the usual places (`Games`).
        level: one of `TASK_TYPES`; None for all.

    Raises:
        InvalidInputError: if there is no such level.
    """

    name = "alfworld"
    splits = SPLITS
    levels = TASK_TYPES
    environment_tools = (UNAIDED,)
    max_steps = MAX_STEPS
    about = "household tasks as text games"
    # Acting at once is all that was measured; what is left to allocate is whether to plan in
    # symbols.
    defaults = Defaults(
        fixed=Allocation(),
        space=Space(
            depth=(0, 0),
            temperature=(0.0, 0.0),
            beam_width=(1, 1),
            verification=(0, 1),
            tools=frozenset({"symbolic_planner"}),
        ),
        lengths=Lengths(prompt_tokens=1350, answer_tokens=1, thought_tokens=20),
        allocator="heuristic",
        plausibility=plausibility,
        plans=ALFWorldPlans(),
    )
    difficulty_scale = DifficultyScale("commands of the solution that the game brings", (4, 6))
    requirements = Requirements(
        modules=("alfworld", "textworld", "fast_downward"),
        install="pip install 'adaptive-meta-planning[alfworld]'",
        find=games_directory,
        fetch=fetch_games,
    )

    def __init__(self, data: Path | None = None, level: str | None = None) -> None:
        if level is not None and level not in TASK_TYPES:
            raise InvalidInputError(
                f"unknown ALFWorld level {level!r}{did_you_mean(level, TASK_TYPES)} "
                f"(levels: {', '.join(TASK_TYPES)})"
            )
        self.level = level
        self.prompts = ALFWorldPrompts()
        self.tools: Mapping[str, Tool] = planner_tools()
        self._data = data
        self._games: dict[str, Games] = {}
        self._next: dict[str, str] = {}
        self._workers = Workers()

    @classmethod
    def load(cls, data: Path | None, level: str | None, step: str | None) -> ALFWorld:
        """Makes it from what the command line names; see `Benchmark.load`."""
        if step is not None:
            raise InvalidInputError(
                f"step is {step!r}, but a step of alfworld is a command; leave it out"
            )
        return cls(data, level)

    def tasks(self, split: str, limit: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Returns the tasks of a split in a shuffled order that is always the same.

        Games that ALFWorld marks as unsolvable are left out.

        `Task.data` holds ``game`` (the id), ``type`` (one of `TASK_TYPES`) and, where the release
        tells it, ``expert_steps``, the length of its stored solution: known before a task is tried,
        and no model sees it.

        Args:
            split: one of `splits`.
            limit: how many at most; None for all.
            seed: becomes `Task.seed`, so that repeated runs draw other samples.

        Raises:
            InvalidInputError: if the split is unknown or a game is damaged.
            MissingDependencyError: if the games or packages are missing.
        """
        if limit is not None and limit < 0:
            raise InvalidInputError(f"limit is {limit}, expected 0 or more")
        self.requirements.check(self.name)
        read = self._split(split).read(self.level)
        solvable = ((file, game) for file, game in read if game.get("solvable", True))
        tasks = [_task(file, game, seed) for file, game in itertools.islice(solvable, limit)]
        ids = [task.id for task in tasks]
        self._next.update(itertools.pairwise(ids))
        return tasks

    def size(self, split: str) -> int:
        """Returns how many games a split has, of all levels; takes no TextWorld."""
        return len(self._split(split).ids())

    def environment(self, task: Task) -> ALFWorldEnvironment:
        """Returns a fresh environment for one of its tasks."""
        return ALFWorldEnvironment(self._open)

    def judge(self, task: Task) -> ALFWorldJudge:
        """Returns a judge at the start of one of its tasks; it asks the game's own planner."""
        return ALFWorldJudge(task, self._workers.open(self._game(task)))

    def difficulty(self, task: Task) -> Difficulty:
        return self.difficulty_scale.difficulty(count_in(task, "expert_steps"))

    def expert(self, task: Task) -> Expert:
        """Returns what the experts do; takes about a second, and several for the handcoded one."""
        game = self._game(task)
        session = self._workers.open(game)
        handcoded, wins = session.handcoded(game.type, _names(game), MAX_STEPS)
        return Expert(session.plan(), handcoded, wins)

    def close(self) -> None:
        """Ends the processes that play no game; the others end with their environments."""
        self._workers.close()

    def _open(self, task: Task) -> GameSession:
        """The game of a task, loaded; the one of the task after it is loaded from now on."""
        session = self._workers.open(self._game(task))
        _ = session.start
        if then := self._next.get(task.id):
            self._workers.expect(self._find(then))
        return session

    def _game(self, task: Task) -> GameFile:
        id_ = task.data.get("game")
        if not isinstance(id_, str) or id_.count("/") != 2:
            raise InvalidInputError(f"task {task.id!r} is no ALFWorld task: data lacks game")
        self.requirements.check(self.name)
        return self._find(id_)

    def _find(self, id_: str) -> GameFile:
        return self._split(id_.split("/")[0]).find(id_)

    def _split(self, split: str) -> Games:
        if split not in self._games:
            self._games[split] = Games(split, self._data)
        return self._games[split]


def _task(file: GameFile, game: Mapping[str, Any], seed: int) -> Task:
    data: dict[str, str | int] = {"game": file.id, "type": file.type}
    if game.get("walkthrough"):
        data["expert_steps"] = len(game["walkthrough"])
    return Task(id=file.id, goal=file.goal(game), data=data, seed=seed)


def _names(file: GameFile) -> dict[str, str]:
    """The kinds of things that the handcoded expert wants to know, from the folder's name."""
    parts = file.id.split("/")[1].lower().split("-")
    if len(parts) != 5:
        raise InvalidInputError(
            f"the folder of ALFWorld game {file.id} is not named TYPE-OBJECT-MOVABLE-PLACE-SCENE, "
            "which the handcoded expert needs"
        )
    _, thing, movable, place, _ = parts
    looks = file.type == "look_at_obj_in_light"
    return {
        "object_target": thing,
        "mrecep_target": "" if movable == "none" else movable,
        "parent_target": "" if looks else place,
        "toggle_target": place if looks else "",
    }
