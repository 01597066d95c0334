"""AUROC within levels: only pairs of one level count."""

from __future__ import annotations

import numpy as np
import pytest
from experiments.choice_heads import within
from hypothesis import given
from hypothesis import strategies as st

from amp.report.stats import auroc

STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.booleans()), min_size=2, max_size=12
)


def value(steps: list[tuple[str, int, bool]]) -> float:
    levels, risk, failed = zip(*steps, strict=True)
    one = np.ones((1, len(steps)))
    return float(within(levels, np.array(risk, float), np.array(failed, float), one)[0])


@given(STEPS)
def test_it_is_the_share_of_pairs_of_one_level_in_the_right_order(
    steps: list[tuple[str, int, bool]],
) -> None:
    pairs = [
        (mine > other) + (mine == other) / 2
        for level, mine, failed in steps
        for other_level, other, other_failed in steps
        if level == other_level and failed and not other_failed
    ]
    if not pairs:
        assert np.isnan(value(steps))
    else:
        assert value(steps) == pytest.approx(sum(pairs) / len(pairs))


@given(STEPS, st.integers(-5, 5))
def test_what_tells_levels_apart_alone_is_worth_nothing(
    steps: list[tuple[str, int, bool]], shift: int
) -> None:
    moved = [(level, risk + shift * (level == "b"), failed) for level, risk, failed in steps]
    assert value(moved) == pytest.approx(value(steps), nan_ok=True)


def test_with_one_level_it_is_the_plain_one() -> None:
    steps = [("a", 1, True), ("a", 0, False), ("a", 2, False), ("a", 2, True)]
    assert value(steps) == auroc([r for _, r, _ in steps], [f for *_, f in steps])
