"""Goal-state distance D: how far the goal still is, from what the planner may see (spec 2.2)."""

from __future__ import annotations

from amp.assess.language import quantities
from amp.types import StepContext


def goal_distance(context: StepContext) -> tuple[float, str | None]:
    """D in [0, 1], and what stood in for the environment's estimate, or None if it gave one.

    Without an estimate the quantities that the goal names stand for what is still to be combined.
    """
    distance = context.observation.distance
    if distance is not None:
        return min(1.0, max(0.0, distance)), None
    return quantities(context.task.goal), "quantities in the goal for its distance"
