"""Samples or the tree: tuned on other puzzles than those that are reported."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments.game24 import (
    RULES,
    Wanted,
    by_step,
    curve,
    failing_path,
    folds,
    read,
    report,
    samples,
    whole,
)
from experiments.game24_search import beam, explore
from experiments.game24_trees import read_trees
from tests.fakes.files import DATA, ROOT
from tests.fakes.pools import write_rows
from tests.fakes.trees import puzzles

from amp.errors import InvalidInputError
from amp.pools import Pool


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    write_rows(tmp_path, puzzles(12))
    return read(tmp_path)


def test_sources_have_what_samples_and_trees_cost(pool: Pool) -> None:
    trees = read_trees(pool)
    answers, chains = samples(pool)
    assert answers.name == "gpt4-io"
    assert answers.cost.tolist() == [[1000.0] * 2] * 12
    assert (chains.failing[:, -1] == ~pool.right[:, 1].any(1)).all()
    tree = whole(trees)
    assert tree.cost[:, 0] == pytest.approx([one.tokens for one in trees])
    assert (tree.failing[:, 1] == 0.0).tolist() == [beam(one).solved for one in trees]
    for rule in RULES:
        steps = by_step(trees, rule, (1.0, 3.0))
        for row, one in enumerate(trees):
            explored = explore(one, rule)
            assert steps.cost[row].sum() == pytest.approx(sum(s.tokens for s in explored.steps))
            assert (steps.failing[row, -1] == 0.0) == explored.steps[-1].solved
            assert steps.shown[row, 0] == 0  # nothing is seen before anything is paid


def test_folds_hold_each_puzzle_once_and_keep_it_from_its_policy() -> None:
    rows = np.arange(23)
    parts = list(folds(rows, 10))
    assert sorted(np.concatenate([test for _, test in parts])) == rows.tolist()
    assert all(not set(train) & set(test) and len(train) + len(test) == 23 for train, test in parts)


def test_what_comes_of_a_puzzle_changes_no_policy_that_it_is_tested_on(pool: Pool) -> None:
    ways = [[*samples(pool), whole(read_trees(pool))]]
    before = curve(ways)
    (tree,) = ways[0][2:]
    failing = tree.failing.copy()
    failing[before.rows[0], 1] = 1.0 - failing[before.rows[0], 1]
    after = curve([[*ways[0][:2], replace(tree, failing=failing)]])
    assert before.inside[0] == after.inside[0]  # what the first fold's policy is chosen by
    assert before.inside[1:] != after.inside[1:]


@pytest.mark.parametrize(
    ("wanted", "best"),
    [
        (Wanted(), 2),
        (Wanted(success=0.4), 1),
        (Wanted(success=0.9), 2),
        (Wanted(tokens=25.0), 1),
        (Wanted(tokens=1.0), 0),
        (Wanted(success=0.5, tokens=15.0), 0),
    ],
)
def test_the_nearest_to_what_is_wanted(wanted: Wanted, best: int) -> None:
    assert wanted.best([(0.3, 10.0), (0.5, 20.0), (0.7, 30.0), (0.7, 40.0)]) == best


def test_samples_without_usage_are_refused(tmp_path: Path) -> None:
    rows = puzzles(12)
    del rows[1]["tot"]["cot_usage_total"]
    write_rows(tmp_path, rows)
    with pytest.raises(InvalidInputError, match="no 'cot_usage_total' for arm gpt4-cot"):
        samples(read(tmp_path))


def test_too_few_puzzles_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path, puzzles(2))
    with pytest.raises(InvalidInputError, match="2 good rows, expected 10 or more"):
        read(tmp_path)


@pytest.mark.slow
def test_the_report_has_a_row_for_every_policy(pool: Pool) -> None:
    lines = list(report(pool))
    assert lines[0] == "12 puzzles."
    tables = [line for line in lines if line.startswith("| tree as recorded |")]
    assert len(tables) == 2
    assert "| 100% (100% to 100%) |" in tables[0]
    assert re.match(r"\d x (gpt4|thought)", failing_path(pool))


@pytest.mark.slow
@pytest.mark.data("pools/tot_game24")
def test_the_page_shows_what_the_recorded_trees_give() -> None:
    page = (ROOT / "docs" / "game24.md").read_text()
    for line in report(read(DATA)):
        assert line.strip() in page, line
