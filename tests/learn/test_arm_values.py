"""Values of arms, learned on lattices whose best allocation is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from tests.fakes.trail import ARMS, Trails
from tests.simulate.test_lattice_explorer import read, record, replay
from tests.simulate.test_lattice_replay import same
from tests.simulate.test_lattice_table import SPACE

from amp.allocate import AllocatorOptions, make_allocator
from amp.allocate.arm_values import LEAF, ArmValues, Trees
from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.plan_state import PLAN_STATE
from amp.allocate.policy_file import Origin, load_arm_values, save_arm_values
from amp.cli.policy import ArmValuesView
from amp.errors import InvalidInputError
from amp.learn.arm_values import LearnedValues, ValueSettings, learn_arm_values
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
AT_ONE = ValueSettings((0.9,), (0.002,), 2)


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
def learned(lattice: Lattice) -> LearnedValues:
    return learn_arm_values(lattice_env(lattice, None, NAMES), ARMS, REWARD, AT_ONE)


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
    settings = ValueSettings((0.8, 0.9, 0.95), seed=seed)
    env = lattice_env(train, None, tuple(PLAN_STATE))
    found = learn_arm_values(env, ARMS, REWARD, settings)
    for trade_off in settings.trade_offs:
        for seen in (train, test):
            policy = found.policy.with_trade_off(trade_off)
            assert share(seen, policy, trade_off) >= 0.95


def test_a_small_lattice_is_learned_as_well(lattice: Lattice, learned: LearnedValues) -> None:
    assert share(lattice, learned.policy, 0.9) >= 0.95
    asks = list(learned.policy.questions())
    assert [line.partition(" (")[0] for line in asks] == [
        "goal_distance at most 0.5, or not known: act",
        "goal_distance above 0.5: think",
    ]


def test_the_returns_told_are_those_of_tasks_left_out(
    lattice: Lattice, learned: LearnedValues
) -> None:
    assert learned.returns[0] == pytest.approx(earned(replay_lattice(lattice, learned.policy), 0.9))


def test_the_planner_does_and_pays_what_is_played(
    path: Path, lattice: Lattice, learned: LearnedValues
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
    found = learn_arm_values(env, own, REWARD, ValueSettings((1.0,), (0.002,), 2))
    policy = found.policy.with_trade_off(1.0)
    assert replay_lattice(lattice, policy) == replay_lattice(lattice, FixedAllocator(ARMS[arm]))


def test_where_nothing_is_worth_its_cost_it_gives_up(lattice: Lattice) -> None:
    env = lattice_env(lattice, None, NAMES)
    found = learn_arm_values(env, ARMS, REWARD, ValueSettings((0.0,), (0.002,), 1))
    episodes = replay_lattice(lattice, found.policy.with_trade_off(0.0))
    assert {episode.ended for episode in episodes} == {"given up"}
    assert found.returns == (0.0,)


def test_a_policy_in_a_file_is_the_same_and_is_found_by_its_name(
    tmp_path: Path, learned: LearnedValues, lattice: Lattice
) -> None:
    path = tmp_path / "policy.safetensors"
    save_arm_values(learned.policy, path, Origin("trails", "walker", "", ("a",)))
    again = make_allocator(str(path), AllocatorOptions(trade_off=0.9))
    assert replay_lattice(lattice, again) == replay_lattice(lattice, learned.policy)
    assert not again.uses_complexity
    assert "trade-off 0.9\n  goal_distance" in ArmValuesView.of(load_arm_values(path)).lines
    header, tensors = read_tensors(path, "policy", "amp-policy/1")
    for change, said in (
        ({"version": "0"}, "of version 0, expected 'arm values' of version 1; train it again"),
        ({"plan_state": "0"}, "state of a plan by version 0"),
        ({"features": '["words"]'}, "feature 'words' is none of a plan"),
    ):
        write_tensors(path, {**header, **change}, tensors)
        with pytest.raises(InvalidInputError, match=said):
            load_arm_values(path)
    write_tensors(path, header, {**tensors, "sides": tensors["sides"] * 0.0})
    with pytest.raises(
        InvalidInputError, match="a tree of the policy asks about what is not there"
    ):
        load_arm_values(path)


def test_shapes_that_do_not_fit_are_refused() -> None:
    trees = Trees(
        np.zeros((1, 1), np.intp), np.array([LEAF]), np.zeros(1), np.zeros((1, 2), np.intp),
        np.zeros((1, 2)),
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match=r"worth of the policy has the shape \(1, 2\)"):
        ArmValues(ARMS, NAMES, np.array([0.9]), trees, np.zeros(1, np.intp))


def test_one_task_is_too_few(lattice: Lattice) -> None:
    env = lattice_env(replace(lattice, tasks=lattice.tasks[:1]), None, NAMES)
    with pytest.raises(InvalidInputError, match="1 tasks to learn from, expected at least 2"):
        learn_arm_values(env, ARMS, REWARD, AT_ONE)
    with pytest.raises(InvalidInputError, match="charge is log, expected always"):
        learn_arm_values(env, ARMS, Reward(500.0, "log"), AT_ONE)
