"""A planner of a few rules that picks the subgoal which the mission names; it needs no model.

It is a reference: it shows what the path finder makes possible, so a model that
chooses subgoals is to be judged between random choice and this.
"""

from __future__ import annotations

from collections.abc import Iterator

from amp.benchmarks.babyai.environment import BabyAIEnvironment
from amp.benchmarks.babyai.mission import Clause, clauses
from amp.benchmarks.babyai.path_finder import Subgoal, Verb
from amp.benchmarks.babyai.world import Cell, Thing
from amp.types import Task


def follow_rules(task: Task, environment: BabyAIEnvironment, max_steps: int) -> bool:
    """Runs one episode by rules over subgoals and returns whether the goal was reached."""
    environment.reset(task)
    todo = list(clauses(task.goal))
    for _ in range(max_steps):
        if not todo:
            return False
        fulfilling = _fulfilling(todo[0], environment)
        subgoal = next(iter((*fulfilling, *_preparing(todo[0], environment))), None)
        if subgoal is None:
            return False
        transition = environment.step(subgoal.name)
        if transition.done:
            return bool(transition.success)
        if subgoal in fulfilling:
            todo.pop(0)
    return False


def _fulfilling(clause: Clause, environment: BabyAIEnvironment) -> tuple[Subgoal, ...]:
    """The subgoals that do what the clause asks for."""
    belief = environment.belief
    if clause.verb == "put":
        if belief.carrying is None or not clause.target.matches(belief.carrying):
            return ()
        assert clause.beside is not None
        cells = clause.beside.cells(belief)
    else:
        cells = clause.target.cells(belief)
    return tuple(s for s in environment.subgoals if s.verb == clause.verb and s.target in cells)


def _preparing(clause: Clause, environment: BabyAIEnvironment) -> Iterator[Subgoal]:
    """The subgoals that may help towards the clause, best first."""
    belief, offered = environment.belief, environment.subgoals
    carried, things = belief.carrying, belief.things
    wanted = set(clause.target.cells(belief))
    brings = clause.verb == "put" and carried is not None and clause.target.matches(carried)
    if brings and clause.beside is not None:
        yield from _pick(offered, "go to", set(clause.beside.cells(belief)))
    if clause.verb == "put" and not brings:
        yield from _pick(offered, "pick up", wanted)

    locked = {cell for cell, thing in things.items() if thing.state == "locked"}
    gates = {cell for cell in locked if carried == Thing("key", things[cell].color)}
    in_hand_is_needed = brings or (bool(gates) and not (_takes(clause) and wanted))
    if not in_hand_is_needed:
        yield from _pick(offered, "drop")
    if not brings:
        yield from _pick(offered, "go to", wanted - locked)
    yield from _pick(offered, "open", gates)
    yield from _pick(offered, "go to", gates)

    doors = wanted & locked if clause.verb == "open" and wanted else locked
    colors = {things[cell].color for cell in doors}
    keys = {cell for cell, t in things.items() if t.kind == "key" and t.color in colors}
    boxes = {cell for cell, thing in things.items() if thing.kind == "box"}
    if carried is None and not wanted - locked:
        yield from _pick(offered, "pick up", keys)
        yield from _pick(offered, "go to", keys)
    yield from _pick(offered, "explore")
    yield from _pick(offered, "pick up", keys)
    yield from _pick(offered, "go to", keys)
    yield from _pick(offered, "open")
    yield from _pick(offered, "go to", boxes)
    yield from _pick(offered, "drop")


def _takes(clause: Clause) -> bool:
    """Whether the clause needs empty hands."""
    return clause.verb in ("pick up", "put")


def _pick(
    offered: tuple[Subgoal, ...], verb: Verb, cells: set[Cell] | None = None
) -> Iterator[Subgoal]:
    return (s for s in offered if s.verb == verb and (cells is None or s.target in cells))
