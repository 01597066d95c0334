"""Step complexity indicators I: what the words of a step say about its difficulty (spec 3.2).

The words are English; in other languages the counts are low.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from amp.assess.uncertainty import saturating

MOST_CHARACTERS = 3000
"""How much of a text is read, from its end: what is said last matters now."""

INDICATORS: Mapping[str, frozenset[str]] = {
    "causal": frozenset({"because", "since", "therefore", "thus", "hence", "so"}),
    "conditional": frozenset({"if", "unless", "otherwise", "whether", "provided", "except"}),
    "contrastive": frozenset(
        {"but", "however", "although", "though", "despite", "instead", "while", "whereas"}
    ),
    "hypothetical": frozenset({"would", "could", "suppose", "assume"}),
    "quantitative": frozenset(
        {
            *("each", "every", "twice", "half", "double", "triple"),
            *("more", "less", "fewer", "than"),
            *("remaining", "left", "rest", "total", "altogether"),
        }
    ),
    "temporal": frozenset({"then", "after", "before", "until", "first", "next", "finally"}),
}
"""Reasoning indicators by class; no word is in two. "temporal" is order in time."""

_CLASS = {word: name for name, words in INDICATORS.items() for word in words}
_ASCII_WORD = re.compile(r"[a-z]+")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_NUMBER = re.compile(
    r"\d[\d,]*(?:\.\d+)?|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|dozen)\b"
)
_TYPICAL_INDICATORS = 4.0
_TYPICAL_QUANTITIES = 4.0
_CACHED_TEXTS = 2048


def indicator_counts(text: str) -> dict[str, int]:
    """How many reasoning indicators of each class a text has, by the names of `INDICATORS`.

    Whole words count, not substrings: "than" is none in "thank".
    """
    found = Counter(map(_CLASS.get, _ASCII_WORD.findall(text.lower())))
    return {name: found[name] for name in INDICATORS}


def reasoning_indicators(text: str) -> float:
    """Density of reasoning indicators in a text, in [0, 1): n / (n + 4)."""
    return saturating(sum(indicator_counts(text).values()), _TYPICAL_INDICATORS)


def word_count(text: str) -> int:
    """How many words a text has, in any script that parts them; a number is a word."""
    return len(_WORD.findall(text))


@lru_cache(maxsize=_CACHED_TEXTS)
def numbers(text: str) -> tuple[str, ...]:
    """The numbers that a text names, in digits or words, as they stand in lower case.

    The words are one to ten and dozen.
    """
    return tuple(number.rstrip(",") for number in _NUMBER.findall(text.lower()))


def quantities(text: str) -> float:
    """How many numbers a text names, in digits or words, in [0, 1): n / (n + 4)."""
    return saturating(len(numbers(text)), _TYPICAL_QUANTITIES)


def latest(text: str) -> str:
    """The part of a text that is read: its last `MOST_CHARACTERS` characters."""
    return text[-MOST_CHARACTERS:]


def word_set(text: str) -> frozenset[str]:
    """The words of a list that is written as one text."""
    return frozenset(text.split())
