"""A whole training: it finds what is known to be best, and can be interrupted anywhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from tests.fakes.problems import Level, TwoArmed, UntilRight

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import load_policy
from amp.errors import InvalidInputError
from amp.learn.config import PPOConfig
from amp.learn.rollout import roll_out
from amp.learn.trainer import CHECKPOINT, METRICS, POLICY, Metrics, train
from amp.mlp import Floats, read_tensors, write_tensors
from amp.reward import Reward

SHORT = PPOConfig(
    reference_cost=400.0,
    decisions=1_200,
    episodes=40,
    hidden=8,
    batch_size=64,
    epochs=2,
    patience=2,
    checkpoint_every=3,
)


def weights(policy: MlpPolicy) -> list[Floats]:
    arrays = [policy.mean, policy.std, np.array(policy.log_stds)]
    return arrays + [array for layer in policy.layers for array in (layer.weight, layer.bias)]


def same(one: MlpPolicy, other: MlpPolicy) -> bool:
    pairs = zip(weights(one), weights(other), strict=True)
    return all((ours == theirs).all() for ours, theirs in pairs)


def metrics(directory: Path) -> list[Metrics]:
    """All but the seconds, which no two runs share."""
    lines = (directory / METRICS).read_text("utf-8").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if "seconds" not in key}
        for line in lines
    ]


def stored(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """All that a file holds; the order of a header's words means nothing."""
    with safe_open(path, framework="numpy") as file:
        return file.metadata(), {
            name: file.get_tensor(name).tobytes() for name in sorted(file.keys())
        }


def earned(policy: MlpPolicy, problem: UntilRight, trade_off: float, tokens: float) -> float:
    n = 20_000
    rollout = roll_out(
        replace(policy, deterministic=True),
        problem,
        Reward(tokens),
        np.resize(np.arange(problem.tasks), n),
        np.full(n, trade_off),
        np.random.default_rng(99),
    )
    return float(rollout.returns.mean())


def test_the_better_of_two_arms_is_found_against_the_first_guess(tmp_path: Path) -> None:
    # The tool is likely at first, and is the worse arm.
    problem = TwoArmed(with_tool=0.3, without=0.8)
    settings = SHORT.replace(decisions=6_000, episodes=200, learning_rate=0.01, anneal=False)
    policy = train(problem, settings, tmp_path)
    rng = np.random.default_rng(0)
    tasks = np.zeros(500, np.intp)
    rollout = roll_out(policy, problem, settings.reward, tasks, np.full(500, 0.9), rng)
    assert rollout.latents[:, -1].mean() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_trained_policy_earns_most_of_what_the_oracle_gains_over_the_best_fixed_one(
    tmp_path: Path, seed: int
) -> None:
    problem = UntilRight()
    settings = PPOConfig(
        reference_cost=400.0,
        decisions=150_000,
        hidden=32,
        min_trade_off=0.9,
        max_trade_off=0.9,
        seed=seed,
    )
    policy = train(problem, settings, tmp_path)
    best, fixed = problem.oracle(0.9, 400.0), problem.best_fixed(0.9, 400.0)
    share = (earned(policy, problem, 0.9, 400.0) - fixed) / (best - fixed)
    assert share >= 0.9


def test_the_same_seed_gives_the_same_policy_and_another_one_another(tmp_path: Path) -> None:
    one, other, different = (
        train(UntilRight(), SHORT.replace(seed=seed), tmp_path / name)
        for name, seed in (("one", 0), ("other", 0), ("different", 1))
    )
    assert same(one, other)
    assert not same(one, different)
    assert metrics(tmp_path / "one") == metrics(tmp_path / "other")
    loaded = load_policy(tmp_path / "one" / POLICY)
    assert isinstance(loaded, MlpPolicy)
    assert same(loaded, one)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.fakes.problems import UntilRight
from tests.learn.test_trainer import SHORT
from amp.learn.trainer import train

def kill(metrics):
    if metrics["update"] == 8:
        os.kill(os.getpid(), signal.SIGKILL)

train(UntilRight(), SHORT, Path(sys.argv[1]), on_update=kill)
"""


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = train(UntilRight(), SHORT, tmp_path / "whole")
    killed = tmp_path / "killed"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(killed)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    # Two updates were noted after the last checkpoint, and a third only in part.
    with (killed / METRICS).open("a", encoding="utf-8") as file:
        file.write('{"update": 9, "decis')
    assert len((killed / METRICS).read_text("utf-8").splitlines()) == 9
    resumed = train(UntilRight(), SHORT, killed, resume=True)
    assert same(whole, resumed)
    assert metrics(killed) == metrics(tmp_path / "whole")
    for name in (CHECKPOINT, POLICY):
        assert stored(killed / name) == stored(tmp_path / "whole" / name)


def test_a_training_can_be_made_longer_but_not_different(tmp_path: Path) -> None:
    train(UntilRight(), SHORT, tmp_path)
    done = metrics(tmp_path)
    train(UntilRight(), SHORT.replace(decisions=1_400), tmp_path, resume=True)
    longer = metrics(tmp_path)
    assert longer[: len(done)] == done
    assert len(longer) > len(done)
    with pytest.raises(InvalidInputError, match=r"setting epsilon was 0\.2, now it is 0\.1"):
        train(UntilRight(), SHORT.replace(epsilon=0.1), tmp_path, resume=True)
    with pytest.raises(InvalidInputError, match="max_rounds was 8, now it is 5"):
        train(UntilRight(most=5), SHORT, tmp_path, resume=True)
    with pytest.raises(InvalidInputError, match="max_samples was null, now it is 3"):
        train(UntilRight(max_samples=3), SHORT, tmp_path, resume=True)
    with pytest.raises(InvalidInputError, match="has a training already; resume it or"):
        train(UntilRight(), SHORT, tmp_path)


def test_a_training_of_version_0_1_goes_on_as_if_it_were_one_of_today(tmp_path: Path) -> None:
    for name in ("now", "old"):
        train(UntilRight(), SHORT, tmp_path / name)
    path = tmp_path / "old" / CHECKPOINT
    header, tensors = read_tensors(path, "checkpoint", "amp-training/1")
    old = {
        name.replace("max_", "most_"): value.replace('"min_', '"least_').replace('"max_', '"most_')
        for name, value in header.items()
    }
    assert old != header
    charged = '"cost": "tokens", "reference_cost"'  # there was nothing else to charge
    assert charged in old["settings"]
    old["settings"] = old["settings"].replace(charged, '"reference_tokens"')
    write_tensors(path, old, tensors)
    longer = SHORT.replace(decisions=1_400)
    now, resumed = (
        train(UntilRight(), longer, tmp_path / name, resume=True) for name in ("now", "old")
    )
    assert same(now, resumed)
    assert metrics(tmp_path / "now") == metrics(tmp_path / "old")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_checkpoint_that_was_cut_is_named_and_kept(share: float, tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    train(UntilRight(), SHORT.replace(decisions=100), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    noted = (tmp_path / METRICS).read_bytes()
    with pytest.raises(InvalidInputError, match="checkpoint.safetensors is no safetensors file"):
        train(UntilRight(), SHORT, tmp_path, resume=True)
    assert (tmp_path / METRICS).read_bytes() == noted
    with pytest.raises(InvalidInputError, match="there is no checkpoint"):
        train(UntilRight(), SHORT, tmp_path / "none", resume=True)


def test_every_update_is_noted_with_the_terciles_and_trade_offs_that_it_drew(
    tmp_path: Path,
) -> None:
    told: list[Metrics] = []
    train(UntilRight(), SHORT, tmp_path, on_update=told.append)
    lines = (tmp_path / METRICS).read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == told
    assert [m["update"] for m in told] == list(range(1, len(told) + 1))
    assert [m["terciles_open"] for m in told][:1] == [1]
    assert told[0]["success_hard"] is None
    assert told[-1]["terciles_open"] == 3
    assert told[-1]["success_hard"] is not None
    lows = [m["trade_off_from"] or 0.0 for m in told]
    assert (lows[0], lows[-1]) == (1.0, 0.5)
    assert lows == sorted(lows, reverse=True)


def test_a_policy_to_begin_with_keeps_its_normalisation(tmp_path: Path) -> None:
    problem = UntilRight()
    values = len(weights(train(problem, SHORT, tmp_path / "first"))[0])
    start = MlpPolicy.initial(
        problem.space,
        problem.features,
        mean=np.full(values, 0.25),
        std=np.full(values, 2.0),
        hidden=8,
    )
    start = replace(start, max_rounds=problem.max_rounds)
    policy = train(problem, SHORT, tmp_path / "second", start=start)
    assert (policy.mean == start.mean).all()
    assert (policy.std == start.std).all()
    with pytest.raises(InvalidInputError, match="begin with has max_rounds 4, the environment 8"):
        train(problem, SHORT, tmp_path / "third", start=replace(start, max_rounds=4))
    with pytest.raises(InvalidInputError, match="with has max_samples 2, the environment None"):
        train(problem, SHORT, tmp_path / "third", start=replace(start, max_samples=2))


def test_a_policy_draws_no_more_samples_than_the_simulator_has(tmp_path: Path) -> None:
    problem = UntilRight(max_samples=3)
    trained = train(problem, SHORT.replace(decisions=100), tmp_path)
    loaded = load_policy(tmp_path / POLICY)
    assert (trained.max_samples, loaded.max_samples) == (3, 3)


@dataclass
class Numb(UntilRight):
    """All of its tasks fail whatever is done."""

    levels: tuple[Level, ...] = (Level(0.0, 0.0),)


def test_nothing_to_learn_from_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there are no tasks to train on"):
        train(UntilRight(tasks=0), SHORT, tmp_path / "empty")
    with pytest.raises(InvalidInputError, match="all 60 episodes .* have the success 0, expected"):
        train(Numb(), SHORT, tmp_path / "numb")
    assert not list(tmp_path.iterdir())
