"""The ways to find the structure of a text, by name."""

from __future__ import annotations

from amp.assess.dependency import dependency
from amp.assess.structure import Parser, structural
from amp.errors import InvalidInputError, did_you_mean

PARSERS: dict[str, Parser] = {"structural": structural, "dependency": dependency}


def parser(name: str) -> Parser:
    """The parser of that name.

    Raises:
        InvalidInputError: if there is none.
    """
    if name not in PARSERS:
        known = sorted(PARSERS)
        raise InvalidInputError(
            f"unknown parser {name!r}{did_you_mean(name, known)} (parsers: {', '.join(known)})"
        )
    return PARSERS[name]


def parser_name(parse: Parser) -> str:
    """The name of a parser.

    Raises:
        InvalidInputError: if it is none of `PARSERS`.
    """
    for name, known in PARSERS.items():
        if known is parse:
            return name
    raise InvalidInputError("an own parser has no name, so its assessor cannot be saved")
