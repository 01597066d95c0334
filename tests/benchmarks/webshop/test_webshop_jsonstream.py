from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop import jsonstream
from amp.benchmarks.webshop.jsonstream import elements, members
from amp.errors import InvalidInputError, MissingDependencyError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(
    value=st.lists(VALUES) | st.dictionaries(st.text(max_size=5), VALUES),
    indent=st.sampled_from([None, 2, 70]),
    chunk=st.integers(1, 9),
)
def test_a_file_is_read_as_if_it_were_read_at_once(
    tmp_path_factory: pytest.TempPathFactory, value: Any, indent: int | None, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "values.json"
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False), "utf-8")
    with patch.object(jsonstream, "_CHUNK", chunk):
        found = list(elements(path)) if isinstance(value, list) else dict(members(path))
    assert found == value


@pytest.mark.parametrize(
    "text", ["", "  ", "{}", "[1", "[1,", "[1 2]", "[1,]", "[nope]", '["\ud800', "[" * 100_000]
)
def test_what_is_no_array_is_named_with_its_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidInputError, match=r"values\.json: (.*at character \d+|not UTF-8)"):
        list(elements(path))


@pytest.mark.parametrize("text", ["[]", '{"a" 1}', '{"a": }', '{"a": 1'])
def test_what_is_no_object_is_named_with_its_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"values\.json: .* at character \d+"):
        list(members(path))


def test_an_element_without_an_end_is_not_read_to_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text("[" + " " * 10 + '"' + "x" * 100_000)
    with (
        patch.object(jsonstream, "_CHUNK", 10),
        patch.object(jsonstream, "_LONGEST_ELEMENT", 50),
        pytest.raises(InvalidInputError, match="no JSON value"),
    ):
        list(elements(path))


def test_a_file_that_cannot_be_read_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="cannot read"):
        list(elements(tmp_path / "none.json"))
