"""A lattice as a table: what policies do and pay there, what the planner does and pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.trail import ARMS, Trails
from tests.simulate.lattices import (
    FOUR,
    PLANS,
    SURVEY,
    TASKS,
    read,
    record,
    record_babyai,
    replay,
)

from amp.allocate.base import FixedAllocator
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.plan_state import PLAN_STATE
from amp.allocate.policy import ByArm, arm_codes, arm_space
from amp.allocate.space import Space
from amp.assess.base import WeightedAssessor
from amp.benchmarks.babyai import BabyAI
from amp.cost import Cost
from amp.errors import InvalidInputError
from amp.learn.networks import encoded
from amp.learn.rollout import most_likely, roll_out
from amp.mlp import Layer
from amp.reward import Reward
from amp.simulate.lattice_recording import Lattice, Survey
from amp.simulate.lattice_states import Arms
from amp.simulate.lattice_table import lattice_env
from amp.simulate.table_env import TableEnv
from amp.simulate.table_oracle import oracle, values
from amp.types import Allocation, Episode, ProbeKind

SPACE = Trails().defaults.space
SILENT = WeightedAssessor(probes=frozenset())
FEATURES = ("distance", "plan_steps")
REWARD = Reward(500.0)
UNITS: tuple[Cost, ...] = ("tokens", "written", "flops", "dollars")


@dataclass(frozen=True)
class Recorded:
    """A lattice with the recording that it is in."""

    path: Path
    lattice: Lattice

    def env(self, max_rounds: int = 1, space: Space = SPACE) -> TableEnv:
        made = lattice_env(self.lattice, space, FEATURES, SILENT, max_rounds)
        return replace(made, shuffled=False)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    path = tmp_path_factory.mktemp("lattice") / "lattice.sqlite"
    record(path)
    return Recorded(path, read(path))


def policy(
    seed: int, space: Space, max_rounds: int, features: tuple[str, ...] = FEATURES
) -> MlpPolicy:
    """A network of chance that depends on all that it sees."""
    rng = np.random.default_rng(seed)
    made = MlpPolicy.initial(space, features, hidden=16, seed=seed)
    first, second, output = made.layers
    weight = rng.normal(0.0, 1.5, output.weight.shape).astype(np.float32)
    layers = (first, second, Layer(weight, np.zeros_like(output.bias)))
    mean, std = made.mean.copy(), made.std.copy()
    mean[:2], std[:2] = (0.5, 2.0), (0.3, 1.5)
    made = replace(made, layers=layers, mean=mean, std=std, deterministic=True, trade_off=0.8)
    return replace(made, max_rounds=max_rounds, max_samples=max_rounds)


Asked = list[tuple[list[Allocation], float]]
"""Of each step of a plan: the rounds, and what they cost."""


def steps_of(one: MlpPolicy, env: TableEnv, task: int) -> tuple[Asked, float]:
    """What a policy asks for and pays on a table, step by step, and what it reaches."""
    episodes = env.reset(np.array([task]), np.random.default_rng(0))
    row, begins = np.array([0]), {*env.first.tolist(), *env.then.tolist()}
    steps: Asked = [([], 0.0)]
    while True:
        view = episodes.observe(row)
        view.values[:, env.trade_off_column] = one.trade_off
        inputs = encoded(view.values, one.mean, one.std)
        latents = most_likely(one.locations(inputs), view.free)
        came = episodes.step(row, latents)
        if latents[0, 0] <= 0:
            asked, paid = steps[-1]
            wanted = one.space.allocation(latents[0].tolist())
            steps[-1] = [*asked, wanted], paid + float(came.cost[0])
        if came.done[0]:
            return steps, float(came.success[0])
        if int(episodes.node[0]) in begins:
            steps.append(([], 0.0))


def same(one: MlpPolicy, env: TableEnv, episodes: Sequence[Episode]) -> None:
    """Step by step, the planner asked and paid what the policy does on the table."""
    for task, episode in enumerate(episodes):
        steps, score = steps_of(one, env, task)
        assert [asked for asked, _ in steps] == [
            [made.allocation for made in step.rounds] for step in episode.steps
        ]
        assert [paid for _, paid in steps] == [step.usage.tokens for step in episode.steps]
        assert score == episode.score


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("max_rounds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_policy_does_on_the_table_step_by_step_what_it_does_in_the_planner(
    recorded: Recorded, seed: int, max_rounds: int
) -> None:
    one, env = policy(seed, SPACE, max_rounds), recorded.env(max_rounds)
    episodes = replay(recorded.path, Trails(), one, TASKS)
    same(one, env, episodes)
    tasks = np.arange(len(TASKS))
    for unit in UNITS:
        came = roll_out(
            one, env.in_unit(unit), REWARD, tasks, np.full(4, 0.8), np.random.default_rng(0)
        )
        spent = {
            "tokens": [e.usage.tokens for e in episodes],
            "written": [e.usage.completion_tokens for e in episodes],
            "flops": [e.usage.flops for e in episodes],
        }
        if unit in spent:
            assert came.cost == pytest.approx(spent[unit])
        assert came.success.tolist() == [e.score for e in episodes]
        came.check_inside(env.tasks)


def test_policies_of_chance_differ(recorded: Recorded) -> None:
    """Or the law above would say little."""
    env = recorded.env(2)
    ways = {
        repr([steps_of(policy(seed, SPACE, 2), env, task) for task in range(4)])
        for seed in range(20)
    }
    assert len(ways) >= 10


@pytest.mark.slow
def test_so_it_does_in_babyai(tmp_path: Path) -> None:
    benchmark = BabyAI("BabyAI-GoToLocal-v0", max_steps=4)
    survey, tasks = Survey(benchmark, Arms(FOUR), 1000), benchmark.tasks("train", 2)
    record_babyai(tmp_path / "it.sqlite", survey, tasks)
    lattice = read(tmp_path / "it.sqlite", survey, tasks)
    space = replace(SPACE, tools=frozenset({"path_finder"}))
    env = Recorded(tmp_path, lattice).env(1, space)
    for seed in range(20):
        one = policy(seed, space, 1)
        same(one, env, replay(tmp_path / "it.sqlite", benchmark, one, tasks))


@pytest.mark.slow
@pytest.mark.parametrize("features", [FEATURES, (*FEATURES, *PLAN_STATE)])
@pytest.mark.parametrize("max_rounds", [1, 2])
def test_so_does_one_that_chooses_among_arms_with_plans(
    tmp_path: Path, max_rounds: int, features: tuple[str, ...]
) -> None:
    benchmark, path = BabyAI("BabyAI-GoToLocal-v0", max_steps=3), tmp_path / "it.sqlite"
    survey, tasks = Survey(benchmark, Arms(PLANS), 1000), benchmark.tasks("train", 2)
    record_babyai(path, survey, tasks)
    lattice = read(path, survey, tasks)
    env = lattice_env(lattice, None, features, SILENT, max_rounds)
    space, codes = arm_space(PLANS), arm_codes(PLANS)
    asked = set()
    for seed in range(20):
        one = policy(seed, space, max_rounds, features)
        episodes = replay(path, benchmark, ByArm(one, PLANS), tasks)
        for task, episode in enumerate(episodes):
            steps, score = steps_of(one, env, task)
            wanted = [[PLANS[codes[a.tools]] for a in rounds] for rounds, _ in steps]
            assert wanted == [[r.allocation for r in step.rounds] for step in episode.steps]
            assert [paid for _, paid in steps] == [s.usage.tokens for s in episode.steps]
            assert score == episode.score
            asked |= {arm for rounds in wanted for arm in rounds}
    assert asked == {*PLANS.values()}


@pytest.mark.slow
@given(st.integers(0, 2**16), st.floats(0.0, 1.0), st.sampled_from([1, 2]))
@settings(max_examples=40, deadline=None)
def test_the_oracle_is_never_worse_than_a_policy(
    recorded: Recorded, seed: int, trade_off: float, max_rounds: int
) -> None:
    env = replace(recorded.env(max_rounds), readings=None)  # nothing is for nothing
    tasks, lambdas = np.arange(len(env.tasks)), np.full(len(env.tasks), trade_off)
    success, cost = oracle(env, REWARD, trade_off)
    best = REWARD.of(success, cost, lambdas)
    one = policy(seed, SPACE, max_rounds)
    for decided in (True, False):
        made = replace(one, deterministic=decided, trade_off=trade_off)
        came = roll_out(made, env, REWARD, tasks, lambdas, np.random.default_rng(seed))
        assert (came.returns <= best + 1e-9).all()
    known = values(env, REWARD, np.array([trade_off]))
    assert known.go[env.first, 0].max(1)[:, 0] == pytest.approx(best)


def test_the_oracle_thinks_where_signs_are_faded_and_nowhere_else(recorded: Recorded) -> None:
    env = recorded.env()
    success, cost = oracle(env, REWARD, 0.95)
    assert success.tolist() == [1.0] * 4
    known = values(env, REWARD, np.array([0.95]))
    for number, task in enumerate(TASKS):
        node, total = int(env.first[number]), 0.0
        for mood in task.data["moods"]:
            arm = int(known.go[node, 0, :, 0].argmax())
            assert env.arms[arm].depth == int(mood >= 2)
            total += float(env.costs["tokens"].samples[node, arm, 0])
            node = int(env.then[env.next[node, arm, 0]])
        assert total == cost[number]


@pytest.mark.parametrize("arm", list(ARMS))
def test_with_one_arm_everything_is_the_fixed_run(arm: str, tmp_path: Path) -> None:
    survey = Survey(Trails(), Arms({arm: ARMS[arm]}))
    record(tmp_path / "it.sqlite", survey)
    depth = ARMS[arm].depth
    space = replace(SPACE, depth=(depth, depth))
    env = lattice_env(read(tmp_path / "it.sqlite", survey), space, FEATURES, SILENT)
    episodes = replay(tmp_path / "it.sqlite", Trails(), FixedAllocator(ARMS[arm]), TASKS)
    run = [(e.score, e.usage.tokens) for e in episodes]
    for trade_off in (0.0, 0.5, 1.0):
        success, cost = oracle(env, REWARD, trade_off)
        assert list(zip(success.tolist(), cost.tolist(), strict=True)) == run


@pytest.mark.slow
def test_a_prompt_that_is_read_again_costs_nothing_again(tmp_path: Path) -> None:
    """A plan that waits comes back to where it was, and asks the same again."""
    path = tmp_path / "it.sqlite"
    record(path, waits=True)
    at_once = replace(SPACE, depth=(0, 0))
    env, act = Recorded(path, read(path)).env(1, at_once), policy(0, at_once, 1)
    episodes = replay(path, Trails(), FixedAllocator(ARMS["act"]), TASKS)
    same(act, env, episodes)
    always = replace(env, readings=None)
    for task, episode in enumerate(episodes):
        asked, _ = steps_of(act, always, task)
        assert all(paid > 0 for _, paid in asked)
        assert sum(paid for _, paid in asked) > episode.usage.tokens


def test_ways_are_told_apart_only_where_a_policy_reads_them(recorded: Recorded) -> None:
    plain = len(lattice_env(recorded.lattice, features=("steps_left", "goal_distance")).then)
    assert plain == len(lattice_env(recorded.lattice).then)
    told = lattice_env(recorded.lattice, features=("repeated_lately",))
    assert len(told.then) > plain
    assert [one.tolist() for one in oracle(told, REWARD, 0.9)] == [
        one.tolist() for one in oracle(recorded.env(), REWARD, 0.9)
    ]


def test_a_policy_that_leaves_what_was_visited_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "it.sqlite"
    record(path, replace(SURVEY, cap=2))
    env = Recorded(path, read(path)).env()
    came = roll_out(
        policy(0, SPACE, 1), env, REWARD, np.arange(4), np.full(4, 0.8), np.random.default_rng(0)
    )
    assert came.outside.all()
    assert not came.success.any()
    with pytest.raises(InvalidInputError, match="4 of 4 episodes left the lattice, such as one of"):
        came.check_inside(env.tasks)
    part = env.part(np.array([2, 0]))
    again = roll_out(
        policy(0, SPACE, 1), part, REWARD, np.arange(2), np.full(2, 0.8), np.random.default_rng(0)
    )
    assert again.cost.tolist() == came.cost[[2, 0]].tolist()


@pytest.mark.parametrize(
    ("space", "features", "probes", "said"),
    [
        (replace(SPACE, beam_width=(1, 2)), (), (), r"beam width is \(1, 2\)"),
        (SPACE, ("revisits",), (), "feature revisits tells how a state was reached"),
        (SPACE, (), ("options",), "the assessor probes options, the lattice was recorded with no"),
        (replace(SPACE, tools=frozenset({"map"})), (), (), "no arm has a tool"),
    ],
)
def test_what_a_lattice_cannot_tell_is_refused(
    recorded: Recorded,
    space: Space,
    features: tuple[str, ...],
    probes: tuple[ProbeKind, ...],
    said: str,
) -> None:
    assessor = WeightedAssessor(probes=frozenset(probes))
    with pytest.raises(InvalidInputError, match=said):
        lattice_env(recorded.lattice, space, features, assessor)


def test_values_are_known_for_one_charge_alone(recorded: Recorded) -> None:
    with pytest.raises(InvalidInputError, match="charge is log"):
        values(recorded.env(), Reward(500.0, "log"), np.array([0.5]))
