"""The stemmer of M. F. Porter (1980), with the two changes of his own later version.

"An algorithm for suffix stripping", Program 14(3); the changes are ``bli`` to ``ble`` for ``abli``
to ``able``, and ``logi`` to ``log``.
"""

from __future__ import annotations

import re
from functools import lru_cache

_CACHED_WORDS = 1 << 18

# The shape of a word has a for each vowel and b for each consonant.
_VOWELS = str.maketrans("eiou", "aaaa")
_NOT_VOWEL = re.compile("[^a]")
_MEASURE = re.compile("ab")

_STEP_2 = {
    **{"ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize"},
    **{"bli": "ble", "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous"},
    **{"ization": "ize", "ation": "ate", "ator": "ate", "alism": "al", "iveness": "ive"},
    **{"fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble"},
    "logi": "log",
}
_STEP_3 = {
    **{"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": ""},
    "ness": "",
}
_STEP_4 = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion"),
    *("ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


def _longest_first(suffixes: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"(?:{'|'.join(sorted(suffixes, key=len, reverse=True))})$")


_SUFFIX_2 = _longest_first(tuple(_STEP_2))
_SUFFIX_3 = _longest_first(tuple(_STEP_3))
_SUFFIX_4 = _longest_first(_STEP_4)


@lru_cache(maxsize=_CACHED_WORDS)
def stem(word: str) -> str:
    """Returns the stem of a word in lower case; one of at most two letters stays as it is."""
    if len(word) <= 2:
        return word
    word = _plurals_and_participles(word)
    if word.endswith("y") and "a" in _shape(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(word, _SUFFIX_2, _STEP_2)
    word = _replaced(word, _SUFFIX_3, _STEP_3)
    word = _without_suffix(word)
    return _without_final_letter(word)


def _shape(word: str) -> str:
    """The word with its vowels as a, consonants as b; y is a vowel after a consonant."""
    letters = list(word.translate(_VOWELS))
    for i, letter in enumerate(letters):
        if letter == "y" and i > 0 and letters[i - 1] != "a":
            letters[i] = "a"
    return _NOT_VOWEL.sub("b", "".join(letters))


def _measure(word: str) -> int:
    """How often a vowel is followed by a consonant: Porter's m."""
    return len(_MEASURE.findall(_shape(word)))


def _ends_double(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "b"


def _ends_short(word: str) -> bool:
    """Ends in consonant, vowel, consonant other than w, x, y."""
    return _shape(word).endswith("bab") and word[-1] not in "wxy"


def _plurals_and_participles(word: str) -> str:
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        if word.endswith(suffix) and "a" in _shape(word[: -len(suffix)]):
            return _repaired(word[: -len(suffix)])
    return word


def _repaired(stemmed: str) -> str:
    """What is left of a participle, as the end of a word: hoping is hope, hopping is hop."""
    if stemmed.endswith(("at", "bl", "iz")):
        return stemmed + "e"
    if _ends_double(stemmed):
        return stemmed if stemmed[-1] in "lsz" else stemmed[:-1]
    return stemmed + "e" if _measure(stemmed) == 1 and _ends_short(stemmed) else stemmed


def _replaced(word: str, pattern: re.Pattern[str], endings: dict[str, str]) -> str:
    found = pattern.search(word)
    if found is None or _measure(word[: found.start()]) == 0:
        return word
    return word[: found.start()] + endings[found[0]]


def _without_suffix(word: str) -> str:
    found = _SUFFIX_4.search(word)
    if found is None:
        return word
    rest = word[: found.start()]
    if found[0] == "ion" and not rest.endswith(("s", "t")):
        return word
    return rest if _measure(rest) > 1 else word


def _without_final_letter(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        measure = _measure(rest)
        if measure > 1 or (measure == 1 and not _ends_short(rest)):
            word = rest
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word
