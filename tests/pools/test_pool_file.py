"""Reading and writing pools: what comes back, what is estimated, and each fault by its line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.files import DATA
from tests.fakes.pools import rows, sample, write_prices, write_rows

from amp.errors import InvalidInputError
from amp.pools import Pool, find_pools, read_pool, write_pool

ARRAYS = (
    *("answer", "there", "right", "prompt_tokens", "completion_tokens", "dollars", "log_prob"),
    "estimated",
)


def assert_same(one: Pool, other: Pool) -> None:
    for name in ("name", "tasks", "arms", "answers", "notes"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def read(folder: Path, lines: list[Any], **options: Any) -> Pool:
    return read_pool(write_rows(folder, lines), prices=write_prices(folder), **options)


# --------------------------------------------------------------------------- laws

_amounts = st.floats(0, 1e9) | st.integers(0, 10**9)
_answers = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
)


@st.composite
def samples(draw: st.DrawFn) -> dict[str, Any]:
    content: dict[str, Any] = {"answer": draw(_answers), "correct": draw(st.integers(0, 1))}
    for name in ("completion_tokens", "completion_chars", "prompt_tokens"):
        if draw(st.booleans()):
            content[name] = draw(_amounts)
    if draw(st.booleans()):
        content["log_prob"] = draw(st.floats(-1e9, 0))
    return content


@st.composite
def pools(draw: st.DrawFn) -> list[dict[str, Any]]:
    arms = draw(st.lists(st.sampled_from(["small", "small|x", "large|y"]), min_size=1, unique=True))
    ids = draw(st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True))
    named = st.dictionaries(
        st.sampled_from(arms), st.lists(samples(), min_size=1, max_size=3), min_size=1
    )
    optional = {
        "exam": st.text(),
        "kind": st.text(),
        "group": st.none() | st.text(),
        "question": st.none() | st.text(),
        "problem_chars": _amounts,
        "prompt_tokens": _amounts,
        "difficulty": st.none() | st.floats(0, 1) | st.dictionaries(st.text(), st.integers()),
        "tot": st.lists(st.floats(allow_nan=False)),
    }
    return [
        {"id": name, "arms": draw(named)} | draw(st.fixed_dictionaries({}, optional=optional))
        for name in ids
    ]


@settings(max_examples=25)
@given(pools(), st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_what_is_written_reads_back_to_the_same_pool(lines: list[Any], suffix: str) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        pool = read(folder, lines, characters_per_token=3.0)
        write_pool(pool, folder / f"canonical{suffix}")
        assert_same(read_pool(folder / f"canonical{suffix}", prices=write_prices(folder)), pool)


# --------------------------------------------------------------------------- what a pool says


def test_fields_are_found_by_their_other_names(tmp_path: Path) -> None:
    pool = read(tmp_path, rows())
    assert [task.kind for task in pool.tasks] == ["sums", "sums", "choices", "choices"]
    assert [task.group for task in pool.tasks] == ["sums/1", "sums/2", "book/3", "book/3"]
    assert [task.prompt_tokens for task in pool.tasks] == [7.75, 7.75, 20.0, 10.0]
    assert pool.tasks[3].extra == {"topic": "letters"}
    assert [(arm.model, arm.way) for arm in pool.arms] == [
        ("small", "short"),
        ("small", "long"),
        ("large", ""),
    ]
    assert pool.there.sum(axis=(0, 2)).tolist() == [10, 4, 4]


def test_answers_that_are_equal_count_as_one(tmp_path: Path) -> None:
    pool = read(tmp_path, rows())
    assert pool.answers[0] == ("18", "17")
    assert pool.answer[0].tolist() == [[0, 0, 1], [1, 0, -1], [0, -1, -1]]


def test_each_call_pays_for_its_prompt(tmp_path: Path) -> None:
    pool = read(tmp_path, rows())
    assert pool.dollars[0, 0].tolist() == pytest.approx([(7.75 + 2 * 10) / 1e6] * 3)
    assert pool.dollars[3, 2, 0] == pytest.approx((10 * 30 + 20 * 10) / 1e6)
    assert np.isnan(pool.dollars[~pool.there]).all()
    assert not np.isnan(pool.dollars[pool.there]).any()


def test_a_pool_without_any_gold_is_right_by_what_it_says(tmp_path: Path) -> None:
    lines = [row | {"gold": None} for row in rows()]
    assert read(tmp_path, lines).right.sum() == read(tmp_path, rows()).right.sum()


# --------------------------------------------------------------------------- faults


def _changed(**fields: Any) -> Callable[[], Any]:
    return lambda: rows()[1] | fields


def _with_sample(**fields: Any) -> Callable[[], Any]:
    return _changed(arms={"small|short": [sample(56, 1), sample(56, 1) | fields]})


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "no JSON": (lambda: '{"id": "sums/2",', "it is not JSON: "),
    "no text": (lambda: '{"id": "\\ud8', "it is not JSON: "),
    "half a character": (_changed(question="\ud83d"), "it holds half a character"),
    "no object": (lambda: [1, 2], "it holds a list, expected an object with id and arms"),
    "too deep": (lambda: "[" * 100_000, "it is nested too deeply"),
    "no id": (_changed(id=None), "id is missing"),
    "id twice": (_changed(id="sums/1"), "id 'sums/1' is that of line 1, too"),
    "no gold": (_changed(gold=None), "gold is missing, expected one as in other rows"),
    "no arms": (_changed(arms={}), "arms is {}, expected an object"),
    "arm without samples": (_changed(arms={"large": []}), "arm 'large' is [], expected a list"),
    "sample": (_changed(arms={"large": [3]}), "arm 'large', sample 1: 3, expected an object"),
    "correct missing": (_with_sample(correct=None), "sample 2: correct is missing, expected 0 or"),
    "correct": (_with_sample(correct=0.5), "sample 2: correct is 0.5, expected 0 or 1"),
    "right but wrong": (
        _with_sample(correct=0),
        "arm 'small|short', sample 2: correct is 0, but answer 56 equals gold \"56\"",
    ),
    "wrong but right": (_with_sample(answer=54), "correct is 1, but answer 54 differs from gold"),
    "negative": (_with_sample(completion_tokens=-1), "completion_tokens is -1, expected a number"),
    "infinite": (_with_sample(prompt_tokens=float("inf")), "prompt_tokens is Infinity, expected"),
    "too many": (_with_sample(completion_chars=1e99), "completion_chars is 1e+99, expected a num"),
    "no number": (_with_sample(completion_tokens="9"), 'completion_tokens is "9", expected'),
    "log_prob": (_with_sample(log_prob=0.1), "log_prob is 0.1, expected a number up to 0"),
    "no price": (
        _changed(arms={"huge|x": [sample(56, 1)]}),
        "arm 'huge|x': no price is known for model huge; add this line with its dollars per million"
        " tokens to a table, and name that as --prices or as prices of a study's configuration:"
        ' "huge" = { prompt = 0.0, completion = 0.0 }',
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_that_names_the_place(name: str, tmp_path: Path) -> None:
    make, message = FAULTS[name]
    first, _, *others = rows()
    with pytest.raises(InvalidInputError) as raised:
        read(tmp_path, [first, make(), *others])
    assert str(raised.value).startswith(f"{tmp_path}/small.jsonl:2: "), raised.value
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", FAULTS)
def test_good_rows_are_kept_where_the_user_says_so(name: str, tmp_path: Path) -> None:
    make, message = FAULTS[name]
    first, _, *others = rows()
    pool = read(tmp_path, [first, make(), *others], keep_good=True)
    assert [task.id for task in pool.tasks] == ["sums/1", "choices/1", "choices/2"]
    left_out = [note for note in pool.notes if note.startswith("left out")]
    assert all(note.startswith("left out, line 2: ") for note in left_out)
    assert message in left_out[0]


def test_the_line_to_add_is_a_line_that_works(tmp_path: Path) -> None:
    lines = [rows()[0] | {"arms": {'a "b" \\ c|x': [sample(18, 1)]}}]
    with pytest.raises(InvalidInputError) as raised:
        read(tmp_path, lines)
    prices = tmp_path / "own.toml"
    prices.write_text(str(raised.value).partition("configuration: ")[2])
    assert read_pool(tmp_path / "small.jsonl", prices=prices).dollars.tolist() == [[[0.0]]]


def test_a_file_that_is_cut_short_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "small.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(rows()[0]).encode())[:-12])
    with pytest.raises(InvalidInputError, match="small.jsonl.gz is damaged: "):
        read_pool(path)


def test_the_same_question_with_the_same_gold_is_one_group(tmp_path: Path) -> None:
    first, second, *_ = rows()
    lines = [first, first | {"id": "b"}, second | {"id": "c", "question": first["question"]}]
    assert [task.group for task in read(tmp_path, lines).tasks] == ["sums/1", "sums/1", "c"]


def test_a_field_called_pool_makes_no_header(tmp_path: Path) -> None:
    pool = read(tmp_path, [rows()[0] | {"pool": "mine"}, rows()[1]])
    assert [task.extra for task in pool.tasks] == [{"pool": "mine"}, {}]


@pytest.mark.data("pools")
@pytest.mark.slow
def test_the_real_pools_are_read_and_come_back(tmp_path: Path) -> None:
    for path in find_pools(DATA / "pools"):
        # One puzzle of the game of 24 has negative tokens: its log's running totals begin anew.
        pool = read_pool(path, keep_good="game24" in str(path))
        assert sum(note.startswith("left out") for note in pool.notes) == ("game24" in str(path))
        write_pool(pool, tmp_path / "pool.jsonl.gz")
        assert_same(read_pool(tmp_path / "pool.jsonl.gz"), pool)
        training, test = pool.halves()
        groups = [{pool.tasks[task].group for task in side} for side in (training, test)]
        assert not groups[0] & groups[1]
        assert abs(len(training) - len(test)) < 0.2 * len(pool.tasks)
