"""Verifies candidates: at level 1 by rules, at 2 by asking the model, at 3 by criticism.

What remains is selected by `amp.votes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from amp.errors import LimitReachedError
from amp.execute.base import Prompts
from amp.execute.checks import Check
from amp.execute.choice_step import ask
from amp.execute.meter import Meter
from amp.execute.tools.calculator import wrong_equation
from amp.types import Candidate, StepContext
from amp.votes import vote

_MAX_SELF_CHECKS = 3
_YES_AND_NO = ("yes", "no")


def broken_rule(candidate: Candidate, actions: tuple[str, ...] | None) -> str | None:
    """Level 1: the first rule that a candidate breaks, in words, or None. Costs no token.

    The rules: it names an action; the action is admissible where actions are listed; no tool failed
    on it; it was not cut off; the arithmetic that it states holds.
    """
    if candidate.action is None:
        return candidate.failure or "no action"
    if actions is not None and candidate.action not in actions:
        return f"{candidate.action!r} is not admissible"
    for use in candidate.tool_uses:
        if use.error is not None:
            return f"{use.tool}: {use.error}"
    if actions is None and candidate.cut_off:
        return "cut off"
    return wrong_equation(candidate.text)


Rules = Callable[[Sequence[Candidate]], tuple[Candidate, ...]]
"""Returns the candidates with `broken_rule` filled in."""


def rules_of(context: StepContext, actions: tuple[str, ...] | None, check: Check | None) -> Rules:
    """The rules of a step: those of `broken_rule`, and an exact check of the action if any."""

    def broken(candidate: Candidate) -> str | None:
        rule = broken_rule(candidate, actions)
        if rule is None and check and check(context.task.goal, candidate.action or "") is False:
            return "the exact check says that it is wrong"
        return rule

    return lambda candidates: tuple(replace(c, broken_rule=broken(c)) for c in candidates)


async def self_check(
    candidates: Sequence[Candidate], context: StepContext, prompts: Prompts, meter: Meter
) -> tuple[Candidate, ...]:
    """Level 2: returns the candidates with `p_correct`, the model's probability of "yes".

    Each of the most frequent distinct actions is asked about once, through its first candidate.
    What the limits no longer allow is left out, and the meter's notes say so.
    """
    counts = Counter(c.action for c in candidates if c.valid and c.action is not None)
    checked: dict[str, float] = {}
    for action, _ in counts.most_common(_MAX_SELF_CHECKS):
        first = next(c for c in candidates if c.valid and c.action == action)
        try:
            answer = await ask(meter, prompts.check(context, first), _YES_AND_NO)
        except LimitReachedError:
            meter.notes.append("self-check left out to stay within the limits")
            break
        if answer is not None:
            checked[action] = answer[0]
    return tuple(
        replace(c, p_correct=checked[c.action]) if c.valid and c.action in checked else c
        for c in candidates
    )


class Retry(Protocol):
    """A step that can be tried once more."""

    async def retry(self, candidate: Candidate, critique: str) -> Candidate: ...


async def refine(
    candidates: Sequence[Candidate],
    context: StepContext,
    rules: Rules,
    step: Retry,
    prompts: Prompts,
    meter: Meter,
) -> tuple[Candidate, ...]:
    """Level 3 (VerifyAndRefine of spec 3.1): a critique, then one new attempt; the better is kept.

    It is the leading candidate that is criticised. If the new attempt is better, whatever stood for
    the leading action stands for the new one, which `Candidate.refined_from` says. What the limits
    no longer allow is left out, and the meter's notes say so.
    """
    leader = vote(candidates) or next(iter(candidates), None)
    if leader is None:
        return ()
    try:
        answer = (await meter.generate(prompts.critique(context, leader)))[0]
        critique = answer.text.strip()
        attempts = rules([await step.retry(leader, critique)])
        attempt = (await self_check(attempts, context, prompts, meter))[0]
    except LimitReachedError:
        meter.notes.append("refinement left out to stay within the limits")
        return tuple(candidates)
    better = is_better(attempt, leader)
    refined = []
    for candidate in candidates:
        if candidate is leader:
            criticised = replace(candidate, critique=critique, attempt=attempt)
            refined.append(_refined(criticised, attempt) if better else criticised)
        elif better and candidate.action == leader.action:
            refined.append(_refined(candidate, attempt))
        else:
            refined.append(candidate)
    return tuple(refined)


def is_better(attempt: Candidate, first: Candidate) -> bool:
    """Whether a new attempt replaces the first answer.

    What the rules accept is never replaced by what they reject. Between two that they accept the
    higher probability of "yes" decides, and without one the first answer stays.
    """
    if not attempt.valid or not first.valid:
        return attempt.valid
    if attempt.p_correct is None or first.p_correct is None:
        return False
    return attempt.p_correct > first.p_correct


def _refined(candidate: Candidate, attempt: Candidate) -> Candidate:
    """The candidate standing for the attempt's action; its own text and figures stay."""
    return replace(
        candidate,
        action=attempt.action,
        refined_from=candidate.action,
        broken_rule=None,
        p_correct=attempt.p_correct,
        failure=None,
    )
