"""The latent distribution: exact densities, masks without leaks, one formula for one and many."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.allocate.mlp_policy import log_probs
from amp.allocate.space import (
    REALS,
    TOOLS_FROM,
    ActionDistribution,
    Space,
    sigmoid,
    stopped,
)

locations = st.floats(-30, 30)
WIDTH = TOOLS_FROM + 2
ALL = (True,) * WIDTH

heads = st.builds(
    ActionDistribution,
    st.tuples(*(locations for _ in range(WIDTH))),
    st.tuples(*(st.floats(-5, 2) for _ in REALS)),
)
masks = st.tuples(*(st.booleans() for _ in range(WIDTH)))
seeds = st.integers(0, 2**32)
MODERATE = ActionDistribution(
    (-0.7, 0.3, -1.0, 2.0, 0.1, -0.4, 1.2, -2.0), (-0.7, 0.1, -1.5, 0.4, 0.0)
)


def only(*indices: int) -> tuple[bool, ...]:
    return tuple(index in indices for index in range(WIDTH))


@pytest.mark.parametrize("index", range(1, TOOLS_FROM))
def test_the_density_of_every_real_integrates_to_one(index: int) -> None:
    grid = np.linspace(-30, 30, 60_001)
    density = [
        math.exp(MODERATE.log_prob([z if i == index else 0.0 for i in range(WIDTH)], only(index)))
        for z in grid
    ]
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-9)


def test_the_probabilities_of_stops_and_tool_sets_add_up_to_one() -> None:
    free = only(0, 6, 7)
    outcomes = [stopped(WIDTH)]
    outcomes += [(0.0,) * TOOLS_FROM + (a, b) for a in (0.0, 1.0) for b in (0.0, 1.0)]
    total = math.fsum(math.exp(MODERATE.log_prob(latents, free)) for latents in outcomes)
    assert total == pytest.approx(1.0)


def test_an_integer_comes_up_as_often_as_the_density_of_its_bin_says() -> None:
    space = Space(depth=(0, 4), tools=frozenset({"a", "b"}))
    grid = np.linspace(-12, 12, 48_001)
    bins = dict.fromkeys(range(5), 0.0)
    for z in grid:
        latents = tuple(float(z) if i == 1 else 0.0 for i in range(WIDTH))
        density = math.exp(MODERATE.log_prob(latents, only(1)))
        bins[space.allocation(latents).depth] += density * (grid[1] - grid[0])
    rng = random.Random(0)
    n = 20_000
    drawn = [space.allocation(MODERATE.sample(only(1), rng)).depth for _ in range(n)]
    for depth, probability in bins.items():
        error = 4 * math.sqrt(probability * (1 - probability) / n) + 1e-3
        assert drawn.count(depth) / n == pytest.approx(probability, abs=error)


@given(heads, masks, seeds)
def test_what_is_masked_is_never_drawn_and_never_counts(
    heads: ActionDistribution, free: tuple[bool, ...], seed: int
) -> None:
    latents = heads.sample(free, random.Random(seed))
    likely = heads.mode(free)
    for index in range(WIDTH):
        if not free[index]:
            assert latents[index] == 0.0
            assert likely[index] == 0.0
    # Other parameters for what is masked change nothing.
    other = ActionDistribution(
        tuple(loc if f else 9.0 for loc, f in zip(heads.locations, free, strict=True)),
        tuple(s if f else 1.0 for s, f in zip(heads.log_stds, free[1:], strict=False)),
    )
    assert other.log_prob(latents, free) == heads.log_prob(latents, free)
    assert other.entropy(free) == heads.entropy(free)


@given(heads, seeds, st.integers(1, WIDTH - 1))
def test_a_mask_leaves_the_probabilities_of_all_else_as_they_are(
    heads: ActionDistribution, seed: int, masked: int
) -> None:
    free = (False, *ALL[1:])
    fewer = tuple(f and i != masked for i, f in enumerate(free))
    latents = list(heads.sample(free, random.Random(seed)))
    alone = only(masked)
    whole, part = heads.log_prob(latents, free), heads.log_prob(latents, alone)
    latents[masked] = 0.0
    assert heads.log_prob(latents, fewer) == pytest.approx(whole - part, rel=1e-9, abs=1e-6)
    assert heads.entropy(fewer) == pytest.approx(heads.entropy(free) - heads.entropy(alone))


@given(heads)
def test_nothing_free_is_certain(heads: ActionDistribution) -> None:
    latents = heads.sample(only(), random.Random(0))
    assert heads.log_prob(latents, only()) == heads.entropy(only()) == 0.0


@pytest.mark.parametrize("free", [ALL, (False, *ALL[1:]), only(0), only(0, 3, 7), only(2, 6)])
def test_entropy_is_the_mean_of_the_negative_log_probability(free: tuple[bool, ...]) -> None:
    rng = random.Random(1)
    values = [-MODERATE.log_prob(MODERATE.sample(free, rng), free) for _ in range(20_000)]
    error = 4 * float(np.std(values)) / math.sqrt(len(values))
    assert MODERATE.entropy(free) == pytest.approx(np.mean(values), abs=error)


def test_draws_have_the_mean_and_spread_of_their_heads() -> None:
    rng = random.Random(2)
    drawn = np.array([MODERATE.sample((False, *ALL[1:]), rng) for _ in range(20_000)])
    for index, log_std in enumerate(MODERATE.log_stds, 1):
        std = math.exp(log_std)
        assert drawn[:, index].mean() == pytest.approx(MODERATE.locations[index], abs=std * 0.03)
        assert drawn[:, index].std() == pytest.approx(std, rel=0.03)
    for index in (6, 7):
        expected = sigmoid(MODERATE.locations[index])
        assert drawn[:, index].mean() == pytest.approx(expected, abs=0.015)


def test_without_chance_a_decision_is_means_and_likely_tools() -> None:
    assert MODERATE.mode(ALL) == (0.0, 0.3, -1.0, 2.0, 0.1, -0.4, 1.0, 0.0)
    stops = ActionDistribution((0.1, *MODERATE.locations[1:]), MODERATE.log_stds)
    assert stops.mode(ALL) == stopped(WIDTH)


@given(st.lists(st.tuples(heads, masks, seeds), min_size=1, max_size=8))
def test_many_decisions_have_the_log_probabilities_of_each(
    rows: list[tuple[ActionDistribution, tuple[bool, ...], int]],
) -> None:
    drawn = [heads.sample(free, random.Random(seed)) for heads, free, seed in rows]
    locations = np.array([heads.locations for heads, _, _ in rows])
    log_stds = np.array([heads.log_stds for heads, _, _ in rows])
    free = np.array([mask for _, mask, _ in rows])
    single = [
        heads.log_prob(latents, mask) for latents, (heads, mask, _) in zip(drawn, rows, strict=True)
    ]
    many = log_probs(np.array(drawn), locations, log_stds, free)
    assert many == pytest.approx(single, rel=1e-9, abs=1e-9)


def test_one_row_of_log_stds_serves_a_whole_batch() -> None:
    latents = MODERATE.sample(ALL, random.Random(4))
    rows = np.array([latents, latents])
    places, free = np.array([MODERATE.locations] * 2), np.array([ALL] * 2)
    log_stds = np.array(MODERATE.log_stds)
    single = MODERATE.log_prob(latents, ALL)
    assert log_probs(rows, places, log_stds, free) == pytest.approx([single] * 2)


@given(st.floats(-1e300, 1e300))
def test_extreme_logits_overflow_nowhere(logit: float) -> None:
    heads = ActionDistribution((logit,) * WIDTH, (0.0,) * 5)
    free = only(0, 6, 7)
    latents = heads.sample(free, random.Random(0))
    assert -1.0 <= heads.log_prob(latents, free) <= 0.0 or abs(logit) < 50
    assert 0.0 <= heads.entropy(free) <= 3 * math.log(2)


def test_a_head_that_is_masked_may_be_anywhere() -> None:
    far = np.full((1, WIDTH), 1e200)
    nothing = np.zeros((1, WIDTH), bool)
    latents = np.zeros((1, WIDTH))
    assert log_probs(latents, far, np.zeros(5), nothing).tolist() == [0.0]
