"""The table of symbols in docs/assessment.md names functions and tests that exist."""

from __future__ import annotations

import importlib
import re

import pytest
from tests.fakes.files import ROOT

from amp.assess.features import FEATURES
from amp.assess.text import INDICATORS

PAGE = (ROOT / "docs" / "assessment.md").read_text(encoding="utf-8").partition("\n## Report\n")[0]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(amp\.[\w.]+)`", PAGE))))
def test_a_function_that_the_page_names_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/.]+::\w+)`", PAGE))))
def test_a_test_that_the_page_names_exists(name: str) -> None:
    path, _, function = name.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^\s*(async )?def {function}\(", text, re.MULTILINE)


def test_every_symbol_of_the_two_sections_has_a_row() -> None:
    symbols = {row.split("|")[1].strip() for row in PAGE.splitlines() if row.startswith("|")}
    assert symbols >= {
        *("C(s, p)", "H", "H(P(x\\", "I(s, p)", "D(s, p)", "perplexity", "KL", "hidden states"),
        *("\N{GREEK SMALL LETTER ALPHA}, β, \N{GREEK SMALL LETTER GAMMA}", "NN_φ"),
        *("f_1, ..., f_n", "entities, relationships, tree depth"),
    }


def test_every_row_names_a_function_and_a_test() -> None:
    rows = [row for row in PAGE.splitlines() if row.startswith("|")][2:]
    assert rows
    assert all("`amp." in row and "`tests/" in row for row in rows)


def test_the_page_names_the_classes_of_indicators() -> None:
    assert all(name in PAGE for name in INDICATORS)
    assert {feature.name for feature in FEATURES} >= INDICATORS.keys()
