"""Verification of candidates: level 1 checks rules, level 2 asks the model for "yes"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from amp.errors import LimitReachedError
from amp.execute.base import Prompts
from amp.execute.choice import ask
from amp.execute.meter import Meter
from amp.execute.tools.calculator import wrong_equation
from amp.types import Candidate, StepContext

_MOST_SELF_CHECKS = 3
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


def check_rules(
    candidates: Sequence[Candidate], actions: tuple[str, ...] | None
) -> tuple[Candidate, ...]:
    """Returns the candidates with `broken_rule` filled in."""
    return tuple(replace(c, broken_rule=broken_rule(c, actions)) for c in candidates)


async def self_check(
    candidates: Sequence[Candidate], context: StepContext, prompts: Prompts, meter: Meter
) -> tuple[Candidate, ...]:
    """Level 2: returns the candidates with `p_correct`, the model's probability of "yes".

    Each of the most frequent distinct actions is asked about once, through its first candidate.
    What the limits no longer allow is left out, and the meter's notes say so.
    """
    counts = Counter(c.action for c in candidates if c.valid and c.action is not None)
    checked: dict[str, float] = {}
    for action, _ in counts.most_common(_MOST_SELF_CHECKS):
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
