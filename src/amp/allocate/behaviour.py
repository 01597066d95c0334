"""Signs of a hopeless plan, from what it did and what the environment answered; no model is asked.

A plan that fails repeats itself, does what is refused, sees nothing new, or never touches what the
goal names. Which of these means failure, and how much, is learned (`amp.learn.giving_up`): the same
sign can be good in one environment and bad in another.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from amp.types import Evidence, StepContext
from amp.votes import posterior

BEHAVIOUR_VERSION = 1
"""Of the features below and their meaning; heads trained with another version are refused."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "length": ("log_steps",),
    "refused": ("refused", "refused_lately", "refused_in_row", "refused_again"),
    "repeated": ("repeated_lately", "repeated_here"),
    "new": ("since_new", "kinds", "since_kind"),
    "goal": (
        *("goal_done", "goal_seen", "since_goal", "goal_actions", "goal_distinct"),
        *("goal_refused", "goal_refused_last"),
    ),
}
"""What `of_plan` tells, by what it is about:

``log_steps``: logarithm of the number of steps so far.
``refused``: share of them without effect; ``_lately`` of the last five, ``_in_row`` how many of the
last ones, ``_again`` share of those that had been refused before.
``repeated_lately``: share of the last five actions that had been done before; ``repeated_here``:
share of all that had been done before in the same state.
``since_new``: steps since the last new state; ``kinds``: different first words of actions that had
an effect; ``since_kind``: steps since the last new one of these.
``goal_done``: share of the goal's words in actions that had an effect; ``goal_seen``: in the
answers; ``since_goal``: steps since the former rose; ``goal_actions``: share of actions that name
one; ``goal_distinct``: different ones of these that had an effect; ``goal_refused``: how many had
none; ``goal_refused_last``: whether the last step was one of these.
"""

PLAN_FEATURES = tuple(name for names in GROUPS.values() for name in names)

ROUND_FEATURES = (
    *("log_candidates", "leading", "margin", "unread"),
    *("log_prob", "least_log_prob", "entropy", "p_right", "leader_right"),
)
"""What `of_rounds` tells: how many candidates, and over them the share of the leading action, its
lead, the share without an action, mean and least log-probability, and mean entropy of a token; with
a rater, the mean of the probabilities of being right, and what they make of the leading action."""

_LATELY = 5
_CACHED_TEXTS = 4096
_WORD = re.compile(r"[^\W\d_]+")
_REFUSED = re.compile(
    r"nothing (?:happens|happened|changed|has changed)|\binvalid\b|\bnot (?:valid|possible)\b"
    r"|\b(?:cannot|can't|can not|could not|couldn't|unable)\b|\bunknown\b|\berror\b"
)
_EMPTY = frozenset(
    {
        *("a", "an", "and", "at", "be", "from", "in", "is", "it", "of", "on", "one", "or", "some"),
        *("the", "them", "to", "under", "with"),
    }
)


def of_plan(context: StepContext) -> dict[str, float]:
    """The `PLAN_FEATURES` of a plan before its next step; empty before the first one.

    What the environment doesn't tell is left out: what was refused where it never answered an
    action, and the goal's words where it has none.
    """
    steps = context.steps
    if not steps:
        return {}
    goal = _words(context.task.goal)
    states = [step.observation.state for step in steps] + [context.observation.state]
    actions = [" ".join((step.action or "").lower().split()) for step in steps]
    answers = [step.feedback for step in steps]
    refused = [
        step.action is None or bool(_REFUSED.search(step.feedback.lower())) for step in steps
    ]
    named = [_words(action) & goal for action in actions]
    found = {
        "log_steps": math.log(len(steps)),
        **_repeated(states, actions),
        **_new(states, actions, refused),
    }
    if any(answers):
        found |= _refused(actions, refused)
    if goal:
        found |= _towards(goal, actions, named, refused)
        seen = (_words(f"{text}\n{state}") for text, state in zip(answers, states[1:], strict=True))
        told = [words & goal for words, bad in zip(seen, refused, strict=True) if not bad]
        found["goal_seen"] = len(frozenset().union(*told)) / len(goal)
    return found


def of_rounds(evidence: Evidence) -> dict[str, float]:
    """The `ROUND_FEATURES` of a step between two rounds; empty before the first one."""
    candidates = evidence.candidates
    if not candidates:
        return {}
    first, second, *_ = [*sorted(evidence.votes.values(), reverse=True), 0, 0]
    count = len(candidates)
    found = {
        "log_candidates": math.log(count),
        "leading": first / count,
        "margin": (first - second) / count,
        "unread": sum(candidate.action is None for candidate in candidates) / count,
    }
    log_probs = [c.log_prob for c in candidates if c.log_prob is not None]
    entropies = [c.entropy for c in candidates if c.entropy is not None]
    if log_probs:
        found |= {"log_prob": _mean(log_probs), "least_log_prob": min(log_probs)}
    if entropies:
        found["entropy"] = _mean(entropies)
    rated = [c.p_right for c in candidates if c.p_right is not None]
    if rated:
        found |= {"p_right": _mean(rated), "leader_right": posterior(candidates).leader}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _refused(actions: Sequence[str], refused: Sequence[bool]) -> dict[str, float]:
    known: set[str] = set()
    again = 0
    for action, bad in zip(actions, refused, strict=True):
        if bad:
            again += action in known
            known.add(action)
    return {
        "refused": _mean(refused),
        "refused_lately": _mean(refused[-_LATELY:]),
        "refused_in_row": next(
            (i for i, bad in enumerate(reversed(refused)) if not bad), len(refused)
        ),
        "refused_again": again / len(actions),
    }


def _repeated(states: Sequence[str], actions: Sequence[str]) -> dict[str, float]:
    before: Counter[str] = Counter()
    before_here: Counter[tuple[str, str]] = Counter()
    repeated, here = [], []
    for state, action in zip(states, actions, strict=False):
        repeated.append(before[action] > 0)
        here.append(before_here[state, action] > 0)
        before[action] += 1
        before_here[state, action] += 1
    return {"repeated_lately": _mean(repeated[-_LATELY:]), "repeated_here": _mean(here)}


def _new(
    states: Sequence[str], actions: Sequence[str], refused: Sequence[bool]
) -> dict[str, float]:
    seen, kinds = {states[0]}, set[str]()
    since_new = since_kind = 0
    for action, state, bad in zip(actions, states[1:], refused, strict=True):
        since_new = since_new + 1 if bad or state in seen else 0
        seen.add(state)
        kind = action.partition(" ")[0]
        since_kind = since_kind + 1 if bad or kind in kinds else 0
        if not bad:
            kinds.add(kind)
    return {"since_new": since_new, "kinds": len(kinds), "since_kind": since_kind}


def _towards(
    goal: frozenset[str],
    actions: Sequence[str],
    named: Sequence[frozenset[str]],
    refused: Sequence[bool],
) -> dict[str, float]:
    done, distinct = set[str](), set[str]()
    since = 0
    for action, words, bad in zip(actions, named, refused, strict=True):
        since = since + 1 if bad or words <= done else 0
        if not bad:
            done |= words
            if words:
                distinct.add(action)
    wasted = [bool(words) and bad for words, bad in zip(named, refused, strict=True)]
    return {
        "goal_done": len(done) / len(goal),
        "since_goal": since,
        "goal_actions": _mean([bool(words) for words in named]),
        "goal_distinct": len(distinct),
        "goal_refused": sum(wasted),
        "goal_refused_last": float(wasted[-1]),
    }


@lru_cache(maxsize=_CACHED_TEXTS)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower())) - _EMPTY


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
