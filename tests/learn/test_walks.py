"""What holds of both learners of long plans, on lattices whose best allocation is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.trail import ARMS
from tests.learn.trails import ASKED, NAMES, REWARD, TRAILS, earned, lattice_of, share
from tests.simulate.lattices import replay
from tests.simulate.test_lattice_replay import same
from tests.simulate.test_lattice_table import SPACE

from amp.allocate.base import FixedAllocator
from amp.allocate.plan_state import PLAN_STATE
from amp.errors import InvalidInputError
from amp.learn.arm_values import LearnedValues, ValueSettings, learn_arm_values
from amp.learn.departures import Departures, SearchSettings, search_departures
from amp.learn.walks import Walks
from amp.reward import Reward
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import replay_lattice
from amp.simulate.lattice_table import lattice_env
from amp.simulate.table_env import END, TableEnv
from amp.types import Allocation

Learned = LearnedValues | Departures
Learner = Callable[[TableEnv, Mapping[str, Allocation], Reward, float], Learned]


def values(table: TableEnv, arms: Mapping[str, Allocation], reward: Reward, at: float) -> Learned:
    return learn_arm_values(table, arms, reward, ValueSettings((at,), (0.002,), 2))


def departures(
    table: TableEnv, arms: Mapping[str, Allocation], reward: Reward, at: float
) -> Learned:
    return search_departures(table, arms, reward, SearchSettings((at,)))


@pytest.fixture(scope="module", params=[values, departures])
def learn(request: pytest.FixtureRequest) -> Learner:
    found: Learner = request.param
    return found


@pytest.fixture(scope="module")
def learned(lattice: Lattice, learn: Learner) -> Learned:
    return learn(lattice_env(lattice, None, NAMES), ARMS, REWARD, 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_is_learned_earns_what_the_oracle_does_also_on_tasks_never_seen(
    tmp_path: Path, seed: int
) -> None:
    train, test = (
        lattice_of(tmp_path / f"{split}.sqlite", split, 24) for split in ("train", "test")
    )
    at, env = (0.8, 0.9, 0.95), lattice_env(train, None, tuple(PLAN_STATE))
    for found in (
        learn_arm_values(env, ARMS, REWARD, ValueSettings(at, seed=seed)),
        search_departures(env, ARMS, REWARD, SearchSettings(at, seed=seed)),
    ):
        for trade_off in at:
            for seen in (train, test):
                assert share(seen, found.policy.with_trade_off(trade_off), trade_off) >= 0.95


def test_a_small_lattice_is_learned_as_well(lattice: Lattice, learned: Learned) -> None:
    assert share(lattice, learned.policy, 0.9) >= 0.95
    assert tuple(line.partition(" (")[0] for line in learned.policy.questions()) == ASKED


def test_the_returns_told_are_those_of_tasks_left_out(lattice: Lattice, learned: Learned) -> None:
    assert learned.returns[0] == pytest.approx(earned(replay_lattice(lattice, learned.policy), 0.9))


def test_the_planner_does_and_pays_what_is_played(
    path: Path, lattice: Lattice, learned: Learned
) -> None:
    tasks = [task.task for task in lattice.tasks]
    same(replay_lattice(lattice, learned.policy), replay(path, TRAILS, learned.policy, tasks))


@pytest.mark.parametrize("arm", list(ARMS))
def test_with_one_arm_it_is_the_fixed_run(arm: str, tmp_path: Path, learn: Learner) -> None:
    own = {arm: ARMS[arm]}
    lattice = lattice_of(tmp_path / "it.sqlite", "train", 4, own)
    env = lattice_env(lattice, replace(SPACE, depth=(ARMS[arm].depth,) * 2), NAMES)
    policy = learn(env, own, REWARD, 1.0).policy.with_trade_off(1.0)
    assert replay_lattice(lattice, policy) == replay_lattice(lattice, FixedAllocator(ARMS[arm]))


def test_where_nothing_is_worth_its_cost_it_gives_up(lattice: Lattice, learn: Learner) -> None:
    found = learn(lattice_env(lattice, None, NAMES), ARMS, REWARD, 0.0)
    episodes = replay_lattice(lattice, found.policy.with_trade_off(0.0))
    assert {episode.ended for episode in episodes} == {"given up"}
    assert found.returns == (0.0,)
    assert list(found.policy.questions()) == ["give up"]


def test_one_task_is_too_few(lattice: Lattice, learn: Learner) -> None:
    env = lattice_env(replace(lattice, tasks=lattice.tasks[:1]), None, NAMES)
    with pytest.raises(InvalidInputError, match="1 tasks to learn from, expected at least 2"):
        learn(env, ARMS, REWARD, 0.9)
    with pytest.raises(InvalidInputError, match="charge is log, expected always"):
        learn(env, ARMS, Reward(500.0, "log"), 0.9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_the_visits_of_a_policy_are_worth_what_it_returns(lattice: Lattice, seed: int) -> None:
    """Forwards, what is paid and won where a policy comes; backwards, its return."""
    table = lattice_env(lattice, None, NAMES, max_rounds=2)
    walks = Walks.of(table, len(ARMS), REWARD, 0.9)
    begins = set(walks.first) | set(walks.then[walks.then != END])
    assert set(np.flatnonzero(walks.fresh)) == begins
    rng = np.random.default_rng(seed)
    asked = (walks.next != END).any(2)
    choice = np.array([rng.choice(np.flatnonzero(row)) if row.any() else -1 for row in asked])
    stops = ~asked.any(1) | (~walks.fresh & (rng.random(len(choice)) < 0.5))
    decided = np.where(stops, 0, choice + 1)
    visits = walks.visits(decided)
    paid = np.array([walks.cost[n, d - 1].mean() if d else 0.0 for n, d in enumerate(decided)])
    came = (visits * (np.where(stops, walks.end, 0.0) - paid)).sum()
    assert came == pytest.approx(walks.come(decided[None])[0, walks.first].sum())
