"""The official expert of BabyAI, minigrid's `BabyAIBot`, led to the goal from any state."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import math
from collections.abc import Iterator
from typing import Any

from amp.benchmarks.babyai.world import DROP, PRIMITIVES, TURN_RIGHT, Belief

MOST_REPLANS = 100
"""Subgoals that the bot may have, or push before it names an action; no sound plan needs more."""


def moves_to_goal(level: Any, belief: Belief, *, faces: bool = False) -> float:
    """Primitive actions that the expert takes to the goal; infinite if it does not get there.

    It begins anew, with what the mission still asks for. With something in its hands the shorter
    of two plans counts: to go on with it, and to lay it down first.

    Args:
        level: minigrid's environment in the present state; left as it is.
        belief: the agent's, from which the expert learns what has been seen.
        faces: whether it has to face a thing before it puts another one beside it, as subgoals do.
    """
    runs = [_Run(copy.deepcopy(level), belief, faces)]
    if level.carrying is not None:
        runs.append(_Run(copy.deepcopy(level), belief, faces))
        runs[-1].lay_down()
    with contextlib.redirect_stdout(io.StringIO()):
        return min(run.finish() for run in runs)


class _Run:
    """The expert on its way to the goal, in a level that is its own to change."""

    def __init__(self, level: Any, belief: Belief, faces: bool) -> None:
        self._level = level
        self._faces = faces
        self._bots = importlib.import_module("minigrid.utils.baby_ai_bot")
        self._seen = _seen(level, belief)
        self._moves = 0
        self._over = False
        self._success = False

    def finish(self) -> float:
        """Primitive actions made until the goal is reached, or infinity.

        At a loss, the bot lays down what it carries and begins anew; with empty hands it gives up.
        """
        while not self._over:
            self._follow_a_bot()
            if not self._over and not self.lay_down():
                return math.inf
        return self._moves if self._success else math.inf

    def lay_down(self) -> bool:
        """Drops what is carried into the first free cell to the right; False if that can't be."""
        if self._level.carrying is None:
            return False
        for _ in range(4):
            if self._over:
                return True
            if self._level.grid.get(*self._level.front_pos) is None:
                self._do(PRIMITIVES.index(DROP))
                return True
            self._do(PRIMITIVES.index(TURN_RIGHT))
        return False

    def _follow_a_bot(self) -> None:
        """Does what a new bot says until the episode is over, or the bot is at a loss."""
        bot = self._new_bot()
        while not self._over:
            bot.stack = _Plan(bot.stack)
            try:
                action = bot.replan()
            except _AT_A_LOSS:
                return
            self._do(action)
            if action == self._level.actions.done:
                return

    def _new_bot(self) -> Any:
        """A bot that knows what has been seen, for what the mission still asks for."""
        whole = self._level.instrs
        self._level.instrs = _rest(whole)
        bot = self._bots.BabyAIBot(self._level)
        first = _first(self._level.instrs)
        self._level.instrs = whole
        # From here on the bot's map is the run's: what a bot sees the next one knows.
        bot.vis_mask = self._seen
        if type(first).__name__ == "PutNextInstr" and self._carries(first.desc_move):
            del bot.stack[-2:]  # to go to what is to be put, and to pick it up
        if self._faces:
            bot.stack = list(self._facing(bot))
        return bot

    def _facing(self, bot: Any) -> Iterator[Any]:
        """The bot's subgoals, last first, with one more above each that goes beside a thing."""
        for subgoal in bot.stack:
            yield subgoal
            if getattr(subgoal, "reason", None) == "PutNext":
                yield self._bots.GoNextToSubgoal(bot, subgoal.datum)

    def _carries(self, description: Any) -> bool:
        return any(thing is self._level.carrying for thing in description.obj_set)

    def _do(self, action: int) -> None:
        _, reward, terminated, truncated, _ = self._level.step(action)
        self._moves += 1
        self._over = bool(terminated or truncated)
        self._success = float(reward) > 0


class _Plan(list[Any]):
    """The bot's stack of subgoals, with an end to it: nothing in the bot keeps it from circles."""

    def __init__(self, subgoals: list[Any]) -> None:
        super().__init__(subgoals)
        self._left = MOST_REPLANS

    def append(self, subgoal: Any) -> None:
        self._left -= 1
        if self._left < 0 or len(self) >= MOST_REPLANS:
            raise RecursionError("the bot plans in circles")
        super().append(subgoal)


_AT_A_LOSS = (AssertionError, AttributeError, IndexError, TypeError, ValueError, RecursionError)
"""What the bot raises where it knows no way; it asserts and dereferences rather than to say so."""


def _rest(instruction: Any) -> Any:
    """What a mission still asks for: sequences without the parts that are done."""
    match type(instruction).__name__:
        case "BeforeInstr":
            if instruction.a_done == "success":
                return _rest(instruction.instr_b)
            return type(instruction)(_rest(instruction.instr_a), instruction.instr_b)
        case "AfterInstr":
            if instruction.b_done == "success":
                return _rest(instruction.instr_a)
            return type(instruction)(instruction.instr_a, _rest(instruction.instr_b))
        case "AndInstr" if instruction.a_done == "success":
            return instruction.instr_b
        case "AndInstr" if instruction.b_done == "success":
            return instruction.instr_a
    return instruction


def _first(instruction: Any) -> Any:
    """The part of a mission that the bot does first."""
    while hasattr(instruction, "instr_a"):
        last = type(instruction).__name__ == "AfterInstr"
        instruction = instruction.instr_b if last else instruction.instr_a
    return instruction


def _seen(level: Any, belief: Belief) -> Any:
    """The cells that the agent has seen, as a mask over the level's grid."""
    numpy = importlib.import_module("numpy")
    mask = numpy.zeros((level.width, level.height), dtype=bool)
    for cell in belief.cells:
        forward, right = belief.pose.offset(cell)
        x, y = level.agent_pos + forward * level.dir_vec + right * level.right_vec
        mask[x, y] = True
    return mask
