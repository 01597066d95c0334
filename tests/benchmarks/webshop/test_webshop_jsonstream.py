from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop.products import read_elements, read_members
from amp.errors import InvalidInputError, MissingDependencyError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**63, 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(
    value=st.lists(VALUES) | st.dictionaries(st.text(max_size=5), VALUES),
    indent=st.sampled_from([None, 2, 70]),
)
def test_a_file_is_read_as_if_it_were_read_at_once(
    tmp_path_factory: pytest.TempPathFactory, value: Any, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("json") / "values.json"
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False), "utf-8")
    found = list(read_elements(path)) if isinstance(value, list) else dict(read_members(path))
    assert found == value


@pytest.mark.parametrize(
    "text", ["", "  ", "{}", "[1", "[1,", "[1 2]", "[1,]", "[nope]", '["\ud800', "[" * 100_000]
)
def test_what_is_no_array_is_named_with_its_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidInputError, match=r"values\.json: .*, after \d values; the file"):
        list(read_elements(path))


@pytest.mark.parametrize("text", ["[]", '{"a" 1}', '{"a": }', '{"a": 1'])
def test_what_is_no_object_is_named_with_its_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"values\.json: .*, after \d values; the file"):
        list(read_members(path))


def test_what_is_nested_without_an_end_is_not_read_to_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text("[7, " + "[" * 100_000)
    with pytest.raises(InvalidInputError, match="nested too deeply, after 1 values"):
        list(read_elements(path))


def test_a_file_that_cannot_be_read_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="cannot read"):
        list(read_elements(tmp_path / "none.json"))
