"""Goal-state distance D: how far the goal still is, from what the planner may see (spec 2.2)."""

from __future__ import annotations

import math
import re
from collections import Counter
from decimal import Decimal
from functools import lru_cache

from amp.assess.language import latest, numbers, word_set
from amp.assess.uncertainty import saturating
from amp.types import StepContext

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
_CACHED_TEXTS = 512


def goal_distance(context: StepContext) -> tuple[float, str | None]:
    """D in [0, 1], and what stood in for the environment's estimate, or None if it gave one.

    Without an estimate D is n / (n + 4), where n is how much of what the goal names is named
    neither in the state nor in the plan so far, and so is still to be dealt with: of its numbers
    if it has any, else of its content words. Of state and plan the last 8,000 characters count
    (`language.MOST_CHARACTERS`).
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
        named |= Counter(map(_value, numbers(text)))
    remaining = []
    for number in numbers(goal):
        value = _value(number)
        if named[value] > 0:
            named[value] -= 1
        else:
            remaining.append(number)
    return remaining


def remaining_words(goal: str, *texts: str) -> list[str]:
    """The content words of a goal that no text names, each once, in the goal's order."""
    named = _EMPTY_WORDS.union(*(_WORD.findall(text.lower()) for text in texts))
    return [word for word in dict.fromkeys(_WORD.findall(goal.lower())) if word not in named]


@lru_cache(maxsize=_CACHED_TEXTS)
def _text_distance(goal: str, state: str, plan: str) -> tuple[float, str]:
    if numbers(goal):
        left = len(remaining_quantities(goal, state, plan))
        phrase = "quantities in the goal for its distance"
    else:
        left = len(remaining_words(goal, state, plan))
        phrase = "words in the goal for its distance"
    return saturating(left, _TYPICAL_REMAINDER), phrase


def _value(number: str) -> Decimal:
    return _NUMBER_WORDS.get(number) or Decimal(number.replace(",", ""))
