"""Learning on a lattice: imitation of its best decisions, then PPO on whole plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.trail import ARMS, Trails
from tests.simulate.lattices import read, record
from tests.simulate.test_lattice_table import FEATURES, SILENT, SPACE

from amp.allocate.mlp_policy import MlpPolicy
from amp.errors import InvalidInputError
from amp.learn.behaviour_cloning import ImitationSettings, demonstrate, imitate
from amp.learn.config import PPOConfig
from amp.learn.rollout import roll_out
from amp.learn.trainer import train
from amp.mlp import Floats, Layer, Mask
from amp.reward import Reward
from amp.simulate.lattice_recording import Survey
from amp.simulate.lattice_states import Arms
from amp.simulate.lattice_table import lattice_env
from amp.simulate.table_env import END, TableEnv
from amp.simulate.table_oracle import oracle

REWARD = Reward(500.0)
TRADE_OFF = 0.9


@pytest.fixture(scope="module", params=["bounds", "arms"])
def env(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TableEnv:
    """Junctions of which each wants an arm of its own, in a space of bounds, or of named arms."""
    path, trails = tmp_path_factory.mktemp("lattice") / "it.sqlite", Trails(6, 8)
    survey, tasks = Survey(trails, Arms(ARMS)), trails.tasks("train", 12)
    record(path, survey, tasks)
    space = SPACE if request.param == "bounds" else None
    return lattice_env(read(path, survey, tasks), space, FEATURES, SILENT)


def earned(success: Floats, cost: Floats) -> float:
    return float(REWARD.of(success, cost, np.full(len(cost), TRADE_OFF)).mean())


def fixed(env: TableEnv) -> list[float]:
    """What each arm everywhere earns."""
    everywhere = []
    for arm in range(len(env.arms)):
        node, cost = env.first, np.zeros(len(env.tasks))
        going = np.ones(len(node), np.bool_)
        while going.any():
            cost += going * env.costs["tokens"].samples[node, arm, 0]
            end = env.next[node, arm, 0]
            going &= env.then[end] != END
            node = np.where(going, env.then[end], node)
            success = env.score[end]
        everywhere.append(earned(success, cost))
    return everywhere


def thinks(env: TableEnv, latents: Floats) -> Mask:
    """Where decisions are to think: by their depth, or as no bit of the other arm is set."""
    return np.asarray(latents[:, 6] == 0 if env.space.tools else latents[:, 1] > 0)


@pytest.mark.slow
def test_demonstrations_think_where_that_is_best(env: TableEnv) -> None:
    shown = demonstrate(env, REWARD, (0.9, 0.95), 50, np.random.default_rng(0))
    faded = shown.values[:, FEATURES.index("distance")] > 0.5
    lost = shown.weights < 1e-9
    think = thinks(env, shown.latents)
    assert think[faded & ~lost].mean() > 0.4  # in the fog nothing is worth a thought
    assert not think[~faded].any()
    again = demonstrate(env, REWARD, (0.9, 0.95), 50, np.random.default_rng(0))
    assert (again.latents == shown.latents).all()


@pytest.mark.slow
def test_imitation_and_ppo_reach_the_oracle_of_a_task_of_many_steps(
    env: TableEnv, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    start = imitate(
        env.space,
        FEATURES,
        1,
        demonstrate(env, REWARD, (0.8, 0.95), 400, rng),
        ImitationSettings(hidden=16, epochs=40),
    )
    config = PPOConfig(
        decisions=40_000,
        hidden=16,
        reference_cost=REWARD.reference_cost,
        min_trade_off=0.8,
        max_trade_off=0.95,
        curriculum=False,
    )
    start = replace(start, max_samples=env.max_samples)
    made = train(env, config, tmp_path / "training", start=start)
    tasks = np.arange(len(env.tasks))
    came = roll_out(
        replace(made, deterministic=True),
        *(env, REWARD, tasks, np.full(len(tasks), TRADE_OFF), rng),
    )
    best = earned(*oracle(env, REWARD, TRADE_OFF))
    alike = max(fixed(env))
    assert best > alike + 0.03
    assert came.returns.mean() - alike >= 0.95 * (best - alike)
    assert not came.outside.any()


@pytest.mark.slow
def test_a_policy_that_solves_all_can_get_cheaper_and_one_that_solves_nothing_is_refused(
    tmp_path: Path,
) -> None:
    trails = Trails(6, 8)
    survey, tasks = Survey(trails, Arms(ARMS)), trails.tasks("train", 8)
    record(tmp_path / "it.sqlite", survey, tasks)
    env = lattice_env(read(tmp_path / "it.sqlite", survey, tasks), None, FEATURES, SILENT)
    config = PPOConfig(decisions=400, episodes=32, hidden=8, curriculum=False)

    def always(bias: float) -> MlpPolicy:
        made = MlpPolicy.initial(env.space, FEATURES, hidden=8)
        *hidden, output = made.layers
        output = Layer(np.zeros_like(output.weight), np.full_like(output.bias, bias))
        first, second = hidden
        return replace(
            made, layers=(first, second, output), max_rounds=1, max_samples=env.max_samples
        )

    train(env, config, tmp_path / "thinks", start=always(-9.0))
    with pytest.raises(InvalidInputError, match="first look at the tasks have the success 0"):
        train(env, config, tmp_path / "acts", start=always(9.0))
