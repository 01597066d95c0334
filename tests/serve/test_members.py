"""What is changed in a body is what was asked for, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.serve.dialects.members import with_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"\\{}é\U0001f600', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('ab"\\', max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text('ab"\\', max_size=2), VALUES, max_size=5)
SPACES = st.sampled_from((None, 0, 1, 3))


@pytest.mark.slow
@given(OBJECTS, OBJECTS, SPACES, st.booleans())
@settings(max_examples=40)
def test_members_are_changed_and_others_stay(
    fields: dict[str, Any], members: dict[str, Any], spaces: int | None, ascii_: bool
) -> None:
    body = json.dumps(fields, indent=spaces, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    changed = with_members(body, members)
    assert with_members(body, members, fields) == changed
    found = json.loads(changed)
    for name in {*fields, *members}:
        old, new = fields.get(name), members.get(name)
        if name not in members:
            assert found[name] == old
        elif isinstance(old, dict) and isinstance(new, dict):
            assert {*found[name]} == {*old, *new}
            assert json.loads(with_members(json.dumps(old).encode(), new)) == found[name]
        else:
            assert found[name] == new


@pytest.mark.slow
@given(OBJECTS, SPACES)
@settings(max_examples=30)
def test_what_is_put_in_and_taken_out_again_leaves_every_byte(
    fields: dict[str, Any], spaces: int | None
) -> None:
    body = json.dumps(fields, indent=spaces).encode()
    changed = with_members(body, {"new": "N"})
    assert changed.replace(b'"new":"N",', b"").replace(b'"new":"N"', b"") == body
    assert with_members(body, {}) == body


def test_numbers_texts_and_order_stay_as_they_were_written() -> None:
    body = b' {"b": 1.10e+2 , "model":\n"x", "\\u0061":"\\u00e9", "r": {"s" : 1.0}, "a":2}'
    assert with_members(body, {"model": "y", "r": {"e": "low"}}) == (
        b' {"b": 1.10e+2 , "model":\n"y", "\\u0061":"\\u00e9", "r": {"e":"low","s" : 1.0}, "a":2}'
    )


def test_a_body_in_another_encoding_is_written_anew() -> None:
    for encoding in ("utf-16", "utf-8-sig"):
        body = '{"model":"é"}'.encode(encoding)
        assert json.loads(with_members(body, {"n": 2})) == {"model": "é", "n": 2}
