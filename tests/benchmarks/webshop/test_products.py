"""Data sets: what is read of them, as a stream, and what is said of damaged ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.shop_catalogue import HUMAN, ITEMS, NOTES, item, write_data

from amp.benchmarks.base import Benchmark
from amp.benchmarks.webshop import WebShop
from amp.benchmarks.webshop.goals import read_table
from amp.benchmarks.webshop.products import (
    Catalogue,
    cache_directory,
    read_elements,
    read_members,
    read_product,
)
from amp.benchmarks.webshop.shop import Shop, load_shop
from amp.errors import InvalidInputError, MissingDependencyError


def test_it_is_a_benchmark(data: Path) -> None:
    benchmark: Benchmark = WebShop(data)
    assert (benchmark.name, benchmark.max_steps) == ("webshop", 15)
    assert benchmark.splits[0] == "test"
    assert benchmark.levels == ("small", "small-human", "full")


def test_records_that_are_doubles_or_no_products_are_left_out(shop: Shop) -> None:
    assert shop.catalogue.size == len(ITEMS) - 2
    assert shop.product("B000000001").title == "Brass Desk Lamp"


def test_a_product_is_read_as_the_shop_shows_it(shop: Shop) -> None:
    lamp = shop.product("B000000001")
    assert lamp.prices == (15.5, 25.25)
    assert lamp.price_tag == "$15.5 to $25.25"
    assert lamp.query == "lamps"
    assert lamp.options == {"size": ("small", "large"), "color": ("red", "black | white", "[odd]")}
    assert lamp.attributes == ("energy saving", "brass")
    assert lamp.document.endswith(
        "dimmable  size: small, large, and color: red, black | white, [odd]"
    )
    assert shop.product("B000000002").price_tag == "$100.0"
    assert shop.product("B000000010").features == ("One line",)
    assert shop.product("B000000010").attributes == ("DUMMY_ATTR",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("full_description", 5),
        ("small_description", [None]),
        ("small_description", []),
        ("pricing", "free"),
        ("pricing", "$1.2.3"),
        ("pricing", 12),
        ("customization_options", ["red"]),
        ("customization_options", {"Color": [{"price": 1}]}),
        ("query", None),
    ],
)
def test_a_damaged_product_is_named_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"product 'B1': {field} is .* get the file"):
        read_product(item("B1", "Lamp") | {field: value}, None)


def test_human_goals_leave_out_instructions_without_attributes(data: Path) -> None:
    (goal,) = load_shop(data / "webshop", "small-human").goals
    assert (
        goal.instruction == "i need soft socks, shade 07, and price lower than 990.00 dollars"
        or (goal.instruction == "i need soft socks, shade 07")
    )
    assert goal.options == ("shade 07",)


def test_every_combination_of_options_is_a_synthetic_goal(shop: Shop) -> None:
    lamps = {goal.options for goal in shop.goals if goal.asin == "B000000001"}
    assert len(lamps) == 6
    assert (("color", "red"), ("size", "small")) in lamps
    assert len(shop.goals) == 6 + 60


def test_a_limit_is_above_the_products_own_price(shop: Shop) -> None:
    for goal in shop.goals:
        number = shop.catalogue.number(goal.asin)
        assert number is not None
        assert shop.prices[number] < goal.price_upper


def test_the_same_shop_is_opened_once(data: Path) -> None:
    assert load_shop(data / "webshop", "small") is load_shop(data / "webshop", "small")


def test_a_catalogue_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_data(tmp_path)
    load_shop(folder, "small")
    (built,) = cache_directory().iterdir()
    before = built.stat().st_mtime_ns
    load_shop(folder, "small-human")
    assert [path.stat().st_mtime_ns for path in cache_directory().iterdir()] == [before]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("items_shuffle_1000.json", "[{", "no JSON: .*EOF, after 0 values"),
        ("items_shuffle_1000.json", "[5]", "a product is 5"),
        ("items_shuffle_1000.json", "[]", "holds no products"),
        ("items_ins_v2_1000.json", '{"B1": []}', "that of 'B1' is"),
        ("items_ins_v2_1000.json", '{"B1": {"attributes": [1]}}', "that of 'B1' is"),
        (
            "items_ins_v2_1000.json",
            '{"B000000001": {"attributes": [], "instruction": "x"}}',
            "instruction_attributes of 'B000000001' is None",
        ),
    ],
)
def test_damaged_files_leave_no_catalogue_behind(
    name: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_data(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        load_shop(folder, "small")
    assert list(cache_directory().iterdir()) == []


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"B000000003": [{"instruction": 5}]}', '{"B000000003": 5}']
)
def test_damaged_human_instructions_are_named(text: str, tmp_path: Path) -> None:
    folder = write_data(tmp_path)
    (folder / "items_human_ins.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"items_human_ins\.json does not hold"):
        load_shop(folder, "small-human")


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"{}", mtime=0), gzip.compress(b"x", mtime=0)[:-9]],
    ids=["no gzip", "no lines", "cut"],
)
def test_a_damaged_table_of_nouns_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "title_nouns.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"title_nouns\.jsonl\.gz: expected lines"):
        read_table(path)


def test_a_file_that_is_no_catalogue_is_named(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(InvalidInputError, match="delete it"):
        Catalogue(path)


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InvalidInputError, match="name a directory .* in XDG_CACHE_HOME"):
        load_shop(write_data(tmp_path), "small")


@pytest.mark.parametrize("level", ["small", "full"])
def test_missing_files_are_named(level: str, tmp_path: Path) -> None:
    (tmp_path / "webshop").mkdir()
    with pytest.raises(MissingDependencyError, match="holds no items_shuffle"):
        WebShop(tmp_path, level).tasks("test")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="no data of webshop"):
        WebShop(tmp_path).tasks("test")


def test_the_full_data_set_is_read_from_the_originals_files(tmp_path: Path) -> None:
    folder = write_data(tmp_path)
    (folder / "items_shuffle.json").write_text(json.dumps(ITEMS))
    (folder / "items_ins_v2.json").write_text(json.dumps(NOTES))
    (folder / "items_human_ins.json").write_text(json.dumps(HUMAN))
    (task,) = WebShop(tmp_path, "full").tasks("test")
    assert task.id == "webshop/full/0"


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
