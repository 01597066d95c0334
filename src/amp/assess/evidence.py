"""What the rounds of a step tell of its difficulty, each as one number; None where it is not known.

Means run over the candidates that have the value. A value that cannot be, such as NaN or a positive
log-probability, is returned as it is: no mean with it would say anything. Where a model gives no
probabilities, agreement among its answers stands in (`stand_ins`). Beside the rounds stands the
goal-state distance D: how far the goal still is, from what the planner may see (spec 2.2).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from amp.assess.text import latest, numbers, word_set
from amp.assess.uncertainty import (
    MAX_ENTROPY,
    answer_counts,
    answer_entropy,
    divergence,
    saturating,
)
from amp.models.base import perplexity
from amp.types import Candidate, Evidence, StepContext
from amp.votes import posterior

_NUMBER_WORDS = {
    word: Decimal(value)
    for value, word in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=1
    )
} | {"dozen": Decimal(12)}
_EMPTY_WORDS = word_set(
    "a an the this that these those and or but not no if then than so as of in on at to from by "
    "with without for into onto over under about i you he she it we they me him her them us my "
    "your his its our their is are was were be been being am do does did have has had will would "
    "can could shall should may might must what which who whom whose how why when where there "
    "here let please some any all each every"
)
_WORD = re.compile(r"[^\W\d_]+")
_TYPICAL_REMAINDER = 4.0
_CACHED_GOALS = 512


def goal_distance(context: StepContext) -> tuple[float, str | None]:
    """D in [0, 1], and what stood in for the environment's estimate, or None if it gave one.

    Without an estimate D is n / (n + 4), where n is how much of what the goal names is named
    neither in the state nor in the plan so far, and so is still to be dealt with: of its numbers
    if it has any, else of its content words. Of state and plan the last 8,000 characters count
    (`language.MAX_CHARACTERS`).
    """
    distance = context.observation.distance
    if distance is not None and math.isfinite(distance):
        return min(1.0, max(0.0, distance)), None
    plan = "\n".join(step.action for step in context.steps if step.action is not None)
    return _text_distance(context.task.goal, latest(context.observation.state), latest(plan))


def remaining_quantities(goal: str, *texts: str) -> list[str]:
    """The numbers of a goal that no text names, in the goal's order and writing.

    Each mention counts: a goal that names 2 twice needs it twice in one text. Two texts that say
    the same are not added up. "two" is 2, "1,200" is 1200, and "2.50" is 2.5.
    """
    named: Counter[Decimal] = Counter()
    for text in texts:
        named |= Counter(map(value_of, numbers(text)))
    remaining = []
    for number in numbers(goal):
        value = value_of(number)
        if named[value] > 0:
            named[value] -= 1
        else:
            remaining.append(number)
    return remaining


def remaining_words(goal: str, *texts: str) -> list[str]:
    """The content words of a goal that no text names, each once, in the goal's order."""
    named = _EMPTY_WORDS.union(*(_WORD.findall(text.lower()) for text in texts))
    return [word for word in dict.fromkeys(_WORD.findall(goal.lower())) if word not in named]


@lru_cache(maxsize=_CACHED_GOALS)
def _text_distance(goal: str, state: str, plan: str) -> tuple[float, str]:
    if numbers(goal):
        left = len(remaining_quantities(goal, state, plan))
        phrase = "quantities in the goal for its distance"
    else:
        left = len(remaining_words(goal, state, plan))
        phrase = "words in the goal for its distance"
    return saturating(left, _TYPICAL_REMAINDER), phrase


def value_of(number: str) -> Decimal:
    """The value of a number as `text.numbers` finds it: "two" is 2, "1,200" is 1200."""
    return _NUMBER_WORDS.get(number) or Decimal(number.replace(",", ""))


_CACHED_TEXTS = 4096


def margin(evidence: Evidence) -> float | None:
    """Share of the candidates that back the leading action less the runner-up's, in [0, 1]."""
    if not evidence.candidates:
        return None
    first, second, *_ = [*sorted(evidence.votes.values(), reverse=True), 0, 0]
    return (first - second) / len(evidence.candidates)


def answer_nats(evidence: Evidence) -> float | None:
    """Entropy of the answers in nats, from 0 to log of the number of candidates.

    The same as `uncertainty.answer_entropy`, which is relative to the largest possible.
    """
    total = len(evidence.candidates)
    if total < 2:
        return None
    shares = [n / total for n in answer_counts(evidence).values()]
    return max(0.0, -math.fsum(share * math.log(share) for share in shares))


def answer_divergence(evidence: Evidence) -> float | None:
    """KL of the answers with the last candidate from the answers without it, in nats.

    How much one more candidate moved the distribution over the answers; `information.divergence`
    says how it is smoothed. None for fewer than two candidates.
    """
    if len(evidence.candidates) < 2:
        return None
    before = Evidence(evidence.candidates[:-1])
    return divergence(answer_counts(evidence), answer_counts(before))


def log_prob(evidence: Evidence) -> float | None:
    """Mean log-probability of a candidate's whole text, in nats, at most 0."""
    return _mean((c.log_prob for c in evidence.candidates), -math.inf, 0.0)


def first_entropy(evidence: Evidence) -> float | None:
    """Entropy of the first token of an answer in nats: that of the next token before acting.

    The first round shows for nothing what a look would have shown. A mean, since candidates of
    different prompts begin differently; those of one prompt agree.
    """
    return _mean((c.first_entropy for c in evidence.candidates), 0.0, MAX_ENTROPY)


def token_entropy(evidence: Evidence) -> float | None:
    """Mean entropy of the candidates' tokens in nats."""
    return _mean((c.entropy for c in evidence.candidates), 0.0, MAX_ENTROPY)


def answer_perplexity(evidence: Evidence) -> float | None:
    """Perplexity of the candidates' own tokens, at least 1; NaN where one is no log-probability.

    None where none of them has tokens with log-probabilities.
    """
    tokens, total = 0, 0.0
    for candidate in evidence.candidates:
        if candidate.log_prob is not None and candidate.completion_tokens > 0:
            tokens += candidate.completion_tokens
            total += candidate.log_prob if candidate.log_prob <= 0.0 else math.nan
    if not tokens:
        return None
    return math.nan if math.isnan(total) else perplexity([total / tokens])


def answer_tokens(evidence: Evidence) -> float | None:
    """Mean length of a candidate in tokens."""
    return _mean(c.completion_tokens for c in evidence.candidates)


def cut_off(evidence: Evidence) -> float | None:
    """Share of the candidates that the token cap ended, in [0, 1]."""
    return _mean(c.cut_off for c in evidence.candidates)


def unread(evidence: Evidence) -> float | None:
    """Share of the candidates without a valid action, in [0, 1]."""
    return _mean(not c.valid for c in evidence.candidates)


def unused(evidence: Evidence, goal: str) -> float | None:
    """Share of the goal's numbers that a candidate's text does not name, mean, in [0, 1].

    None for a goal without numbers or candidates without text.
    """
    texts = [c.text for c in evidence.candidates if c.text.strip()]
    return _mean(share_unused(goal, text) for text in texts)


def p_correct(evidence: Evidence) -> float | None:
    """Mean probability of "yes" in the self-check, in [0, 1]."""
    return _mean((c.p_correct for c in evidence.candidates), 0.0, 1.0)


def expectations(evidence: Evidence) -> dict[str, float]:
    """What the candidates' `p_right` let expect, by the name of the feature.

    The next candidate is taken to be right as often as those so far that came about likewise, with
    tools or without; where there is none, as often as all so far.
    """
    known = [c for c in evidence.candidates if c.p_right is not None]
    if not known:
        return {}
    now = posterior(evidence.candidates)
    usual = _usual(known)
    with_tools = [c for c in known if c.tool_uses]
    without = [c for c in known if not c.tool_uses]
    return {
        "p_right": usual,
        "leader_right": now.leader,
        "runner_up_right": now.runner_up,
        "gain_with_tools": now.gain(_usual(with_tools) if with_tools else usual),
        "gain_without_tools": now.gain(_usual(without) if without else usual),
    }


def _usual(candidates: Sequence[Candidate]) -> float:
    return math.fsum(c.p_right or 0.0 for c in candidates) / len(candidates)


@lru_cache(maxsize=_CACHED_TEXTS)
def share_unused(goal: str, text: str) -> float | None:
    """Share of the goal's numbers that a text does not name, in [0, 1]; None if it has none."""
    total = len(numbers(goal))
    return len(remaining_quantities(goal, text)) / total if total else None


def _mean(values: Iterable[float | None], low: float = 0.0, high: float = math.inf) -> float | None:
    known = [value for value in values if value is not None]
    for value in known:
        if not low <= value <= high:
            return value
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class StandIn:
    """An estimate of one feature.

    Attributes:
        feature: its name.
        value: in the feature's unit.
        phrase: what stands in for what.
    """

    feature: str
    value: float | None
    phrase: str


def stand_ins(evidence: Evidence) -> Iterator[StandIn]:
    """Estimates of what the model alone would know, the better one first.

    All need two candidates or more, except for the perplexity of the answers' own tokens.
    """
    yield StandIn(
        "perplexity",
        answer_perplexity(evidence),
        "perplexity of the answers for that of the context",
    )
    if len(evidence.candidates) < 2:
        return
    nats = answer_nats(evidence)
    yield StandIn("entropy", nats, "entropy of the answers for next-token entropy")
    yield StandIn("token_entropy", nats, "entropy of the answers for that of their tokens")
    yield StandIn(
        "perplexity",
        None if nats is None else math.exp(nats),
        "entropy of the answers for the perplexity of the context",
    )
    if evidence.agreement:
        yield StandIn(
            "log_prob",
            math.log(evidence.agreement),
            "agreement of the answers for their log-probability",
        )
    counts = "counts of the answers for the probabilities of the options"
    yield StandIn("choice_entropy", answer_entropy(evidence), counts)
    yield StandIn("choice_margin", margin(evidence), counts)
    yield StandIn(
        "divergence",
        answer_divergence(evidence),
        "divergence of the answers for that of the model's probabilities",
    )
