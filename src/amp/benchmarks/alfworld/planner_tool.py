"""ALFWorld's symbolic planner: plans for the room as somebody believes it to be.

The environment tells what was seen. Where the rest is, the base model says, or a table, or chance;
which of them is the tool's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from amp.benchmarks.alfworld.beliefs import Belief, by_kind, chance, common_sense
from amp.benchmarks.alfworld.facts import read_facts
from amp.benchmarks.alfworld.prompts import where
from amp.benchmarks.alfworld.scene import Scene, kind
from amp.benchmarks.alfworld.symbols import missing, problem
from amp.execute.base import Question, Tool
from amp.execute.choice import labels_for
from amp.execute.tools.symbolic import SymbolicPlannerTool
from amp.types import StepContext, Task


class RoomPlannerTool(SymbolicPlannerTool):
    """Supposes where the things are that the goal is about and nobody has seen, then plans.

    Its questions are put to the base model as long as such a thing is missing. They name all kinds
    of places in the room, so they stay the same during an episode, and what was searched in vain is
    ruled out afterwards.

    Args:
        name: its name.
        source: where its beliefs come from, for its description.
        believe: returns the beliefs for a task; None to ask the base model.
    """

    def __init__(
        self, name: str, source: str, believe: Callable[[Task], Belief] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.description = f"plans for the goal; where unseen things may be is known from {source}"
        self._believe = believe

    def questions(self, context: StepContext) -> tuple[Question, ...]:
        """Asks for each kind of thing that is missing at which kind of place it is."""
        known = context.observation.symbols
        if self._believe is not None or known is None:
            return ()
        goal, scene = read_facts(known)
        kinds = _kinds(scene)
        labels = labels_for(len(kinds))
        return tuple(Question(where(thing, kinds), labels) for thing in missing(goal, scene))

    def informed(
        self, context: StepContext, answers: Sequence[Sequence[float] | None]
    ) -> StepContext:
        """Returns the step with a STRIPS problem for its facts; none if all was searched in vain.

        A thing about which the model had no answer may be anywhere.
        """
        known = context.observation.symbols
        if known is None:
            return context
        goal, scene = read_facts(known)
        if self._believe is not None:
            believe = self._believe(context.task)
        else:
            kinds = _kinds(scene)
            believe = by_kind(
                {
                    thing: dict(zip(kinds, answer, strict=True)) if answer else {}
                    for thing, answer in zip(missing(goal, scene), answers, strict=True)
                }
            )
        stated = problem(goal, scene, believe)
        return replace(context, observation=replace(context.observation, symbols=stated))


def planner_tools() -> Mapping[str, Tool]:
    """Returns the planner with each source of beliefs, by name."""
    tools = (
        RoomPlannerTool("symbolic_planner", "the base model"),
        RoomPlannerTool(
            "symbolic_planner_random", "chance", lambda task: chance(f"{task.id} {task.seed}")
        ),
        RoomPlannerTool("symbolic_planner_table", "a table", lambda _: common_sense),
    )
    return {tool.name: tool for tool in tools}


def _kinds(scene: Scene) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind(place) for place in scene.receptacles))
