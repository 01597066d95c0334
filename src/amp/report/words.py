"""What a trace says, in words: the filters of the templates, and short forms for one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from amp.types import PLAN, STANDING_PLAN, UNAIDED, Allocation, Candidate, Probe, Usage

CHARACTERS = 2_000
"""Of a text at most; what is left out is told."""

_OPTIONS = 5
_ACTIONS = 3
_BRIEF = 120
_VERIFICATION = ("no verification", "rules checked", "self-check by the model", "verified, refined")


def probed(probe: Probe) -> str:
    """What was measured before the first round."""
    parts = []
    if probe.entropy is not None:
        parts.append(f"entropy of the next token {probe.entropy:.3f} nats")
    if probe.perplexity is not None:
        parts.append(f"perplexity of the context {probe.perplexity:.2f}")
    if probe.hidden:
        parts.append(f"a hidden state of {len(probe.hidden)} numbers")
    likely = sorted(probe.options.items(), key=lambda option: -option[1])[:_OPTIONS]
    return "; ".join([*parts, *(f"{clip(action)} {chance:.1%}" for action, chance in likely)])


def facts(candidate: Candidate) -> str:
    """What is known of a candidate beside its text."""
    told = [f"{candidate.completion_tokens} tokens"]
    if candidate.model is not None:
        told.append(f"by {candidate.model}")
    if candidate.probability is not None:
        told.append(f"probability {candidate.probability:.3f}")
    if candidate.log_prob is not None:
        told.append(f"log-probability {candidate.log_prob:.2f}")
    if candidate.p_correct is not None:
        told.append(f"self-check {candidate.p_correct:.3f}")
    if candidate.p_right is not None:
        told.append(f"P(right) {candidate.p_right:.3f}")
    if candidate.cut_off:
        told.append("cut off")
    if candidate.refined_from is not None:
        told.append(f"refined from {clip(candidate.refined_from)}")
    if candidate.plan:
        told.append(f"then {clip('; '.join(candidate.plan))}")
    return "; ".join(told)


def allocation(one: Allocation) -> str:
    """An allocation, all of it."""
    tools = ", ".join(sorted(one.tools))
    return "; ".join(
        [
            _how(one),
            "1 candidate" if one.beam_width == 1 else f"{one.beam_width} candidates",
            f"temperature {one.temperature:.2g}, top-p {one.top_p:.2g}",
            f"tools: {tools}" if tools else "no tools",
            *([] if one.model is None else [f"answered by {one.model}"]),
            _VERIFICATION[one.verification],
        ]
    )


def in_short(one: Allocation) -> str:
    """An allocation, but for how tokens are drawn and what it does without."""
    tools = ", ".join(sorted(one.tools - {PLAN, STANDING_PLAN, UNAIDED}))
    return ", ".join(
        [
            _how(one),
            *([] if one.beam_width == 1 else [f"{one.beam_width} candidates"]),
            *([f"with {tools}"] if tools else []),
            *(["without the help of rules"] if UNAIDED in one.tools else []),
            *([] if one.model is None else [f"by {one.model}"]),
            *([_VERIFICATION[one.verification]] if one.verification else []),
        ]
    )


def brought(candidates: Sequence[Candidate]) -> str:
    """What a round came to: its actions, the most frequent first, and what can't be used."""
    actions = Counter(c.action for c in candidates if c.valid and c.action is not None)
    told = [
        f"{brief(action)} ({count} of {len(candidates)})" if count > 1 else brief(action)
        for action, count in actions.most_common(_ACTIONS)
    ]
    if (more := len(actions) - _ACTIONS) > 0:
        told.append(f"{more} other actions")
    unread = sum(c.action is None for c in candidates)
    broken = len(candidates) - unread - actions.total()
    for count, what in ((unread, "without an action"), (broken, "against a rule")):
        if count:
            told.append(f"{count} {what}")
    if len(candidates) == 1 and candidates[0].probability is not None:
        told.append(f"probability {candidates[0].probability:.2f}")
    return ", ".join(told) or "nothing"


def cost(usage: Usage) -> str:
    """What was spent."""
    dollars = f", {usage.dollars:.5f} dollars" if usage.dollars else ""
    return f"{usage.tokens:,} tokens, {usage.seconds:.1f} s{dollars}"


def clip(text: str) -> str:
    """A text with its end left out where it is too long."""
    if len(text) <= CHARACTERS:
        return text
    return f"{text[:CHARACTERS]}… [{len(text) - CHARACTERS:,} characters left out]"


def brief(text: str) -> str:
    """A text for a line that has its whole elsewhere."""
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}…"


def _how(one: Allocation) -> str:
    if STANDING_PLAN in one.tools:
        return "follow the standing plan"
    if PLAN in one.tools:
        return f"plan at most {one.depth} actions"
    return "act at once" if one.depth == 0 else f"reason in at most {one.depth} steps"
