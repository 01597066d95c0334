"""Rollouts that workers make depend on the seed, and not on the workers."""

from __future__ import annotations

import asyncio
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learn.test_rollout import POLICY, PROBLEM, REWARD

from amp.evaluate.workers import Here
from amp.learn import rollout
from amp.learn.rollout import EnvRollouts, Rollout, SpreadRollouts, joined, roll_out

ROLLOUTS = EnvRollouts(PROBLEM, REWARD)


def made(workers: int, seed: int, episodes: int) -> Rollout:
    rng = np.random.default_rng(seed)
    tasks = rng.integers(0, PROBLEM.tasks, episodes)
    spread = SpreadRollouts(PROBLEM, REWARD, Here(ROLLOUTS, workers), asyncio.run)
    return spread.collect(POLICY, tasks, rng.uniform(0, 1, episodes), rng)


def assert_same(one: Rollout, other: Rollout) -> None:
    for column in fields(Rollout):
        np.testing.assert_array_equal(getattr(one, column.name), getattr(other, column.name))


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 5))
def test_the_number_of_workers_changes_nothing(seed: int, episodes: int, workers: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "SHARD", 8)
        assert_same(made(1, seed, episodes), made(workers, seed, episodes))


def test_it_is_made_of_whole_rollouts() -> None:
    parts = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        parts.append(roll_out(POLICY, PROBLEM, REWARD, np.arange(4), np.full(4, 0.5), rng))
    whole = joined(parts)
    assert (np.diff(whole.turn) >= 0).all()
    np.testing.assert_array_equal(whole.returns, np.concatenate([p.returns for p in parts]))
    np.testing.assert_array_equal(whole.cost, np.concatenate([p.cost for p in parts]))
    assert_same(joined(parts[:1]), parts[0])
