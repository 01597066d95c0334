"""The judge of ALFWorld's plan steps: the planner of the game, which sees what is hidden."""

from __future__ import annotations

import re

from amp.benchmarks.alfworld.environment import as_listed
from amp.benchmarks.alfworld.goal import Goal, read_goal
from amp.benchmarks.alfworld.plays import Play
from amp.benchmarks.alfworld.scene import Scene
from amp.types import Task

_SEARCHES = re.compile(r"(?:go to|open|examine) (\w+ \d+)")


class ALFWorldJudge:
    """Says which actions begin no shortest plan; `Judge` of benchmarks.

    An action is mistaken if the plan that the game's planner finds is not shorter after it than
    before. The planner knows where everything is, which nobody could know who plays: as long as
    something that the goal needs was not seen, nobody can tell whether to search a place that was
    not searched yet is a mistake, unless the planner would go there, too (then it is none).

    Args:
        task: the task at whose start it begins.
        play: its game.
    """

    def __init__(self, task: Task, play: Play) -> None:
        self._play = play
        self._view = play.start
        self._goal = read_goal(task.goal)
        self._scene = Scene()
        self._scene.hear(self._view.text, self._view.commands)

    def mistaken(self, action: str | None) -> bool | None:
        """Whether the goal is no nearer after it.

        True for no action; None after the end, where no plan is left, and for a search that only
        who knows what is hidden could judge.
        """
        if action is None:
            return True
        command = as_listed(action, self._view.commands)
        now, (after,) = self._play.remaining(self._view.at, [command])
        if self._view.won or now is None:
            return None
        if after is not None and after < now:
            return False
        return None if self._searches(command) else True

    def remaining(self) -> int | None:
        """Length of the planner's plan from here; None if there is none."""
        return self._play.remaining(self._view.at, [])[0]

    def advance(self, action: str) -> None:
        """Carries an action of the plan out."""
        command = as_listed(action, self._view.commands)
        self._view = self._play.step(self._view.at, command)
        self._scene.hear(self._view.text, self._view.commands)

    def _searches(self, command: str) -> bool:
        """Whether a command looks for what is missing where nobody has looked."""
        if not (place := _SEARCHES.fullmatch(command)) or command not in self._view.commands:
            return False
        unknown = place[1] not in self._scene.contents and place[1] != (
            self._scene.at if command.startswith("go to") else None
        )
        return unknown and _missing(self._goal, self._scene)


def _missing(goal: Goal | None, scene: Scene) -> bool:
    """Whether something that the goal needs was not seen yet."""
    if goal is None:
        return True
    lamp = bool(goal.lamp) and not scene.found(goal.lamp)
    return lamp or len(scene.found(goal.object)) < goal.count
