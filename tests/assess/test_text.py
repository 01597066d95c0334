"""What words say: indicators count whole words; structure grows with the text."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.assess import text as tree
from amp.assess.text import (
    INDICATORS,
    MAX_CHARACTERS,
    Structure,
    indicator_counts,
    latest,
    numbers,
    parse_dependencies,
    reasoning_indicators,
    structural,
    word_count,
)
from amp.assess.uncertainty import saturating
from amp.errors import MissingDependencyError

indicator = st.sampled_from(sorted(word for words in INDICATORS.values() for word in words))


@given(st.text(), indicator)
def test_one_more_indicator_never_lowers_a_count(text: str, word: str) -> None:
    before, after = indicator_counts(text), indicator_counts(f"{text} {word}")
    assert all(after[name] >= before[name] for name in INDICATORS)
    assert sum(after.values()) == sum(before.values()) + 1
    assert reasoning_indicators(f"{text} {word}") > reasoning_indicators(text)


@given(st.text())
def test_density_is_the_total_of_the_classes_and_stays_in_bounds(text: str) -> None:
    assert reasoning_indicators(text) == saturating(sum(indicator_counts(text).values()), 4.0)
    assert 0.0 <= reasoning_indicators(text) < 1.0


def test_no_word_is_in_two_classes() -> None:
    assert len(set().union(*INDICATORS.values())) == sum(map(len, INDICATORS.values())) == 46


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Because it rained", "causal"),
        ("IF he stays", "conditional"),
        ("however", "contrastive"),
        ("she would go", "hypothetical"),
        ("than", "quantitative"),
        ("finally", "temporal"),
    ],
)
def test_a_word_counts_in_its_own_class_alone(text: str, name: str) -> None:
    assert indicator_counts(text) == {other: int(other == name) for other in INDICATORS}


def test_a_word_counts_as_often_as_it_stands() -> None:
    assert indicator_counts("if, if and If")["conditional"] == 3


def test_indicators_are_whole_words() -> None:
    assert reasoning_indicators("Thanks, Ifeoma: a button, likeness and butter") == 0.0
    assert reasoning_indicators("If it rains, then stay; otherwise go") == saturating(3, 4)


def test_numbers_are_listed_as_they_stand() -> None:
    assert numbers("Two of 1,200, then 3.50.") == ("two", "1,200", "3.50")
    assert numbers("someone often stones") == ()


def test_words_are_counted_in_any_script() -> None:
    assert word_count("") == 0
    assert word_count("don't stop at 3 a.m.") == 6
    assert word_count("Привет, мир") == 2
    assert indicator_counts("если идёт дождь") == dict.fromkeys(INDICATORS, 0)


@given(st.text(max_size=50))
def test_what_is_read_of_a_text_is_its_end(text: str) -> None:
    assert latest(text) == text
    assert latest("x" * MAX_CHARACTERS + text) == ("x" * MAX_CHARACTERS + text)[len(text) :]


# --------------------------------------------------------------------------- entities, relations an


WORD = st.sampled_from(
    ["the", "a", "dog", "of", "in", "if", "which", "3", "Ann", ",", "(", ")", ".", "has", "more"]
)
SENTENCE = "Natalia sold clips to 48 of her friends in April."


@given(st.text())
def test_any_text_has_a_structure(text: str) -> None:
    found = structural(text)
    assert min(found.entities, found.relations, found.depth) >= 0
    assert found.substitute is None


@given(st.lists(WORD, max_size=30), st.lists(WORD, max_size=30))
def test_one_more_sentence_never_lowers_a_measure(first: list[str], second: list[str]) -> None:
    one, two = " ".join(first), " ".join([*first, ".", *second])
    before, after = structural(one), structural(two)
    assert after.entities >= before.entities
    assert after.relations >= before.relations
    assert after.depth >= before.depth


@given(st.lists(WORD, max_size=30))
def test_saying_it_twice_names_nothing_new(words: list[str]) -> None:
    text = " ".join(words)
    assert structural(f"{text} . {text}").entities == structural(text).entities
    assert structural(f"{text} . {text}").depth == structural(text).depth


@pytest.mark.parametrize(
    ("text", "entities", "relations", "depth"),
    [
        ("", 0, 0, 0),
        ("Go.", 0, 1, 1),
        ("Ann Lee met Bob.", 2, 0, 1),
        ("You see a red ball and a green ball.", 2, 0, 1),
        ("The box has 3 keys.", 2, 1, 1),
        (SENTENCE, 4, 4, 4),
        ("A (B (C)).", 2, 0, 3),
        ("If it rains, we stay.", 0, 0, 2),
        ("If it rains, we stay if it hails.", 0, 0, 2),
        ("We stay because it rains while the dog that barks sleeps.", 1, 0, 4),
        ("пёс и кот", 0, 0, 1),
    ],
)
def test_examples(text: str, entities: int, relations: int, depth: int) -> None:
    assert structural(text) == Structure(entities, relations, depth)


class TestDependency:
    @pytest.fixture(autouse=True)
    def _needs_a_pipeline(self) -> None:
        spacy = pytest.importorskip("spacy")
        if not any(map(spacy.util.is_package, tree.PIPELINES)):
            pytest.skip("no English pipeline of spaCy is installed")

    def test_a_sentence_has_its_entities_links_and_depth(self) -> None:
        assert parse_dependencies(SENTENCE) == Structure(entities=5, relations=4, depth=6)
        assert parse_dependencies("") == Structure(0, 0, 0)

    def test_equal_links_count_once(self) -> None:
        twice = f"{SENTENCE} {SENTENCE}"
        assert parse_dependencies(twice) == parse_dependencies(SENTENCE)

    def test_nested_clauses_are_deeper_than_plain_ones(self) -> None:
        plain = parse_dependencies("The dog sleeps. It rains. We stay.")
        nested = parse_dependencies("We stay because the dog that barks when it rains sleeps.")
        assert nested.depth > plain.depth

    def test_a_long_text_is_read_from_its_end_and_says_so(self) -> None:
        found = parse_dependencies(f"{'He waits. ' * 100}{SENTENCE}")
        assert found.entities == parse_dependencies(f"He waits. {SENTENCE}").entities
        assert found.substitute == (
            f"last {tree.MAX_PARSED_CHARACTERS} characters for the structure of the whole text"
        )

    def test_a_missing_pipeline_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tree, "PIPELINES", ("no_such_pipeline",))
        tree.english.cache_clear()
        with pytest.raises(MissingDependencyError, match=r"no_such_pipeline.*\[nlp\]"):
            parse_dependencies("a text that nobody has parsed")
        tree.english.cache_clear()


def test_missing_spacy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    tree.english.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"spaCy is not installed; pip install.*nlp"):
        parse_dependencies("another text that nobody has parsed")
    tree.english.cache_clear()
