"""How a long plan is going, as features that need no model call, and the rules that read them.

Policies read these by name, beside the features of the complexity (`amp.allocate.mlp_policy`).
What reads the steps so far reads the last `RECENT` of them, and when and how often a plan was
written. So two ways to one state that are alike in that (`memory`) look the same, and a lattice of
states stays small where policies learn from them.

The rules learn nothing: they are what a learned policy has to beat on plans of many steps.
`amp.allocate.rules` has plan and follow until that breaks (AdaPlanner, lazy replanning). Here are
to plan anew every so many steps, to think where the choice is unsure, and to spend where the plan
so far shows trouble. `plan_rules` has them all in settings to choose among on training tasks.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.rules import PlanThenFollow, RuleSettings
from amp.types import (
    PLAN,
    STANDING_PLAN,
    STOP,
    Allocation,
    Candidate,
    Complexity,
    Decision,
    Observation,
    StepContext,
    StepRecord,
    standing_plan,
)

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
    "plan_log_prob": "log-probability of the text of the plan that was written last",
    "plan_entropy": "mean entropy of its tokens, in nats",
    "plan_least": "log-probability of its least likely token",
    "unchanged": "whether the last action changed nothing that can be seen",
    "unchanged_lately": "share of the last steps that did not",
    "repeated_lately": "share of the last steps that did what one of them had done in that state",
    "new_lately": "share of different states among the last ones and this one",
}
"""What `plan_state` tells, by name. What is not known is missing: before the first step, of an
environment that tells no distance, or without a probe."""

OF_PLAN_TEXT = ("plan_log_prob", "plan_entropy", "plan_least")
"""Those that need what the model tells of each token that it writes."""

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
        **_of_plan(context),
    }
    if context.remaining.steps is not None:
        found["steps_left"] = math.log1p(context.remaining.steps)
    if (actions := context.offered) is not None:
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
    sure = _sure(steps[-1].candidates) if steps else None
    return recent, steps_since_plan(steps), plans, sure, _figures(_last_plan(steps))


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
        sure = _sure(context.steps[-1].candidates)
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


def _of_plan(context: StepContext) -> dict[str, float]:
    """How sure the model was of the plan that it wrote last, in this step or an earlier one."""
    evidence = context.evidence
    now = any(PLAN in tools for tools in evidence.tools) and _written(evidence.candidates)
    told = _figures(now or _last_plan(context.steps))
    return {name: each for name, each in zip(OF_PLAN_TEXT, told, strict=True) if each is not None}


def _last_plan(steps: Sequence[StepRecord]) -> Candidate | None:
    """The plan that was written last."""
    found = (_written(step.candidates) for step in reversed(steps) if _planned(step))
    return next(filter(None, found), None)


def _written(candidates: Sequence[Candidate]) -> Candidate | None:
    """The last one that was written token by token, which a choice at once is not."""
    return next((c for c in reversed(candidates) if c.tokens is not None), None)


def _figures(plan: Candidate | None) -> tuple[float | None, ...]:
    """What its tokens tell."""
    if plan is None or plan.tokens is None:
        return None, None, None
    return plan.log_prob, plan.entropy, plan.tokens.least


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


SIGNALS = ("unchanged", "repeated_lately", "plan_broken", "stalled", "circling")
"""What shows trouble: the last action changed nothing, or one of the last steps was done again; the
plan can't go on; the last steps came no nearer; half of the last states were there before."""


@dataclass(frozen=True, slots=True)
class ReplanEvery(Allocator):
    """Plans, follows for so many steps, and plans anew; also where the plan ends or breaks.

    Attributes:
        at_once: of a step whose plan names no admissible action.
        follow: takes the next action of the plan.
        plan: writes one.
        every: steps of a plan, that of its planning included.
    """

    at_once: Allocation
    follow: Allocation
    plan: Allocation
    every: int

    uses_complexity = False

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return Decision(self.at_once) if _failed(context) else STOP
        if context.standing_plan and steps_since_plan(context.steps) + 1 < self.every:
            return Decision(self.follow)
        return Decision(self.plan)


@dataclass(frozen=True, slots=True)
class ThinkWhenUnsure(Allocator):
    """Chooses at once, and asks another arm where the choice was unsure, whose answer then counts.

    Attributes:
        at_once: the first round.
        further: the second one.
        doubt: one less the probability of the choice, above which there is a second one.
    """

    at_once: Allocation
    further: Allocation
    doubt: float

    uses_complexity = False

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        evidence = context.evidence
        if not evidence.rounds:
            return Decision(self.at_once)
        last = evidence.candidates[-1]
        if evidence.rounds > 1:
            return Decision(None, winner=len(evidence.candidates) - 1) if last.action else STOP
        sure = plan_state(context).get("sure", 0.0) if last.action is not None else 0.0
        return Decision(self.further) if 1.0 - sure > self.doubt else STOP


@dataclass(frozen=True, slots=True)
class BySignals(Allocator):
    """Follows the plan that stands, or acts at once, and spends more where `SIGNALS` show trouble.

    Attributes:
        at_once: of a step without a plan.
        follow: takes the next action of a plan; None where no arm does.
        further: where there is trouble.
        signals: how many have to show it.
        begins: whether the first step gets it, too.
    """

    at_once: Allocation
    follow: Allocation | None
    further: Allocation
    signals: int
    begins: bool = False

    uses_complexity = False

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return Decision(self.at_once) if _failed(context) else STOP
        if not context.steps and self.begins:
            return Decision(self.further)
        if sum(signs(context).values()) >= self.signals:
            return Decision(self.further)
        if context.standing_plan and self.follow is not None:
            return Decision(self.follow)
        return Decision(self.at_once)


def signs(context: StepContext) -> dict[str, bool]:
    """Which of the `SIGNALS` a step shows."""
    told = plan_state(context)
    return {
        "unchanged": told.get("unchanged", 0.0) > 0.0,
        "repeated_lately": told.get("repeated_lately", 0.0) > 0.0,
        "plan_broken": told["plan_broken"] > 0.0,
        "stalled": told.get("nearer_lately", 1.0) <= 0.0,
        "circling": told.get("new_lately", 1.0) <= 0.5,
    }


def _failed(context: StepContext) -> bool:
    """Whether a plan was asked for in vain."""
    return PLAN in context.evidence.tools[-1] and not context.evidence.votes


def plan_rules(arms: Mapping[str, Allocation]) -> dict[str, RuleSettings]:
    """The rules and their settings, as far as the arms go, by name; empty ones are left out.

    Args:
        arms: by name; the first one that neither plans, follows nor thinks is to act at once.
    """
    plans = {name: arm for name, arm in arms.items() if PLAN in arm.tools}
    follow = next((arm for arm in arms.values() if STANDING_PLAN in arm.tools), None)
    others = {n: arm for n, arm in arms.items() if n not in plans and arm is not follow}
    at_once = next((arm for arm in others.values() if arm.depth == 0), None)
    if at_once is None:
        return {}
    thoughts = {name: arm for name, arm in others.items() if arm.depth > 0}
    rules: dict[str, dict[str, Allocator]] = {
        "plan, then follow": {
            f"{name}, {most} at most{', then give up' * gives_up}": PlanThenFollow(
                at_once, arm.depth, most, gives_up
            )
            for name, arm in plans.items()
            for most in (1, 2, 3, 99)
            for gives_up in (False, True)
            if _is_usual(at_once, arm) and follow is not None
        },
        "replan every k": {
            f"{name}, every {every}": ReplanEvery(at_once, follow, arm, every)
            for name, arm in plans.items()
            for every in range(2, arm.depth + 1)
            if follow is not None
        },
        "think when unsure": {
            f"{name}, doubt above {doubt:g}": ThinkWhenUnsure(at_once, arm, doubt)
            for name, arm in (thoughts | plans).items()
            for doubt in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
        },
        "trajectory signals": {
            f"{name}, {count} of {len(SIGNALS)}{' and at first' * begins}": BySignals(
                at_once, follow, arm, count, begins
            )
            for name, arm in (thoughts | plans).items()
            for count in (1, 2, 3)
            for begins in (False, True)
        },
    }
    return {name: settings for name, settings in rules.items() if settings}


def base_rules(arms: Mapping[str, Allocation]) -> dict[str, Allocator]:
    """The rules, by name, that a learned policy can begin with: an arm in every step, `plan_rules`.

    Left out are those that take the answer of one round alone (think when unsure): learned policies
    have the rounds of a step vote.
    """
    alone = {name: arm for name, arm in arms.items() if STANDING_PLAN not in arm.tools}
    return {f"{name} in every step": FixedAllocator(arm) for name, arm in alone.items()} | {
        f"{rule}: {setting}": allocator
        for rule, settings in plan_rules(arms).items()
        for setting, allocator in settings.items()
        if not isinstance(allocator, ThinkWhenUnsure)
    }


def _is_usual(at_once: Allocation, plan: Allocation) -> bool:
    """Whether `PlanThenFollow` allocates this very arm."""
    return replace(at_once, depth=plan.depth, tools=at_once.tools | {PLAN}) == plan
