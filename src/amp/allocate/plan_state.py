"""What a step of a long plan can see of the plan, told alike by every benchmark; no model is asked.

Policies read these by name, beside the features of the complexity (`amp.allocate.mlp_policy`).
What reads the steps so far reads the last `RECENT` of them, and when and how often a plan was
written. So two ways to one state that are alike in that (`memory`) look the same, and a lattice of
states stays small where policies learn from them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

from amp.types import PLAN, Candidate, Observation, StepContext, StepRecord, standing_plan

PLAN_STATE_VERSION = 1
"""Of `PLAN_STATE` and its meaning; policies that read another version are refused."""

RECENT = 4
"""Steps that count as lately."""

_MOST_PLANS = 3

PLAN_STATE: Mapping[str, str] = {
    "steps_done": "logarithm of 1 + the steps so far",
    "steps_left": "logarithm of 1 + the steps that the limits allow after this one",
    "listed": "logarithm of 1 + the admissible actions, those of tools included",
    "options_entropy": "entropy of the options of a probe, as a share of the largest",
    "options_margin": "probability of the likeliest option of a probe less the next",
    "sure": "probability of what was chosen last, in this step or the one before",
    "goal_distance": "how far the goal still is, as the environment tells",
    "nearer": "by how much the last step lessened that",
    "nearer_lately": "by how much the last steps did",
    "plan_left": "logarithm of 1 + the actions of the standing plan that can be followed",
    "plan_age": "logarithm of 1 + the steps since it was written",
    "plan_broken": "whether a plan stands whose next action is not admissible",
    "plans": f"plans written so far, {_MOST_PLANS} at most",
    "unchanged": "whether the last action changed nothing that can be seen",
    "unchanged_lately": "share of the last steps that did not",
    "repeated_lately": "share of the last steps that did what one of them had done in that state",
    "new_lately": "share of different states among the last ones and this one",
}
"""What `plan_state` tells, by name. What is not known is missing: before the first step, of an
environment that tells no distance, or without a probe."""

OF_THE_WAY = frozenset(PLAN_STATE) - {
    *("steps_done", "steps_left", "listed", "options_entropy", "options_margin"),
    *("goal_distance", "plan_left", "plan_broken"),
}
"""Those that depend on how the present state was reached, by `memory` alone."""


def plan_state(context: StepContext) -> dict[str, float]:
    """The `PLAN_STATE` of a step, as far as it is known."""
    found = {
        "steps_done": math.log1p(len(context.steps)),
        "plan_left": math.log1p(len(context.standing_plan)),
        "plans": float(min(_MOST_PLANS, sum(map(_planned, context.steps)))),
        "plan_broken": float(bool(standing_plan(context.steps)) and not context.standing_plan),
        **_of_options(context),
        **_of_steps(context),
    }
    if context.remaining.steps is not None:
        found["steps_left"] = math.log1p(context.remaining.steps)
    if (actions := context.actions(frozenset(context.observation.tool_actions))) is not None:
        found["listed"] = math.log1p(len(actions))
    if (distance := _distance(context.observation)) is not None:
        found["goal_distance"] = distance
    return found


def memory(steps: Sequence[StepRecord]) -> Hashable:
    """All that `plan_state` reads of the steps, but for their number and the plan that stands."""
    recent = tuple(
        (_seen(step.observation), _distance(step.observation), step.action)
        for step in steps[-RECENT:]
    )
    plans = min(_MOST_PLANS, sum(map(_planned, steps)))
    return recent, steps_since_plan(steps), plans, _sure(_candidates(steps[-1])) if steps else None


def _of_options(context: StepContext) -> dict[str, float]:
    """How sure the model is, by a probe and by what it chose last."""
    found: dict[str, float] = {}
    probe = context.evidence.probe
    if probe is not None and len(probe.options) > 1:
        shares = sorted(probe.options.values(), reverse=True)
        nats = -math.fsum(share * math.log(share) for share in shares if share > 0.0)
        found["options_entropy"] = nats / math.log(len(shares))
        found["options_margin"] = shares[0] - shares[1]
    candidates = context.evidence.candidates
    sure = _sure(candidates)
    if not candidates and context.steps:
        sure = _sure(_candidates(context.steps[-1]))
    return found if sure is None else found | {"sure": sure}


def _of_steps(context: StepContext) -> dict[str, float]:
    steps = context.steps
    if not steps:
        return {}
    recent = steps[-RECENT:]
    shown = [*(step.observation for step in recent), context.observation]
    seen = [_seen(each) for each in shown]
    stays = [float(one == two) for one, two in pairwise(seen)]
    done = [(one, step.action) for one, step in zip(seen, recent, strict=False)]
    found = {
        "unchanged": stays[-1],
        "unchanged_lately": sum(stays) / len(stays),
        "repeated_lately": 1.0 - len(set(done)) / len(done),
        "new_lately": len(set(seen)) / len(seen),
    }
    if context.standing_plan:
        found["plan_age"] = math.log1p(steps_since_plan(steps))
    before, last, now = (_distance(each) for each in (shown[0], shown[-2], shown[-1]))
    if last is not None and now is not None:
        found["nearer"] = last - now
    if before is not None and now is not None:
        found["nearer_lately"] = before - now
    return found


def _candidates(step: StepRecord) -> tuple[Candidate, ...]:
    return tuple(candidate for each in step.rounds for candidate in each.candidates)


def _sure(candidates: Sequence[Candidate]) -> float | None:
    known = (c.probability for c in reversed(candidates) if c.probability is not None)
    return next(known, None)


def _planned(step: StepRecord) -> bool:
    """Whether a plan was written: where one action alone is admissible, no model is asked."""
    return any(PLAN in each.allocation.tools and each.usage.model_calls > 0 for each in step.rounds)


def steps_since_plan(steps: Sequence[StepRecord]) -> int:
    """Steps since the last plan was written."""
    return next((age for age, step in enumerate(reversed(steps)) if _planned(step)), len(steps))


def _distance(observation: Observation) -> float | None:
    told = observation.distance
    return told if told is not None and math.isfinite(told) else None


def _seen(observation: Observation) -> Hashable:
    return observation.state, observation.actions, tuple(sorted(observation.tool_actions.items()))
