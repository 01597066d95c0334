"""Numbers and equations in a text, as models, people and programs write them.

What counts is the value that is meant. An equation states its result (``12 * 7 = 84`` is 84), a
fraction its quotient, ``1 234`` and ``1,234`` are the same, and ``5 million`` are 5000000.
Arithmetic without a result states nothing, nor do times, ratios, ranges, dates and addresses: no
part of them is taken for a number. Every function reads a text once and raises nothing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from amp.execute.base import LONGEST_ANSWER
from amp.execute.tools.calculator import format_number

_LONGEST_NUMBER = 1_000  # characters; Python refuses to read numbers of more than 4,300 digits


def normalise(text: str) -> str | None:
    """Writes the one number that a text states so that equal numbers are equal strings.

    Currency, thousands separators, a percent sign, units and trailing zeros go; noise of floating
    point goes with the seventh decimal: ``$1,200.00`` is ``1200``, ``17.999999999`` is ``18``, and
    ``7/2``, as Python writes a fraction, is ``3.5``. Idempotent.

    Returns:
        The number, or None if the text states none, or several different ones.
    """
    plain = plain_text(text).strip()
    if len(plain) > _LONGEST_NUMBER:
        return None
    if _EQUATION.match(plain):
        stated = stated_at(plain, 0)
        return written(stated) if stated and not plain[stated.end :].strip(" .") else None
    numbers: set[Fraction] = set()
    at = 0
    while begin := BEGIN.search(plain, at):
        number = _number(plain, begin.start(), _STRICT)
        if number.value is None:
            return None
        numbers.add(number.value)
        at = number.end
    return _write(numbers.pop()) if len(numbers) == 1 else None


_VULGAR_FRACTIONS = "\u00bc\u00bd\u00be" + "".join(map(chr, range(0x2150, 0x215F)))


def _in_digits(fraction: str) -> str:
    return unicodedata.normalize("NFKC", fraction).replace("\u2044", "/")


_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2013\u2010\u2011", "-"),
        **dict.fromkeys("\u00d7\u22c5\u00b7\u2217\u2219\u2022\u2715\u2716", "*"),
        **dict.fromkeys("\u00f7\u2044\u2215", "/"),
        **dict.fromkeys("\u2007\u2008\u2009\u202f\u3000", "\u00a0"),
        **{"\uff1d": "=", "\uff0c": ",", "\uff1a": ":", "\u2019": "'", "`": ""},
        **{sign: f" {_in_digits(sign)}" for sign in _VULGAR_FRACTIONS},
    }
)
_LATEX = (
    (re.compile(r"(?<=\d)(?:\{,\}|\\[,;:! ])(?=\d{3})"), ","),
    (re.compile(r"(?<=\S)~(?=\S)"), "\u00a0"),
    (re.compile(r"\\(?:text|math|mbox|operatorname)[a-z]{0,10}\s?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"(?<=[-+])\s?(?=\\[dtc]?frac)"), ""),
    (re.compile(r"(?<![-+])(?=\\[dtc]?frac)"), " "),
    (re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac\s?\{([^{}]*)\}\s?\{-([^{}]*)\}"), r"-\1/\2"),
    (re.compile(r"\\[dtc]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\(?:times|cdot|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\(?:approx|simeq|equiv)(?![a-zA-Z])"), "="),
    (re.compile(r"\\(?:left|right|q?quad|displaystyle|to|[rR]ightarrow|implies)(?![a-zA-Z])"), " "),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\[,;:! ()\[\]]"), " "),
)
_EMPHASIS = (
    # Not the power in 2**3.
    (re.compile(r"(?<![\d)])\*\*|\*\*(?!\s?[\d(])"), ""),
    (re.compile(r"\$\$"), " "),
    (re.compile(r"__|(?<!\w)_(?=\S)|(?<=\S)_(?!\w)"), ""),
)
_LONE_SIGN = re.compile(r"((?:^|[=:#(\[|])\s{0,3}[-+])\s(?=[$\u20ac\u00a3\d.])", re.MULTILINE)


def plain_text(text: str) -> str:
    """The end of a text without emphasis, in the signs that the functions here read."""
    plain = signs_of(text)
    for pattern, replacement in _EMPHASIS:
        plain = pattern.sub(replacement, plain)
    return _LONE_SIGN.sub(r"\1", plain)


def signs_of(text: str) -> str:
    """The end of a text in ASCII signs, without LaTeX's commands but for ``\\boxed``."""
    text = text[-LONGEST_ANSWER:].translate(_SIGNS)  # the end: what a model says last counts
    if "\\" in text or "{" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text


_CURRENCY = (
    r"(?:(?:US|AU|CA|NZ|HK|A|C|R)?\$|[\u00a3\u00a5\u20a0-\u20bf\u0e3f]"
    r"|(?:[A-Z]{3}|Rs\.?|kr\.?)(?=[ \d]))"
)
_HEAD = rf"(?P<sign>[-+]?)(?P<currency>{_CURRENCY}\s?)?(?P<inner>-?)"
_WHOLE = r"\d[\d,]{0,30}(?:\.\d{1,30})?"
_FRACTION = (
    rf"(?:(?P<units>\d{{1,9}})[ \u00a0]{{1,3}}(?:and )?)?(?P<top>{_WHOLE})\s?/"
    rf"\s?(?P<bottom>{_WHOLE})"
    r"(?![\d,.]{0,30}\d)"
)
_POINT = r"(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?"


def _numbers(separators: str, more: str) -> re.Pattern[str]:
    grouped = (
        rf"\d{{1,3}}(?P<separator>[{separators}])\d{{3}}(?:(?P=separator)\d{{3}})*(?!\d)(?:\.\d+)?"
        r"|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)(?:\.\d+)?"
    )
    return re.compile(
        rf"{_HEAD}(?:(?P<other_base>0[xX][0-9a-fA-F]+|0[bBoO]\d+)|{_FRACTION}{more}"
        rf"|(?P<grouped>{grouped})|(?P<point>{_POINT}))"
    )


_PROSE = _numbers(
    r",' \u00a0_",
    r"|(?P<decimal>\d{1,3}(?:[. \u00a0']\d{3})+,\d{1,2}(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?!\d)"
    r"|\d+,\d{1,2}(?![,\d]))",
)
"""Numbers as people write them, also with spaces and a decimal comma."""

_STRICT = _numbers(r",'\u00a0_", "")
"""Numbers as programs write them, where a space or a comma parts two numbers."""

_SEPARATORS = re.compile(r"[,' \u00a0_]")
_DECIMAL_SEPARATORS = re.compile(r"[. \u00a0']")

_NOT_THAT = re.compile(r"[eE][-+]?\d|[_']?\d|[.,:/]\d|[\u00b2\u00b3]")
"""What makes a number a part of something else: a time, a ratio, a date, a version, a square."""

_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_SCALES |= {"trillion": 10**12, "dozen": 12, "k": 1000, "m": 10**6, "b": 10**9, "bn": 10**9}
_SCALE = re.compile(
    r"[ \u00a0-]{0,3}(?P<word>hundred|thousand|million|billion|trillion|dozen)s?\b"
    r"|(?P<letter>[kK]|M|B|bn)\b",
    re.IGNORECASE,
)
_PART = re.compile(
    r" and (?:a|one)[ -](?P<part>half|third|quarter)\b"
    r"|(?: dollars?)?,? and (?P<cents>\d{1,2}) cents?\b",
    re.IGNORECASE,
)
"""What is added to a whole number in words."""
_PARTS = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}
_TWO_UNITS = re.compile(
    r" (?:hours?|minutes?|days?|weeks?|months?|years?|feet|foot|yards?|pounds?),?(?: and)? \d{1,3}"
    r" (?:seconds?|minutes?|hours?|days?|weeks?|months?|inch(?:es)?|feet|foot|ounces?)\b",
    re.IGNORECASE,
)
"""What makes a number a part of a quantity in two units, which is no number before it is turned
into one of them."""
_PERCENT = re.compile(r"\s?(?:%|percent\b)")
BEGIN = re.compile(rf"(?<![\w.])(?<!\w/)(?=[-+]?(?:{_CURRENCY}\s?)?-?\.?\d)")
"""Where a number begins."""
_REST = re.compile(r"(?:[\w.,:/'-]*\w)?")


@dataclass(frozen=True, slots=True)
class Stated:
    """A number, or an equation, in a text.

    Attributes:
        value: what it states; None if it is no number, or arithmetic without a result.
        end: where it ends in the text.
        share: whether it is a percentage or a fraction, which may be one "of" something.
    """

    value: Fraction | None
    end: int
    share: bool = False


def _number(text: str, at: int, pattern: re.Pattern[str]) -> Stated:
    """The number that begins at a place of a text; without a value if what begins is none."""
    match = pattern.match(text, at)
    end = at if match is None else match.end()
    if (
        match is None
        or match["other_base"]
        or _NOT_THAT.match(text, end)
        or len(match[0]) > _LONGEST_NUMBER
    ):
        rest = _REST.match(text, max(end, at + 1))
        return Stated(None, max(end, at + 1) if rest is None else rest.end())
    value = _value(match)
    for _ in range(2):  # "hundred thousand"
        scale = _SCALE.match(text, end)
        if value is None or scale is None:
            break
        letter = (scale["letter"] or "").lower()
        if letter in ("m", "b", "bn") and not match["currency"]:
            break  # a unit
        value *= _SCALES[letter or scale["word"].lower()]
        end = scale.end()
    if value is not None and (part := _PART.match(text, end)):
        value += _PARTS[part["part"].lower()] if part["part"] else Fraction(int(part["cents"]), 100)
        end = part.end()
    if units := _TWO_UNITS.match(text, end):
        return Stated(None, units.end())
    if percent := _PERCENT.match(text, end):
        end = percent.end()
    return Stated(value, end, share=percent is not None or match["top"] is not None)


def _value(match: re.Match[str]) -> Fraction | None:
    """The value of a match of one of the patterns of numbers; None for a division by zero."""
    fields = match.groupdict()
    if fields["top"]:
        top, bottom = (Fraction(fields[name].replace(",", "")) for name in ("top", "bottom"))
        if not bottom:
            return None
        value = Fraction(fields["units"] or 0) + top / bottom
    elif fields["grouped"]:
        value = Fraction(_SEPARATORS.sub("", fields["grouped"]))
    elif fields.get("decimal"):
        value = Fraction(_DECIMAL_SEPARATORS.sub("", fields["decimal"]).replace(",", "."))
    else:
        value = Fraction(fields["point"])
    return -value if (fields["sign"] == "-") != bool(fields["inner"]) else value


def written(stated: Stated | None) -> str | None:
    """Writes what a text states so that equal numbers are equal strings; None for no number."""
    return None if stated is None or stated.value is None else _write(stated.value)


def _write(value: Fraction) -> str | None:
    text = format_number(round(value, 6))
    return text if len(text) <= _LONGEST_NUMBER else None


_UNIT = r"(?:[A-Za-z][A-Za-z'/-]{0,20}[ \u00a0]{1,2})"
_OPENING = re.compile(
    r"(?:\s++|[(\[{<\"'~*|>:=\u2248\u2245\u2192]|(?:approximately|about|around|roughly|exactly|just|only|simply"
    r"|therefore|thus|then|so|a total of|equal to)\b|approx\.|[A-Za-z]{1,10}\s?=){0,16}",
    re.IGNORECASE,
)
_OPERATOR = re.compile(
    rf"[)\]]{{0,3}}[ \u00a0]{{0,3}}(?P<unit>{_UNIT}{{0,4}}?)"
    r"(?P<sign>\*\*?|[-+/^]|x(?![a-z])|times\b|multiplied by\b|divided by\b"
    r"|plus\b|minus\b|off?\b|:(?= )|(?=\())[ \u00a0]{0,3}[(\[]{0,3} ?",
    re.IGNORECASE,
)
_DOUBTFUL = ("-", "plus", "minus", "of", "off")
"""What is an operator behind words only if an equals sign follows: it may be a dash.

So is a colon, and a bracket right behind a number.
"""

_EQUALS = re.compile(
    rf"[)\]}}*!]{{0,3}}\s{{0,3}}\(?{_UNIT}{{0,6}}?"
    r"(?:={1,3}>?|[~\u2248\u2245\u2192\u21d2]|->|equals\b|(?:is )?equal to\b)",
    re.IGNORECASE,
)
_MEANS = re.compile(
    r"(?:[)\s]{0,4}:|[^\d.\n#]{0,40}?\b(?:i\.\s?e\.|(?:which|that is|that's|or|so|gives|giving"
    r"|makes|making|totals?|totall?ing|equals|for a total of)\b))"
    rf"[^\d.\n#]{{0,30}}?(?=[-+]?(?:{_CURRENCY}\s?)?\d)",
    re.IGNORECASE,
)
_EQUATION = re.compile(r"[-+*/^()$\d., \u00a0x]{1,200}=")
_NEAR = 120  # characters


def stated_at(text: str, at: int) -> Stated | None:
    """The number or equation that begins at a place of a text, behind brackets and such words.

    None if there is none. An equation has the value of its last side that is one number.
    """
    start = _opened(text, at)
    if start is None:
        return None
    value, end, told = None, start, None
    while start is not None:
        side = _side(text, start)
        value, end = value if side.value is None else side.value, side.end
        equals = _EQUALS.match(text, end)
        start = None if equals is None else _opened(text, equals.end())
        if value is None and start is None and not told:
            told = _MEANS.match(text, end)
            start = None if told is None else told.end()
    return Stated(value, end)


def _opened(text: str, at: int) -> int | None:
    """Where a number begins, behind brackets and words that may stand before one."""
    opening = _OPENING.match(text, at)
    start = at if opening is None else opening.end()
    return None if _HERE.match(text, start) is None else start


_HERE = re.compile(rf"[-+]?(?:{_CURRENCY}\s?)?-?\.?\d")


def _side(text: str, at: int) -> Stated:
    """One side of an equation; without a value if it is more than one number."""
    last = _number(text, at, _PROSE)
    value = last.value
    while operator := _OPERATOR.match(text, last.end):
        sign = operator["sign"].lower()
        doubtful = sign in ("", ":") or (sign in _DOUBTFUL and operator["unit"] != "")
        doubtful = doubtful or (sign in ("of", "off") and not last.share)
        if _HERE.match(text, operator.end()) is None or (
            doubtful and "=" not in text[last.end : last.end + _NEAR].partition("\n")[0]
        ):
            break
        last, value = _number(text, operator.end(), _PROSE), None
    return Stated(value, last.end)
