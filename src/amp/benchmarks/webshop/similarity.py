"""How alike two short texts are by the words that they share, from 0 to 100.

The measure of thefuzz's ``token_set_ratio`` with its usual cleaning, written with RapidFuzz's
definition: an edit is the insertion or the deletion of a character.
"""

from __future__ import annotations

import re
from functools import lru_cache

_NO_WORD = re.compile(r"[\W_]")
# The last one: RapidFuzz has one small letter for each capital one.
_CLEANED = {**dict.fromkeys(range(0x80, 0x100), None), 0x130: "i"}
_CACHED_TEXTS = 1 << 14


def token_set_ratio(first: str, second: str) -> int:
    """Similarity of two texts as sets of words, in 0 to 100, a half rounded to even.

    100 if the words of one are among those of the other; 0 if a text has no word. Letters from
    U+0080 to U+00FF don't count.
    """
    ours, theirs = _words(first), _words(second)
    if not ours or not theirs:
        return 0
    common, only_ours, only_theirs = ours & theirs, ours - theirs, theirs - ours
    if common and not (only_ours and only_theirs):
        return 100
    left, right = " ".join(sorted(only_ours)), " ".join(sorted(only_theirs))
    shared = len(" ".join(common))
    gap = 1 if shared else 0
    edits = len(left) + len(right) - 2 * _common_subsequence(left, right)
    best = _likeness(edits, 2 * (shared + gap) + len(left) + len(right))
    if shared:
        for rest in (len(left), len(right)):
            best = max(best, _likeness(gap + rest, 2 * shared + gap + rest))
    return round(best)


@lru_cache(maxsize=_CACHED_TEXTS)
def _words(text: str) -> frozenset[str]:
    return frozenset(_NO_WORD.sub(" ", text.translate(_CLEANED)).lower().split())


def _likeness(edits: int, length: int) -> float:
    return 100.0 - 100.0 * edits / length


def _common_subsequence(first: str, second: str) -> int:
    """Length of the longest common subsequence, a column of the table in one integer (Hyyrö)."""
    places: dict[str, int] = {}
    for i, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << i
    full = (1 << len(first)) - 1
    column = full
    for character in second:
        matches = column & places.get(character, 0)
        column = ((column + matches) | (column - matches)) & full
    return len(first) - column.bit_count()
