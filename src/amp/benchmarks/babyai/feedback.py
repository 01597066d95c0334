"""What an action brought about, in words for the history, as far as the agent saw it."""

from __future__ import annotations

from collections.abc import Sequence

from amp.benchmarks.babyai.subgoals import Subgoal
from amp.benchmarks.babyai.world import (
    DROP,
    GO_FORWARD,
    PICK_UP,
    TOGGLE,
    TURN_LEFT,
    TURN_RIGHT,
    Belief,
    Pose,
    Thing,
)

_DONE = {
    "go to": "You went to",
    "pick up": "You picked up",
    "open": "You opened",
    "put": "You put",
    "drop": "You dropped",
}


def of_primitive(
    primitive: str, pose: Pose, ahead: Thing | None, carried: Thing | None, after: Belief
) -> str:
    """Returns what a primitive action did.

    Args:
        primitive: the action.
        pose: where the agent was before it.
        ahead: what stood before the agent.
        carried: what it carried.
        after: the belief after the action.
    """
    obstacle = "something" if ahead is None else f"a {ahead.name.strip()}"
    if primitive == TURN_LEFT:
        return "You turned left."
    if primitive == TURN_RIGHT:
        return "You turned right."
    if primitive == GO_FORWARD:
        if after.pose != pose:
            return "You moved one step forward."
        return f"You did not move: {obstacle} is in the way."
    if primitive == PICK_UP and after.carrying is not None and carried is None:
        return f"You picked up the {after.carrying.name}."
    if primitive == DROP and carried is not None and after.carrying is None:
        return f"You dropped the {carried.name}."
    if primitive == TOGGLE and ahead is not None and after.facing != ahead:
        return f"You {'closed' if ahead.state == 'open' else 'opened'} the {ahead.name}."
    return "Nothing happened."


def reached(subgoal: Subgoal, belief: Belief) -> bool:
    """Whether the agent sees that a subgoal is fulfilled; ``explore`` never is."""
    if subgoal.verb == "go to":
        return belief.pose.front == subgoal.target
    if subgoal.verb == "pick up":
        return belief.carrying is not None
    if subgoal.verb in ("put", "drop"):
        return belief.carrying is None
    if subgoal.verb == "open":
        ahead = belief.facing
        return ahead is None or (ahead.kind != "box" and ahead.state in ("", "open"))
    return False


def of_subgoal(subgoal: Subgoal) -> str:
    """Returns what to say of a fulfilled subgoal."""
    return f"{_DONE[subgoal.verb]} {subgoal.name.removeprefix(subgoal.verb).strip()}."


def of_discovery(things: Sequence[Thing]) -> str:
    """Returns what to say when exploring brought new things into view."""
    return f"You explored and found {', '.join(f'a {thing.name}' for thing in things)}."


def of_failure(subgoal: Subgoal) -> str:
    """Returns what to say of a subgoal to which no way is left."""
    if subgoal.verb == "explore":
        return "You explored and found nothing new; all that can be reached has been seen."
    return f"You could not {subgoal.name}: no way leads there."
