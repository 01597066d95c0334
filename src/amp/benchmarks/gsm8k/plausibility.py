"""What an answer to a word problem looks like against what is asked, whoever gave it.

A count is no fraction and nothing is negative; a price may have two decimals. A result repeats a
number of the question seldom, and uses most of them. Each of these tells little; together with the
model's own confidence they tell a right answer from a wrong one (`amp.assess.correctness`).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from amp.assess.evidence import value_of
from amp.assess.text import numbers
from amp.types import Candidate, StepContext

_MONEY = re.compile(r"[$\u20ac\u00a3]|\b(?:dollar|cent|cost|price|pay|earn)", re.IGNORECASE)
_COUNT = re.compile(r"\bhow many\b", re.IGNORECASE)
_PERCENT = re.compile(r"%|\bpercent", re.IGNORECASE)
_CACHED_GOALS = 512


def plausibility(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """What a candidate looks like, as numbers by name.

    Those about the answer are missing where it is no number, those that compare it with the numbers
    of the question where there are none; those about the question are there in any case.
    """
    goal = context.task.goal
    asked = _asked(goal)
    looks = dict(asked)
    answer = _number(candidate.action)
    if answer is None:
        return looks
    whole = abs(answer - round(answer)) < _NOISE
    named = _values(goal)
    size = math.log1p(abs(answer))
    looks |= {
        "negative": float(answer < 0.0),
        "zero": float(answer == 0.0),
        "below_one": float(0.0 < answer < 1.0),
        "fraction": float(not whole),
        "fraction_of_count": float(not whole and asked["asks_count"]),
        "fraction_of_money": float(not whole and asked["asks_money"]),
        "below_cents": float(abs(answer * 100.0 - round(answer * 100.0)) >= _NOISE),
        "size": size,
    }
    if named:
        looks["over_largest"] = size - math.log1p(max(named))
        looks["repeats"] = float(answer in named)
    return looks


_NOISE = 1e-6


def _number(action: str | None) -> float | None:
    try:
        value = math.nan if action is None else float(action)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < _LARGEST else None


_LARGEST = 1e15


@lru_cache(maxsize=_CACHED_GOALS)
def _asked(goal: str) -> dict[str, float]:
    return {
        "asks_count": float(_COUNT.search(goal) is not None),
        "asks_money": float(_MONEY.search(goal) is not None),
        "asks_percent": float(_PERCENT.search(goal) is not None),
        "question_numbers": math.log1p(len(numbers(goal))),
        "question_words": math.log1p(len(goal.split())),
    }


@lru_cache(maxsize=_CACHED_GOALS)
def _values(goal: str) -> frozenset[float]:
    values = (float(value_of(number)) for number in numbers(goal))
    return frozenset(value for value in values if value < _LARGEST)
