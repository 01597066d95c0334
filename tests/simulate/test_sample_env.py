"""Subsets of samples, and an assessor that does without what tells their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulate.test_table_env import CONTEXTS, DRAWS, SAMPLES, network

from amp.assess.features import FEATURES, FeatureVector
from amp.learn.dataset import without
from amp.simulate.sample_env import ORDERED, subsets
from amp.types import Evidence

EVERYTHING = tuple(feature.name for feature in FEATURES)


@given(st.integers(0, 2**32 - 1), st.sets(st.sampled_from(EVERYTHING), max_size=8))
def test_an_assessor_without_a_feature_says_what_the_whole_one_says_where_it_is_missing(
    seed: int, names: set[str]
) -> None:
    whole = network(seed, EVERYTHING)
    part = without(whole, names)
    context = CONTEXTS["t/0"]
    candidates = tuple(draw.candidate for draw in DRAWS.tasks[0].by_arm["program"].samples)
    observed = whole.observe(replace(context, evidence=Evidence(candidates, 1)))
    left = {name: value for name, value in observed.values.items() if name not in names}
    missing = FeatureVector(left, observed.substituted & left.keys())
    wanted = whole.predict(whole.encode(missing)[None])
    assert part.predict(part.encode(observed)[None]) == pytest.approx(wanted, abs=1e-6)
    assert part.names == tuple(name for name in EVERYTHING if name not in names)


def test_every_order_of_the_samples_shows_the_same_to_whoever_reads_nothing_ordered() -> None:
    row, whole = DRAWS.tasks[2], network(0, EVERYTHING)
    one = without(whole, ORDERED)
    turned = replace(
        row,
        by_arm={
            name: replace(cell, samples=cell.samples[::-1]) for name, cell in row.by_arm.items()
        },
    )
    shown, back = (subsets(r.first, DRAWS, (), one, CONTEXTS[row.task]) for r in (row, turned))
    there = [_turned(subset) for subset in range(len(shown.right))]
    assert shown.assessed == pytest.approx(back.assessed[there], abs=1e-6)
    assert shown.shown == pytest.approx(back.shown[there], abs=1e-6, nan_ok=True)
    first, second = (
        subsets(r.first, DRAWS, (), whole, CONTEXTS[row.task]).assessed for r in (row, turned)
    )
    assert not np.allclose(first, second[there])


def _turned(subset: int) -> int:
    """The same samples where each arm has them in the opposite order."""
    return sum(
        1 << arm * SAMPLES + SAMPLES - 1 - index
        for arm in range(2)
        for index in range(SAMPLES)
        if subset >> arm * SAMPLES + index & 1
    )
