"""All that touches minigrid: the levels by name, and the official expert.

minigrid is imported only when a level is made. The expert is its `BabyAIBot`, led to the goal from
any state.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from amp.benchmarks.babyai.world import DROP, PRIMITIVES, TOGGLE, TURN_RIGHT, Belief
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean

LEVELS: tuple[str, ...] = (
    "BabyAI-GoToRedBallGrey-v0",
    "BabyAI-GoToRedBall-v0",
    "BabyAI-GoToRedBallNoDists-v0",
    "BabyAI-GoToObj-v0",
    "BabyAI-GoToObjS4-v0",
    "BabyAI-GoToObjS6-v1",
    "BabyAI-GoToLocal-v0",
    "BabyAI-GoToLocalS5N2-v0",
    "BabyAI-GoToLocalS6N2-v0",
    "BabyAI-GoToLocalS6N3-v0",
    "BabyAI-GoToLocalS6N4-v0",
    "BabyAI-GoToLocalS7N4-v0",
    "BabyAI-GoToLocalS7N5-v0",
    "BabyAI-GoToLocalS8N2-v0",
    "BabyAI-GoToLocalS8N3-v0",
    "BabyAI-GoToLocalS8N4-v0",
    "BabyAI-GoToLocalS8N5-v0",
    "BabyAI-GoToLocalS8N6-v0",
    "BabyAI-GoToLocalS8N7-v0",
    "BabyAI-GoTo-v0",
    "BabyAI-GoToOpen-v0",
    "BabyAI-GoToObjMaze-v0",
    "BabyAI-GoToObjMazeOpen-v0",
    "BabyAI-GoToObjMazeS4R2-v0",
    "BabyAI-GoToObjMazeS4-v0",
    "BabyAI-GoToObjMazeS5-v0",
    "BabyAI-GoToObjMazeS6-v0",
    "BabyAI-GoToObjMazeS7-v0",
    "BabyAI-GoToImpUnlock-v0",
    "BabyAI-GoToSeq-v0",
    "BabyAI-GoToSeqS5R2-v0",
    "BabyAI-GoToRedBlueBall-v0",
    "BabyAI-GoToDoor-v0",
    "BabyAI-GoToObjDoor-v0",
    "BabyAI-Open-v0",
    "BabyAI-OpenRedDoor-v0",
    "BabyAI-OpenDoor-v0",
    "BabyAI-OpenDoorDebug-v0",
    "BabyAI-OpenDoorColor-v0",
    "BabyAI-OpenDoorLoc-v0",
    "BabyAI-OpenTwoDoors-v0",
    "BabyAI-OpenRedBlueDoors-v0",
    "BabyAI-OpenRedBlueDoorsDebug-v0",
    "BabyAI-OpenDoorsOrderN2-v0",
    "BabyAI-OpenDoorsOrderN4-v0",
    "BabyAI-OpenDoorsOrderN2Debug-v0",
    "BabyAI-OpenDoorsOrderN4Debug-v0",
    "BabyAI-Pickup-v0",
    "BabyAI-UnblockPickup-v0",
    "BabyAI-PickupLoc-v0",
    "BabyAI-PickupDist-v0",
    "BabyAI-PickupDistDebug-v0",
    "BabyAI-PickupAbove-v0",
    "BabyAI-PutNextLocal-v0",
    "BabyAI-PutNextLocalS5N3-v0",
    "BabyAI-PutNextLocalS6N4-v0",
    "BabyAI-PutNextS4N1-v0",
    "BabyAI-PutNextS5N2-v0",
    "BabyAI-PutNextS5N1-v0",
    "BabyAI-PutNextS6N3-v0",
    "BabyAI-PutNextS7N4-v0",
    "BabyAI-PutNextS5N2Carrying-v0",
    "BabyAI-PutNextS6N3Carrying-v0",
    "BabyAI-PutNextS7N4Carrying-v0",
    "BabyAI-Unlock-v0",
    "BabyAI-UnlockLocal-v0",
    "BabyAI-UnlockLocalDist-v0",
    "BabyAI-KeyInBox-v0",
    "BabyAI-UnlockPickup-v0",
    "BabyAI-UnlockPickupDist-v0",
    "BabyAI-BlockedUnlockPickup-v0",
    "BabyAI-UnlockToUnlock-v0",
    "BabyAI-ActionObjDoor-v0",
    "BabyAI-FindObjS5-v0",
    "BabyAI-FindObjS6-v0",
    "BabyAI-FindObjS7-v0",
    "BabyAI-KeyCorridor-v0",
    "BabyAI-KeyCorridorS3R1-v0",
    "BabyAI-KeyCorridorS3R2-v0",
    "BabyAI-KeyCorridorS3R3-v0",
    "BabyAI-KeyCorridorS4R3-v0",
    "BabyAI-KeyCorridorS5R3-v0",
    "BabyAI-KeyCorridorS6R3-v0",
    "BabyAI-OneRoomS8-v0",
    "BabyAI-OneRoomS12-v0",
    "BabyAI-OneRoomS16-v0",
    "BabyAI-OneRoomS20-v0",
    "BabyAI-MoveTwoAcrossS5N2-v0",
    "BabyAI-MoveTwoAcrossS8N9-v0",
    "BabyAI-Synth-v0",
    "BabyAI-SynthS5R2-v0",
    "BabyAI-SynthLoc-v0",
    "BabyAI-SynthSeq-v0",
    "BabyAI-MiniBossLevel-v0",
    "BabyAI-BossLevel-v0",
    "BabyAI-BossLevelNoUnlock-v0",
)
"""Every BabyAI level that minigrid 3.2.0 registers."""


def check_level(level: str) -> str:
    """Returns the level's name.

    Raises:
        InvalidInputError: if there is no such level.
    """
    if level not in LEVELS:
        hint = did_you_mean(level, LEVELS)
        raise InvalidInputError(
            f"unknown BabyAI level {level!r}{hint} (all levels: amp benchmarks babyai)"
        )
    return level


def require_minigrid() -> None:
    """Loads minigrid.

    Raises:
        MissingDependencyError: if it is not installed.
    """
    try:
        importlib.import_module("gymnasium")
        importlib.import_module("minigrid")
    except ImportError as error:
        raise MissingDependencyError(
            "BabyAI needs minigrid; install it: pip install 'adaptive-meta-planning[babyai]'"
        ) from error


def make_level(level: str) -> Any:
    """Returns minigrid's environment of a level, without wrappers.

    Raises:
        InvalidInputError: if there is no such level.
        MissingDependencyError: if minigrid is not installed.
    """
    check_level(level)
    require_minigrid()
    gymnasium = importlib.import_module("gymnasium")
    with contextlib.redirect_stdout(io.StringIO()):
        return gymnasium.make(level, disable_env_checker=True).unwrapped


def reset_level(level: Any, seed: int) -> dict[str, Any]:
    """Resets minigrid's environment and returns its raw observation.

    The generator prints a line for each draft that it rejects; none of that is for the user.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        observation: dict[str, Any] = level.reset(seed=seed)[0]
    return observation


_CHANGES = ("step_count", "agent_pos", "agent_dir", "carrying", "instrs", "grid")
"""All of a level that an action changes. What the mission remembers counts, too."""


def fingerprint(level: Any) -> str:
    """Returns what tells the state of a level from any other one that may go on differently."""
    return _told([getattr(level, name) for name in _CHANGES], level, {})


def _told(value: Any, level: Any, seen: dict[int, int]) -> str:
    """A value and all that it holds, in words; an object that comes again by its number."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return f"[{','.join(_told(part, level, seen) for part in value)}]"
    if value is level:
        return "level"
    if not hasattr(value, "__dict__"):  # a number, a string, or None
        return str(value)
    if getattr(value, "type", "") == "wall":
        return "wall"
    if id(value) in seen:
        return f"#{seen[id(value)]}"
    seen[id(value)] = len(seen)
    parts = (f"{name}={_told(part, level, seen)}" for name, part in vars(value).items())
    return f"{type(value).__name__}({';'.join(parts)})"


MAX_REPLANS = 100
"""Subgoals that the bot may have, or push before it names an action; no sound plan needs more."""


def plan_to_goal(level: Any, belief: Belief, *, faces: bool = False) -> tuple[str, ...] | None:
    """Returns the primitive actions with which the expert reaches the goal; None if it does not.

    It begins anew, with what the mission still asks for. With something in its hands the shorter
    of two plans counts: to go on with it, and to lay it down first. If no plan reaches the goal,
    those count that lay down what was in the way at once, rather than where it disturbs least.

    Args:
        level: minigrid's environment in the present state; left as it is.
        belief: the agent's, from which the expert learns what has been seen.
        faces: whether it has to face a thing before it puts another one beside it, as subgoals do.
    """
    for near in (False, True):
        runs = [_Run(copy.deepcopy(level), belief, faces, near)]
        if level.carrying is not None:
            runs.append(_Run(copy.deepcopy(level), belief, faces, near))
            runs[-1].lay_down()
        with contextlib.redirect_stdout(io.StringIO()):
            plans = [plan for run in runs if (plan := run.finish()) is not None]
        if plans:
            return min(plans, key=len)
    return None


def moves_to_goal(level: Any, belief: Belief, *, faces: bool = False) -> float:
    """Returns the length of `plan_to_goal`; infinite if there is no such plan."""
    plan = plan_to_goal(level, belief, faces=faces)
    return math.inf if plan is None else len(plan)


class _Run:
    """The expert on its way to the goal, in a level that is its own to change."""

    def __init__(self, level: Any, belief: Belief, faces: bool, near: bool) -> None:
        self._level = level
        self._faces = faces
        self._near = near
        self._bots = importlib.import_module("minigrid.utils.baby_ai_bot")
        self._seen = _seen(level, belief)
        self._plan: list[str] = []
        self._over = False
        self._success = False

    def finish(self) -> tuple[str, ...] | None:
        """Goes on to the goal and returns all that was done; None if it is missed.

        At a loss, the bot lays down what it carries, or with empty hands opens a locked door or a
        box that may hold the key to one, and begins anew; where it can do nothing it gives up.
        """
        while not self._over:
            self._follow(self._new_bot())
            if not (self._over or self.lay_down() or self._unlock() or self._open_box()):
                return None
        return tuple(self._plan) if self._success else None

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

    def _unlock(self) -> bool:
        """Opens a locked door whose key has been seen; False if there is none to which a way leads.

        The bot goes for the nearest locked door, and round in circles if it knows of no key to it.
        """
        seen = [self._level.grid.get(*cell) for cell in zip(*self._seen.nonzero(), strict=True)]
        keys = {thing.color for thing in seen if thing is not None and thing.type == "key"}
        for door in seen:
            if door is not None and door.type == "door" and door.is_locked and door.color in keys:
                bot = self._new_bot()
                bot.stack = [
                    self._bots.OpenSubgoal(bot),
                    self._bots.GoNextToSubgoal(bot, door, reason="Open"),
                ]
                self._follow(bot)
                if self._over or not door.is_locked:
                    return True
        return False

    def _open_box(self) -> bool:
        """Opens the nearest box if no key to a locked door was seen; False if no way leads to one.

        The doors are those seen, and those that the mission names. The bot itself looks for keys
        where they can be seen, and never in boxes.
        """
        cells = zip(*self._seen.nonzero(), strict=True)
        seen = [thing for cell in cells if (thing := self._level.grid.get(*cell)) is not None]
        named = getattr(_first(_rest(self._level.instrs)), "desc", None)
        things = [*seen, *(named.obj_set if named is not None else ())]
        keys = {thing.color for thing in seen if thing.type == "key"}
        locked = (thing for thing in things if thing.type == "door" and thing.is_locked)
        if all(door.color in keys for door in locked):
            return False
        boxes = self._bots.ObjDesc("box")
        boxes.find_matching_objs(self._level)
        bot = self._new_bot()
        bot.stack = [self._bots.GoNextToSubgoal(bot, boxes)]  # looks for one, too
        self._follow(bot)
        ahead = None if self._over else self._level.grid.get(*self._level.front_pos)
        if ahead is not None and ahead.type == "box":
            self._do(PRIMITIVES.index(TOGGLE))
            return True
        return self._over

    def _follow(self, bot: Any) -> None:
        """Does what the bot says until the episode is over, or the bot is done or at a loss."""
        while not self._over:
            bot.stack = _Plan(bot.stack)
            try:
                action = bot.replan()
            except _AT_A_LOSS:
                return
            if action == self._level.actions.done:
                return
            self._do(action)

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
        if self._near:
            bot._find_drop_pos = partial(_nearest_free, bot)
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
        self._plan.append(PRIMITIVES[action])
        self._over = bool(terminated or truncated)
        self._success = float(reward) > 0


class _Plan(list[Any]):
    """The bot's stack of subgoals, with an end to it: nothing in the bot keeps it from circles."""

    def __init__(self, subgoals: list[Any]) -> None:
        super().__init__(subgoals)
        self._left = MAX_REPLANS

    def append(self, subgoal: Any) -> None:
        self._left -= 1
        if self._left < 0 or len(self) >= MAX_REPLANS:
            raise RecursionError("the bot plans in circles")
        super().append(subgoal)


_AT_A_LOSS = (AssertionError, AttributeError, IndexError, TypeError, ValueError, RecursionError)
"""What the bot raises where it knows no way; it asserts and dereferences rather than to say so."""


def _nearest_free(bot: Any, but: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """The nearest free cell that the bot has seen; stands in for the bot's own `_find_drop_pos`."""
    taken = (tuple(bot.mission.agent_pos), but and tuple(but))

    def free(cell: tuple[int, int], thing: Any) -> bool:
        return thing is None and bot.vis_mask[cell] and cell not in taken

    place: tuple[int, int] | None = bot._shortest_path(free, try_with_blockers=True)[1]
    return place


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
