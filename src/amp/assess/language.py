"""Step complexity indicators I: what the words of a step say about its difficulty (spec 3.2)."""

from __future__ import annotations

import re

from amp.assess.uncertainty import saturating

_INDICATORS = frozenset(
    {
        *("because", "since", "therefore", "thus", "hence", "so"),  # causal
        *("if", "unless", "otherwise", "whether", "provided", "except"),  # conditional
        *("but", "however", "although", "though", "despite", "instead", "while", "whereas"),
        *("would", "could", "suppose", "assume"),  # hypothetical
        *("each", "every", "twice", "half", "double", "triple", "more", "less", "fewer", "than"),
        *("remaining", "left", "rest", "total", "altogether"),  # quantitative
        *("then", "after", "before", "until", "first", "next", "finally"),  # order in time
    }
)
_WORD = re.compile(r"[a-z]+")
_NUMBER = re.compile(
    r"\d[\d,]*(?:\.\d+)?|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|dozen)\b"
)
_TYPICAL_INDICATORS = 4.0
_TYPICAL_QUANTITIES = 4.0


def reasoning_indicators(text: str) -> float:
    """Density of reasoning indicators in a text, in [0, 1): n / (n + 4).

    Whole words count, not substrings: "than" is none in "thank".
    """
    count = sum(word in _INDICATORS for word in _WORD.findall(text.lower()))
    return saturating(count, _TYPICAL_INDICATORS)


def quantities(text: str) -> float:
    """How many numbers a text names, in digits or words, in [0, 1): n / (n + 4)."""
    return saturating(len(_NUMBER.findall(text.lower())), _TYPICAL_QUANTITIES)
