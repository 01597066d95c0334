"""What choosing an action looks like against the plan so far, whatever the environment.

A plan that goes wrong does again what brought nothing, and walks back and forth. Each benchmark
adds what it knows of its own actions (`Defaults.plausibility`).
"""

from __future__ import annotations

import math

from amp.types import Candidate, Observation, StepContext


def choice_looks(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """A `Plausibility` of any choice step; nothing in an open step, or without an action.

    ``options``: log of how many actions it was chosen among. ``admissible``: whether it is one of
    the listed actions. ``steps``: log(1 + steps so far). ``visits``: how often the plan was in this
    very situation before. ``tried``: how often it did this action then; ``done``: anywhere.
    ``repeats``: whether the last step did it, too. ``futile``: whether nothing changed when it was
    last done, in this situation if possible. ``undoes``: whether it leads back to the situation
    before the last step.

    A situation is the state with the listed actions. What only trying would show is left out:
    ``futile`` where the action was never done or no state is told, ``undoes`` where it was not done
    in this very situation.
    """
    action, now = candidate.action, context.observation
    if action is None or now.actions is None:
        return {}
    among = _listed_with(action, now)
    steps = context.steps
    seen = [step.observation for step in steps] + [now]
    here = [index for index, step in enumerate(steps) if _same(step.observation, now)]
    tried = [index for index in here if steps[index].action == action]
    done = [index for index, step in enumerate(steps) if step.action == action]
    looks = {
        "options": math.log(max(1, len(among or now.actions))),
        "admissible": float(among is not None),
        "steps": math.log1p(len(steps)),
        "visits": len(here),
        "tried": len(tried),
        "done": len(done),
        "repeats": float(bool(done) and done[-1] == len(steps) - 1),
    }
    if now.state and done:
        last = (tried or done)[-1]
        looks["futile"] = float(_same(seen[last], seen[last + 1]))
    if now.state and tried:
        looks["undoes"] = float(_same(seen[tried[-1] + 1], steps[-1].observation))
    return looks


def _listed_with(action: str, observation: Observation) -> tuple[str, ...] | None:
    """The listed actions that an action is one of: the plain ones, or those of a tool."""
    if observation.actions is not None and action in observation.actions:
        return observation.actions
    listed = observation.tool_actions.values()  # asked last, since some are found when asked for
    return next((actions for actions in listed if action in actions), None)


def _same(one: Observation, other: Observation) -> bool:
    return one.state == other.state and one.actions == other.actions
