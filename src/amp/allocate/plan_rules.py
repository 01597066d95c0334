"""Rules for plans of many steps, with nothing learned: what a learned policy has to beat there.

`amp.allocate.rules` has plan and follow until that breaks (AdaPlanner, lazy replanning). Here are
to plan anew every so many steps, to think where the choice is unsure, and to spend where the plan
so far shows trouble. `plan_rules` has them all in settings to choose among on training tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from amp.allocate.base import Allocator
from amp.allocate.plan_state import plan_state, steps_since_plan
from amp.allocate.rules import PlanThenFollow
from amp.types import PLAN, STANDING_PLAN, STOP, Allocation, Complexity, Decision, StepContext

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


Settings = Mapping[str, Allocator]
"""The settings of a rule, by what they are called."""


def plan_rules(arms: Mapping[str, Allocation]) -> dict[str, Settings]:
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


def _is_usual(at_once: Allocation, plan: Allocation) -> bool:
    """Whether `PlanThenFollow` allocates this very arm."""
    return replace(at_once, depth=plan.depth, tools=at_once.tools | {PLAN}) == plan
