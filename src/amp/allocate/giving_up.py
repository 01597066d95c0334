"""Ends episodes that look hopeless, and keeps a share of the successes that is chosen beforehand.

A head estimates p_fail, the probability that the episode fails, from behaviour alone: what the plan
did and what the environment answered; no model is asked. A plan that fails repeats itself, does
what is refused, sees nothing new, or never touches what the goal names. Which of these means
failure, and how much, is learned (`amp.learn.giving_up`): the same sign can be good in one
environment and bad in another.

`GivingUp` puts a head before any allocator. It gives an episode up when p_fail is above a
threshold, so low that no more than a share 1 - recall of the episodes that would have succeeded
ever reach it (recall-calibrated abort, arXiv 2607.06503).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

from amp.allocate.base import AllocatorAround
from amp.allocate.space import sigmoid
from amp.errors import InvalidInputError
from amp.types import Complexity, Decision, Evidence, StepContext
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


When = Literal["steps", "rounds"]
"""When an episode can be given up: before a step of its plan, but the first, or between rounds."""

_FEATURES: Mapping[When, tuple[str, ...]] = {"steps": PLAN_FEATURES, "rounds": ROUND_FEATURES}
_FAR = 10.0
"""Standard deviations from the mean at which a value is cut."""


@dataclass(frozen=True, slots=True)
class FailureHead:
    """p_fail as a logistic regression on behaviour, and how the successes looked in training.

    Attributes:
        when: what its features are of.
        features: their names.
        mean: of each in training; a feature that is missing has it.
        std: likewise, more than 0.
        weights: of each in standard deviations from its mean.
        bias: log-odds at the mean.
        survived: the highest p_fail of each training episode that succeeded, told by heads that had
            not seen it; in order.
        benchmark: whose episodes it was learned from; empty if that is not known.

    Raises:
        InvalidInputError: if a feature is unknown, or the numbers are too few or not finite.
    """

    when: When
    features: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    survived: tuple[float, ...]
    benchmark: str = ""

    def __post_init__(self) -> None:
        if self.when not in get_args(When):
            raise InvalidInputError(f"when is {self.when!r}, expected steps or rounds")
        unknown = set(self.features) - set(_FEATURES[self.when])
        if unknown:
            raise InvalidInputError(f"unknown feature of {self.when}: {min(unknown)}")
        for name in ("mean", "std", "weights"):
            values = getattr(self, name)
            if len(values) != len(self.features) or not all(map(math.isfinite, values)):
                raise InvalidInputError(
                    f"{name} is {values}, expected {len(self.features)} finite numbers"
                )
        if not all(value > 0.0 for value in self.std):
            raise InvalidInputError(f"std is {self.std}, expected numbers above 0")
        if list(self.survived) != sorted(self.survived) or not math.isfinite(self.bias):
            raise InvalidInputError("survived is not in order, or the bias not finite")

    def p_fail(self, context: StepContext) -> float | None:
        """The probability that the episode fails; None where nothing can be told of it yet."""
        found = of_plan(context) if self.when == "steps" else of_rounds(context.evidence)
        if not found or (self.when == "steps" and context.evidence.rounds):
            return None
        return self.p_fail_of(found)

    def p_fail_of(self, features: Mapping[str, float]) -> float:
        """The same of features by name."""
        latent = self.bias
        for name, mean, std, weight in zip(
            self.features, self.mean, self.std, self.weights, strict=True
        ):
            if name in features:
                latent += weight * max(-_FAR, min(_FAR, (features[name] - mean) / std))
        return sigmoid(latent)

    def threshold(self, recall: float, confidence: float | None = None) -> float:
        """As `threshold` of the training episodes that succeeded."""
        return threshold(self.survived, recall, confidence)


def threshold(survived: Sequence[float], recall: float, confidence: float | None = None) -> float:
    """The lowest threshold that a share `recall` of the successes stay at or below in all steps.

    With a finite-sample correction: of n successes the k-th lowest is taken, with k the least for
    which a further success stays at or below

    - with a probability of at least `recall`, on average over sets of training episodes: k is at
      least recall * (n + 1) (split conformal prediction; Vovk et al. 2005), or,
    - with `confidence`, in at least that share of such sets: the lower Clopper-Pearson bound of k
      of n is at least `recall`.

    Where n is too small the threshold is infinite, and nothing is given up. In either case at least
    a share `recall` of these n stay.

    Args:
        survived: the highest p_fail of each success, told by heads that had not seen it.
        recall: share of the successes to keep.
        confidence: None for the first kind.

    Raises:
        InvalidInputError: if recall or confidence is no probability.
    """
    for name, value in (("recall", recall), ("confidence", confidence)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise InvalidInputError(f"{name} is {value}, expected 0 to 1")
    n = len(survived)
    k = max(1, _kept(n, recall, confidence))
    return sorted(survived)[k - 1] if k <= n else math.inf


def _kept(n: int, recall: float, confidence: float | None) -> int:
    """How many of n successes have to stay; n + 1 where not even all are enough."""
    if confidence is None or recall in (0.0, 1.0):
        return math.ceil(recall * (n + 1) - 1e-9)
    kept, tail = n + 1, 0.0
    for i in range(n, -1, -1):  # tail is P(X >= i) for X ~ Binomial(n, recall)
        ways = math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        tail += math.exp(ways + i * math.log(recall) + (n - i) * math.log1p(-recall))
        if tail > 1.0 - confidence:
            break
        kept = i
    return kept


@dataclass(frozen=True, slots=True)
class GivingUp(AllocatorAround):
    """An allocator that gives the episode up where it looks hopeless, and else decides as `inner`.

    What an environment does not tell (see `amp.allocate.giving_up`) counts as average.

    Attributes:
        inner: decides the rest.
        head: tells p_fail; without one nothing is given up.
        recall: share of the would-be successes that are kept.
        confidence: of that; None to hold it on average (see `threshold`).

    Raises:
        InvalidInputError: if recall or confidence is no probability.
    """

    head: FailureHead | None = None
    recall: float = 0.95
    confidence: float | None = None
    _threshold: float = math.inf

    def __post_init__(self) -> None:
        found = threshold(self.head.survived if self.head else (), self.recall, self.confidence)
        object.__setattr__(self, "_threshold", found)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        p_fail = None if self.head is None else self.head.p_fail(context)
        if p_fail is not None and p_fail > self._threshold:
            return Decision(
                None, give_up=f"p_fail is {p_fail:.4f}, more than {self._threshold:.4f}"
            )
        return self.inner.allocate(context, complexity)

    def with_overrides(self, fields: Mapping[str, Any]) -> GivingUp:
        return replace(self, inner=self.inner.with_overrides(fields))
