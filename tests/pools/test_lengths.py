"""What stands in for lengths that are not recorded, and that it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.pools import write_rows

from amp.pools import Pool, read_pool

PRICES = """
"plain" = { prompt = 1, completion = 1 }
"hidden" = { prompt = 1, completion = 1, hidden_tokens = 700 }
"""


def read(folder: Path, arms: dict[str, Any], kinds: str = "a", **options: Any) -> Pool:
    """A pool with one task a kind; of each arm one list of samples a task."""
    prices = folder / "prices.toml"
    prices.write_text(PRICES)
    lines = [
        {"id": n, "kind": kind, "arms": {arm: tasks[n] for arm, tasks in arms.items()}}
        for n, kind in enumerate(kinds)
    ]
    return read_pool(write_rows(folder, lines), prices=prices, **options)


def sample(**lengths: float) -> dict[str, Any]:
    return {"answer": "x", "correct": 1} | lengths


@settings(max_examples=20)
@given(characters=st.floats(0, 1e6), divisor=st.floats(0.5, 20))
def test_visible_text_is_characters_by_the_divisor(
    tmp_path_factory: pytest.TempPathFactory, characters: float, divisor: float
) -> None:
    folder = tmp_path_factory.getbasetemp()
    arms = {"plain": [[sample(completion_chars=characters), sample(completion_tokens=3)]]}
    pool = read(folder, arms, characters_per_token=divisor)
    assert pool.completion_tokens[0, 0].tolist() == [characters / divisor, 3]
    assert pool.estimated.tolist() == [True]
    assert "completion tokens are those of the visible text: plain (1 of 2" in pool.notes[0]


def test_recorded_tokens_are_no_estimate(tmp_path: Path) -> None:
    lengths = sample(completion_tokens=3, completion_chars=400, prompt_tokens=5)
    pool = read(tmp_path, {"plain": [[lengths]]})
    assert pool.completion_tokens.item() == 3
    assert pool.estimated.tolist() == [False]
    assert pool.notes == ()


def test_of_hidden_reasoning_the_recorded_mean_of_the_nearest_counts(tmp_path: Path) -> None:
    recorded, text = sample(completion_tokens=100), sample(completion_chars=40)
    other = sample(completion_tokens=300)
    arms = {
        "hidden|x": [[recorded, text], [text], [text]],
        "hidden|y": [[text], [other], [text]],
    }
    pool = read(tmp_path, arms, kinds="abc")
    tokens = pool.completion_tokens
    assert tokens[0].tolist() == [[100, 100], [100, pytest.approx(np.nan, nan_ok=True)]]
    assert tokens[1, :, 0].tolist() == [300, 300]  # the model's, of the same kind
    assert tokens[2, :, 0].tolist() == [100, 300]  # the arm's, of other kinds
    assert sum("recorded mean" in note for note in pool.notes) == 3


def test_without_any_record_hidden_reasoning_is_assumed_and_said(tmp_path: Path) -> None:
    pool = read(tmp_path, {"hidden": [[sample(completion_chars=40)]]})
    assert pool.completion_tokens.item() == 710
    assert any("ASSUMED: 700 hidden ones" in note for note in pool.notes)


def test_an_unknown_length_is_the_mean_or_what_the_reader_says_or_unknown(tmp_path: Path) -> None:
    known = {"plain": [[sample(completion_chars=40), sample()]]}
    assert read(tmp_path, known).completion_tokens.tolist() == [[[10, 10]]]
    assert read(tmp_path, known, unknown_tokens=1).completion_tokens.tolist() == [[[10, 1]]]
    pool = read(tmp_path, {"plain": [[sample()]]})
    assert np.isnan(pool.dollars).all()
    assert any("nothing tells their length: plain" in note for note in pool.notes)
