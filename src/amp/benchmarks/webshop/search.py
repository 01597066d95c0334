"""Search by BM25 as Lucene does it: its words, its single precision, its document lengths.

Words are those of Lucene's English analyzer: by the rules of Unicode (UAX #29), without a
possessive 's, in lower case, without 33 stop words, stemmed by Porter's algorithm; accents are not
folded. Scores are those of Robertson et al.'s formula with k1 = 0.9 and b = 0.4, a document's
length kept in one byte. A query is a bag of words, no sign in it has a meaning, and a repeated word
counts again.
"""

from __future__ import annotations

import math
import re
import sqlite3
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from amp.assess.text import word_set

STOP_WORDS = word_set(
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with"
)
_LONGEST = 255  # characters; what is longer is cut into pieces of this length

_POSSESSIVE = re.compile("['\u2019\uff07][sS]$")


class _Classes(dict[int, str]):
    """The class of each character as one letter, found when it is first met.

    l letter, n digit, k Katakana, i a word of its own (Han, Hiragana), s scripts of South East Asia
    without spaces, e pictograph, r regional indicator, _ connector, : between letters, ; between
    digits, . between both, x mark or format character, z modifier of pictographs, j joiner of
    pictographs, space anything else. Quotation marks inside Hebrew words are not told apart.
    """

    def __missing__(self, code: int) -> str:
        letter = self[code] = _class_of(chr(code))
        return letter


_SINGLE = {
    **dict.fromkeys("_\u202f\u203f\u2040\u2054\ufe33\ufe34\ufe4d\ufe4e\ufe4f\uff3f", "_"),
    **dict.fromkeys(":\u00b7\u0387\u055f\u05f4\u2027\ufe13\ufe55\uff1a", ":"),
    **dict.fromkeys(",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54", ";"),
    **dict.fromkeys("\uff0c\uff1b", ";"),
    **dict.fromkeys("'.\u2018\u2019\u2024\ufe52\uff07\uff0e", "."),
    **{"\u200b": " ", "\u200d": "j", "\uff9e": "x", "\uff9f": "x"},
    **dict.fromkeys("\u30fc\uff70\u3031\u3032\u3033\u3034\u3035\u309b\u309c", "k"),
}
_LETTERS_OF_OTHER_CATEGORIES = frozenset(
    "\u02c2\u02c3\u02c4\u02c5\u02d2\u02d3\u02d4\u02d5\u02d6\u02d7\u02de\u02df\u02ed"
    "\u02ef\u02f0\u02f1\u02f2\u02f3\u02f4\u02f5\u02f6\u02f7\u02f8\u02f9\u02fa\u02fb\u02fc\u02fd"
    "\u02fe\u02ff\u055a\u055b\u055c\u055e\u05f3\ua708\ua720\ua721\ua789\ua78a\uab5b"
)
_UNSPACED = ("THAI", "LAO", "MYANMAR", "KHMER", "TAI", "NEW TAI", "AHOM")
_HAN = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "CJK RADICAL", "KANGXI")
# Unicode's property Extended_Pictographic; code points and ranges.
_PICTURES = (
    "00a9 00ae 203c 2049 2122 2139 2194-2199 21a9-21aa 231a-231b 2328 2388 23cf 23e9-23f3 "
    "23f8-23fa 24c2 25aa-25ab 25b6 25c0 25fb-25fe 2600-2605 2607-2612 2614-2685 2690-2705 "
    "2708-2712 2714 2716 271d 2721 2728 2733-2734 2744 2747 274c 274e 2753-2755 2757 "
    "2763-2767 2795-2797 27a1 27b0 27bf 2934-2935 2b05-2b07 2b1b-2b1c 2b50 2b55 3030 303d "
    "3297 3299 1f000-1f0ff 1f10d-1f10f 1f12f 1f16c-1f171 1f17e-1f17f 1f18e 1f191-1f19a "
    "1f1ad-1f1e5 1f201-1f20f 1f21a 1f22f 1f232-1f23a 1f23c-1f23f 1f249-1f3fa 1f400-1f53d "
    "1f546-1f64f 1f680-1f6ff 1f774-1f77f 1f7d5-1f7ff 1f80c-1f80f 1f848-1f84f 1f85a-1f85f "
    "1f888-1f88f 1f8ae-1f8ff 1f90c-1f93a 1f93c-1f945 1f947-1fffd "
)


def _pictures() -> frozenset[int]:
    bounds = (part.split("-") for part in _PICTURES.split())
    return frozenset(
        code for bound in bounds for code in range(int(bound[0], 16), int(bound[-1], 16) + 1)
    )


_PICTURE = _pictures()


def _class_of(character: str) -> str:
    if character in _SINGLE:
        return _SINGLE[character]
    category = unicodedata.category(character)
    if category.startswith("M") or category == "Cf":
        return "x"
    if "\U0001f1e6" <= character <= "\U0001f1ff":
        return "r"
    if "\U0001f3fb" <= character <= "\U0001f3ff":
        return "z"
    if ord(character) in _PICTURE:
        return "e"
    name = unicodedata.name(character, "")
    if name.startswith(_UNSPACED):
        return "s"
    if category == "Nd":
        return "n"
    if name.startswith(_HAN) or character in "\u3005\u3007":
        return "i"
    if name.startswith("HIRAGANA"):
        return "i"
    if "KATAKANA" in name:
        return "k"
    circled = "\u24b6" <= character <= "\u24e9"
    if category[0] == "L" or category == "Nl" or circled:
        return "l"
    return "l" if character in _LETTERS_OF_OTHER_CATEGORIES else " "


_CLASS = _Classes()


def _word_pattern() -> re.Pattern[str]:
    marks = "[xj]*"
    letter, digit, katakana, connector = (f"{name}{marks}" for name in "lnk_")

    def chain(unit: str, between: str = "") -> str:
        inside = f"(?:{connector})*" + (f"|[{between}]{marks}" if between else "")
        return f"{unit}(?:(?:{inside}){unit})*"

    part = f"(?:{chain(katakana)}|(?:{chain(letter, ':.')}|{chain(digit, ';.')})+)"
    word = f"(?:{connector})*+{part}(?:(?:{connector})+{part})*(?:{connector})*"
    picture = f"e[xz]*(?:je[xz]*)*{marks}|r{marks}r{marks}"
    # Connectors alone are no word; found as a whole, they are not tried from each on.
    alone = f"(?P<alone>(?:{connector})++)"
    return re.compile(f"{word}|(?:s{marks})+|i{marks}|{picture}|{alone}")


_WORD = _word_pattern()


def raw_words(text: str) -> Iterator[str]:
    """The words of a text as they stand there."""
    for found in _WORD.finditer(text.translate(_CLASS)):
        if found["alone"] is not None:
            continue
        for begin in range(found.start(), found.end(), _LONGEST):
            yield text[begin : min(begin + _LONGEST, found.end())]


def index_words(text: str) -> list[str]:
    """The words of a text as they are indexed and searched for, in their order."""
    words = (_POSSESSIVE.sub("", word).lower() for word in raw_words(text))
    return [stem(word) for word in words if word not in STOP_WORDS]


_CACHED_STEMS = 1 << 18

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


@lru_cache(maxsize=_CACHED_STEMS)
def stem(word: str) -> str:
    """Returns the stem of a word in lower case; one of at most two letters stays as it is.

    The algorithm of M. F. Porter ("An algorithm for suffix stripping", Program 14(3), 1980) with
    the two changes of his own later version: ``abli`` becomes ``able``, and ``logi`` ``log``.
    """
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
    suffix = pattern.search(word)
    if suffix is None or _measure(word[: suffix.start()]) == 0:
        return word
    return word[: suffix.start()] + endings[suffix[0]]


def _without_suffix(word: str) -> str:
    suffix = _SUFFIX_4.search(word)
    if suffix is None:
        return word
    rest = word[: suffix.start()]
    if suffix[0] == "ion" and not rest.endswith(("s", "t")):
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


K1, B = np.float32(0.9), np.float32(0.4)
_BLOCK = 50_000  # documents that are inverted in memory at once
_CACHED_WORDS = 1_024

SCHEMA = """
CREATE TABLE postings (
    word TEXT, block INTEGER, pairs BLOB, PRIMARY KEY (word, block)
) WITHOUT ROWID;
CREATE TABLE lengths (lengths BLOB, words INTEGER);
"""

_ONE = np.float32(1)
_EXACT = 24  # lengths below are kept as they are

Postings = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


class IndexWriter:
    """Writes the index of documents that come one after the other, numbered from 0."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lengths = bytearray()
        self._words = 0
        self._block: dict[str, array[int]] = {}

    def add(self, document: str) -> None:
        """Takes the next document."""
        number = len(self._lengths)
        words = index_words(document)
        for word, count in Counter(words).items():
            postings = self._block.get(word)
            if postings is None:
                postings = self._block[word] = array("i")
            postings.extend((number, count))
        self._lengths.append(length_byte(len(words)))
        self._words += len(words)
        if len(self._lengths) % _BLOCK == 0:
            self._write()

    def finish(self) -> None:
        """Writes what is left."""
        self._write()
        row = (bytes(self._lengths), self._words)
        self._connection.execute("INSERT INTO lengths VALUES (?, ?)", row)

    def _write(self) -> None:
        number = len(self._lengths)
        rows = ((word, number, pairs.tobytes()) for word, pairs in sorted(self._block.items()))
        self._connection.executemany("INSERT INTO postings VALUES (?, ?, ?)", rows)
        self._block = {}


class Index:
    """An index that was written.

    Args:
        connection: the database that holds it.
        ranks: places of the documents in the order in which equally good ones are found.
    """

    def __init__(self, connection: sqlite3.Connection, ranks: npt.NDArray[np.int32]) -> None:
        (lengths, words) = connection.execute("SELECT lengths, words FROM lengths").fetchone()
        decoded = np.array([length_of(byte) for byte in range(256)], dtype=np.float32)
        of_documents = decoded[np.frombuffer(lengths, dtype=np.uint8)]
        self._size = len(lengths)
        self._with_words = max(1, int(np.count_nonzero(of_documents)))  # the others don't count
        average = np.float32(max(1, words) / self._with_words)
        self._norms = _ONE / (K1 * ((_ONE - B) + B * of_documents / average))
        self._ranks = ranks
        self._connection = connection
        self._postings = lru_cache(_CACHED_WORDS)(self._read)

    def search(self, query: str, limit: int) -> list[int]:
        """Returns the numbers of the best documents, the best first, `limit` at most."""
        scores = np.zeros(self._size)
        for word, count in Counter(index_words(query)).items():
            documents, counts = self._postings(word)
            if not len(documents):
                continue
            weight = np.float32(count) * _rarity(self._with_words, len(documents))
            # Terms are added in double precision; equal sums rounded to single are equal scores.
            term = weight - weight / (_ONE + counts * self._norms[documents])
            scores[documents] += term
        single = scores.astype(np.float32)
        matches = np.flatnonzero(single)
        if len(matches) > limit:
            worst = np.partition(single[matches], len(matches) - limit)[len(matches) - limit]
            matches = matches[single[matches] >= worst]
        order = np.lexsort((self._ranks[matches], -single[matches]))
        best: list[int] = matches[order[:limit]].tolist()
        return best

    def _read(self, word: str) -> Postings:
        """The numbers of the documents with a word, and how often it stands in each."""
        query = "SELECT pairs FROM postings WHERE word = ? ORDER BY block"
        blobs = b"".join(blob for (blob,) in self._connection.execute(query, (word,)))
        pairs = np.frombuffer(blobs, dtype=np.int32).reshape(-1, 2)
        return pairs[:, 0].copy(), pairs[:, 1].astype(np.float32)


def _rarity(documents: int, with_word: int) -> np.float32:
    return np.float32(math.log(1 + (documents - with_word + 0.5) / (with_word + 0.5)))


def length_byte(length: int) -> int:
    """A length in one byte as Lucene writes it: four significant bits from 24 on."""
    if length < _EXACT:
        return length
    rest = length - _EXACT
    shift = rest.bit_length() - 4
    return _EXACT + (rest if shift < 0 else (shift + 1) << 3 | (rest >> shift) & 7)


def length_of(byte: int) -> int:
    """The length that a byte stands for, the least of those that it may."""
    if byte < _EXACT:
        return byte
    shift, rest = divmod(byte - _EXACT, 8)
    return _EXACT + (rest if shift == 0 else (rest | 8) << (shift - 1))
