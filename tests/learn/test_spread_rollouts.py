"""Rollouts that workers make depend on the seed, and not on the workers."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.ray import FakeRay, Loss
from tests.learn.test_rollout import POLICY, PROBLEM, REWARD
from tests.learn.test_trainer import SHORT, metrics, stored

from amp.cli.workers import spread_on
from amp.evaluate import ray_worker
from amp.evaluate.workers import Here
from amp.learn import rollout
from amp.learn.rollout import EnvRollouts, Rollout, SpreadRollouts, joined, roll_out
from amp.learn.trainer import POLICY as POLICY_FILE
from amp.learn.trainer import train
from amp.models.recording_file import RecordingFile

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


@pytest.mark.slow
def test_finished_policies_are_the_same_bytes_whatever_the_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "SHARD", 8)  # so that an update has five shards
    monkeypatch.setattr(RecordingFile, "on_write", None)
    monkeypatch.setattr(ray_worker, "_GATHER_SECONDS", 0.0)
    lost: list[Loss] = ["", "", "after", "", "before"]
    clusters = {
        "one": FakeRay({"a": 1}),
        "two": FakeRay({"a": 1, "b": 1}),
        "three": FakeRay({"a": 1, "b": 2}),
        "three, of which two are lost": FakeRay({"a": 1, "b": 2}, iter(lost)),
    }
    for name, ray in clusters.items():
        monkeypatch.setitem(sys.modules, "ray", ray)
        with spread_on("ray", None) as spread:
            train(PROBLEM, SHORT, tmp_path / name, spread=spread)
    assert [len(ray.actors) for ray in clusters.values()] == [1, 2, 3, 5]
    made = [stored(tmp_path / name / POLICY_FILE) for name in clusters]
    assert all(other == made[0] for other in made)
    first, *others = (metrics(tmp_path / name) for name in clusters)
    assert all(other == first for other in others)
    train(PROBLEM, SHORT.replace(seed=1), tmp_path / "other", spread=lambda rollouts: rollouts)
    assert stored(tmp_path / "other" / POLICY_FILE) != made[0]  # the file tells them apart
