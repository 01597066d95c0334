"""Trees of values: no worse than one decision for all, and what they say is where they lead."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.allocate.arm_values import LEAF
from amp.learn.value_trees import Binned, Grown, grow, said_by
from amp.mlp import Floats


def nodes(seed: int) -> tuple[Floats, Floats]:
    """What is known of 60 nodes of 12 tasks, some of it missing, and what decisions are worth."""
    rng = np.random.default_rng(seed)
    known = rng.integers(0, 4, (60, 3)).astype(float)
    known[rng.random(known.shape) < 0.2] = np.nan
    return known, rng.normal(size=(60, 3)) + (known[:, :1] > 1) * [0.0, 1.0, -1.0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.01, 100.0]), st.booleans())
def test_a_tree_earns_no_less_than_one_decision_for_all(
    seed: int, penalty: float, ends: bool
) -> None:
    known, worth = nodes(seed)
    binned, grown, rows = Binned.of(known, np.arange(60) % 12), Grown(), np.arange(60)
    root = grow(grown, rows, worth, np.ones(60), binned=binned, ends=ends, penalty=penalty)
    trees = grown.arrays([[root]])
    said = said_by(trees, root, known, rows)
    for row in range(0, 60, 7):
        assert said[row].tolist() == trees.worth[trees.leaf(root, known[row])].tolist()
    taken = worth[rows, said.argmax(1)]
    earned = np.where(ends & (said.max(1) < 0.0), 0.0, taken).sum()
    alone = max(worth.sum(0).max(), 0.0 if ends else -np.inf)
    assert earned >= alone - 1e-9
    if penalty == 100.0:
        assert (trees.column == LEAF).all()


def test_what_is_missing_has_a_question_of_its_own() -> None:
    known = np.array([[np.nan], [1.0]] * 6)
    worth = np.array([[1.0, 0.0], [0.0, 1.0]] * 6)
    binned, grown = Binned.of(known, np.arange(12) // 2), Grown()
    root = grow(grown, np.arange(12), worth, np.ones(12), binned=binned, ends=False, penalty=0.01)
    said = said_by(grown.arrays([[root]]), root, known, np.arange(12))
    assert (said == worth).all()
