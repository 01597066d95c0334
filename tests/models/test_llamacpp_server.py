from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.models.llamacpp_server import literal, only

_UNESCAPED = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t"}


def read(terminal: str) -> str:
    """Reads a GBNF terminal as llama.cpp's parser does."""
    assert terminal[0] == terminal[-1] == '"'
    inner, out, i = terminal[1:-1], "", 0
    while i < len(inner):
        if inner[i] != "\\":
            assert inner[i] != '"'
            out, i = out + inner[i], i + 1
        elif inner[i + 1] == "x":
            out, i = out + chr(int(inner[i + 2 : i + 4], 16)), i + 4
        else:
            out, i = out + _UNESCAPED[inner[i : i + 2]], i + 2
    return out


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_literal_reads_back_as_its_text(text: str) -> None:
    assert read(literal(text)) == text
    assert "\n" not in literal(text)


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800"])
def test_what_no_grammar_can_match_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"literal|surrogates"):
        literal(text)


def test_the_grammar_has_one_sentence() -> None:
    assert only('say "hi"') == 'root ::= "say \\"hi\\""'
