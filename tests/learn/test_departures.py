"""Departures from a rule, learned on lattices whose best allocation is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.trail import ARMS, Trails
from tests.simulate.test_lattice_explorer import read, record, replay
from tests.simulate.test_lattice_replay import same
from tests.simulate.test_lattice_table import SPACE

from amp.allocate import AllocatorOptions, make_allocator
from amp.allocate.arm_values import ArmValues
from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.plan_state import PLAN_STATE, base_rules
from amp.allocate.policy_file import load_arm_values, save_arm_values
from amp.errors import InvalidInputError
from amp.learn.departures import (
    Departures,
    SearchSettings,
    _Grown,
    _Search,
    _Walks,
    search_departures,
)
from amp.mlp import read_tensors, write_tensors
from amp.reward import Reward
from amp.simulate.lattice_recording import Lattice, Survey
from amp.simulate.lattice_replay import replay_best, replay_lattice
from amp.simulate.lattice_states import Arms
from amp.simulate.lattice_table import lattice_env
from amp.types import Episode

REWARD = Reward(500.0)
TRAILS = Trails(5, 6)
NAMES = ("goal_distance", "steps_done", "unchanged", "plan_age")
AT_ONE = SearchSettings((0.9,))


def lattice_of(path: Path, split: str, count: int) -> Lattice:
    survey, tasks = Survey(TRAILS, Arms(ARMS)), TRAILS.tasks(split, count)
    record(path, survey, tasks)
    return read(path, survey, tasks)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lattice") / "it.sqlite"


@pytest.fixture(scope="module")
def lattice(path: Path) -> Lattice:
    return lattice_of(path, "train", 12)


@pytest.fixture(scope="module")
def learned(lattice: Lattice) -> Departures:
    return search_departures(lattice_env(lattice, None, NAMES), ARMS, REWARD, AT_ONE)


def earned(episodes: list[Episode], trade_off: float) -> float:
    return fmean(REWARD.of(e.score, float(e.usage.tokens), trade_off) for e in episodes)


def share(lattice: Lattice, allocator: Allocator, trade_off: float) -> float:
    """Of the oracle's gain over the best fixed arm."""
    fixed = max(
        earned(replay_lattice(lattice, FixedAllocator(a)), trade_off) for a in ARMS.values()
    )
    best = earned(replay_best(lattice, REWARD, trade_off, lambda u: u.tokens), trade_off)
    assert best > fixed + 0.01
    return (earned(replay_lattice(lattice, allocator), trade_off) - fixed) / (best - fixed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_is_learned_earns_what_the_oracle_does_also_on_tasks_never_seen(
    tmp_path: Path, seed: int
) -> None:
    train, test = (
        lattice_of(tmp_path / f"{split}.sqlite", split, 24) for split in ("train", "test")
    )
    told = SearchSettings((0.8, 0.9, 0.95), seed=seed)
    env = lattice_env(train, None, tuple(PLAN_STATE))
    found = search_departures(env, ARMS, REWARD, told)
    for trade_off in told.trade_offs:
        for seen in (train, test):
            policy = found.policy.with_trade_off(trade_off)
            assert share(seen, policy, trade_off) >= 0.95


def test_a_small_lattice_is_learned_as_well(lattice: Lattice, learned: Departures) -> None:
    assert share(lattice, learned.policy, 0.9) >= 0.95
    asks = list(learned.policy.questions())
    assert [line.partition(" (")[0] for line in asks] == [
        "goal_distance at most 0.5, or not known: act",
        "goal_distance above 0.5: think",
    ]


def test_the_returns_told_are_those_of_tasks_left_out(
    lattice: Lattice, learned: Departures
) -> None:
    assert learned.returns[0] == pytest.approx(earned(replay_lattice(lattice, learned.policy), 0.9))


def test_the_planner_does_and_pays_what_is_played(
    path: Path, lattice: Lattice, learned: Departures
) -> None:
    tasks = [task.task for task in lattice.tasks]
    same(replay_lattice(lattice, learned.policy), replay(path, TRAILS, learned.policy, tasks))


@pytest.mark.parametrize("arm", list(ARMS))
def test_with_one_arm_it_is_the_fixed_run(arm: str, tmp_path: Path) -> None:
    own = {arm: ARMS[arm]}
    survey, tasks = Survey(TRAILS, Arms(own)), TRAILS.tasks("train", 4)
    record(tmp_path / "it.sqlite", survey, tasks)
    lattice = read(tmp_path / "it.sqlite", survey, tasks)
    space = replace(SPACE, depth=(ARMS[arm].depth,) * 2)
    env = lattice_env(lattice, space, NAMES)
    found = search_departures(env, own, REWARD, SearchSettings((1.0,)))
    policy = found.policy.with_trade_off(1.0)
    assert replay_lattice(lattice, policy) == replay_lattice(lattice, FixedAllocator(ARMS[arm]))


def test_where_nothing_is_worth_its_cost_it_gives_up(lattice: Lattice) -> None:
    env = lattice_env(lattice, None, NAMES)
    found = search_departures(env, ARMS, REWARD, SearchSettings((0.0,)))
    episodes = replay_lattice(lattice, found.policy.with_trade_off(0.0))
    assert {episode.ended for episode in episodes} == {"given up"}
    assert found.returns == (0.0,)
    assert list(found.policy.questions()) == ["give up"]


@pytest.mark.parametrize("name", sorted(base_rules(ARMS)))
def test_a_policy_with_a_base_earns_no_less_where_it_learned(lattice: Lattice, name: str) -> None:
    rule = base_rules(ARMS)[name]
    env = lattice_env(lattice, None, tuple(PLAN_STATE), base=rule)
    found = search_departures(env, ARMS, REWARD, AT_ONE, name)
    assert found.policy.base == name
    before, after = (earned(replay_lattice(lattice, one), 0.9) for one in (rule, found.policy))
    assert after >= before - 1e-9
    assert share(lattice, found.policy, 0.9) >= 0.95


def test_without_questions_it_is_the_best_of_its_base_and_the_arms(lattice: Lattice) -> None:
    rules, none = base_rules(ARMS), replace(AT_ONE, questions=0)
    for name in ("think in every step", "act in every step"):
        env = lattice_env(lattice, None, NAMES, base=rules[name])
        found = search_departures(env, ARMS, REWARD, none, name)
        assert found.questions == (0,)
        thinks = replay_lattice(lattice, rules["think in every step"])
        assert replay_lattice(lattice, found.policy) == thinks
        dear = search_departures(env, ARMS, Reward(1.0), none, name)  # nothing is worth its tokens
        assert {e.ended for e in replay_lattice(lattice, dear.policy)} == {"given up"}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_a_search_tells_what_the_policy_then_earns(lattice: Lattice, seed: int) -> None:
    """The returns that departures are chosen by are those of whole plans, played by the policy."""
    rng = np.random.default_rng(seed)
    env = lattice_env(lattice, None, NAMES, base=base_rules(ARMS)["think in every step"])
    search = _Search(_Walks.of(env, len(ARMS), REWARD, 0.9), AT_ONE)
    first = search._begin[0]
    later = [search._asked[at] for at in rng.integers(0, len(search._asked), 3)]
    taken = [first, *later]
    trees = _Grown(len(ARMS) + 2)
    root = trees.add(search, taken)
    gives_up = search.gives_up in {one.decision for one in taken}
    policy = ArmValues(
        ARMS, NAMES, np.array([0.9]), trees.arrays([[root]]), np.array([int(gives_up)]),
        base="think in every step",
    )  # fmt: skip
    walks = search.walks
    told = walks.come(walks.decided(taken)[None])[0, walks.first]
    came = [REWARD.of(e.score, float(e.usage.tokens), 0.9) for e in replay_lattice(lattice, policy)]
    assert told == pytest.approx(came)


def test_a_policy_with_a_base_is_kept_with_it(tmp_path: Path, lattice: Lattice) -> None:
    name, path = "trajectory signals: think, 1 of 5", tmp_path / "policy.safetensors"
    env = lattice_env(lattice, None, NAMES, base=base_rules(ARMS)[name])
    found = search_departures(env, ARMS, REWARD, AT_ONE, name)
    save_arm_values(found.policy, path)
    again = make_allocator(str(path), AllocatorOptions(trade_off=0.9))
    assert replay_lattice(lattice, again) == replay_lattice(lattice, found.policy)
    header, tensors = read_tensors(path, "policy", "amp-policy/1")
    write_tensors(path, {**header, "base": "dance"}, tensors)
    with pytest.raises(InvalidInputError, match="the rule 'dance', which is none of its arms act,"):
        load_arm_values(path)


def test_one_task_is_too_few(lattice: Lattice) -> None:
    env = lattice_env(replace(lattice, tasks=lattice.tasks[:1]), None, NAMES)
    with pytest.raises(InvalidInputError, match="1 tasks to learn from, expected at least 2"):
        search_departures(env, ARMS, REWARD, AT_ONE)
    with pytest.raises(InvalidInputError, match="charge is log, expected always"):
        search_departures(env, ARMS, Reward(500.0, "log"), AT_ONE)
