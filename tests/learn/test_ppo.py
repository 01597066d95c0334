"""The learner: its formulas, TorchRL's values of them, and the gradient of a known problem."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.fakes.problems import TwoArmed, UntilRight

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.space import TOOLS_FROM
from amp.errors import InvalidInputError
from amp.learn.config import PPOConfig
from amp.learn.networks import Networks
from amp.learn.ppo import Batch, advantages, batch_of, losses, update
from amp.learn.rollout import Rollout, roll_out
from amp.mlp import Floats
from amp.reward import Reward

REWARD = Reward(400.0)
SETTINGS = PPOConfig(reference_cost=400.0, hidden=16, batch_size=64, epochs=2)
shares = st.floats(0, 1)


def played(networks: Networks, frame: MlpPolicy, episodes: int = 64, seed: int = 0) -> Rollout:
    problem = UntilRight()
    rng = np.random.default_rng(seed)
    trade_offs = rng.uniform(0.5, 1.0, episodes)
    tasks = rng.integers(0, problem.tasks, episodes)
    return roll_out(networks.export(frame), problem, REWARD, tasks, trade_offs, rng)


def beginning(seed: int = 0) -> tuple[Networks, MlpPolicy]:
    problem = UntilRight()
    frame = MlpPolicy.initial(problem.space, problem.features, hidden=16, seed=seed)
    frame = replace(frame, max_rounds=problem.max_rounds)
    return Networks(frame, seed), frame


def moved(networks: Networks, by: float, seed: int = 3) -> Networks:
    """The same networks, with other weights."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return networks


def test_ratios_are_one_and_nothing_is_clipped_before_the_first_step() -> None:
    networks, frame = beginning()
    moved(networks, 0.2)
    batch, _ = batch_of(played(networks, frame), networks, SETTINGS)
    log_probs, _ = networks.log_probs(batch.inputs, batch.latents, batch.free)
    assert torch.exp(log_probs - batch.log_probs).detach().numpy() == pytest.approx(1.0, abs=1e-5)
    loss = losses(networks, batch, epsilon=0.2)
    assert loss.clip_fraction.item() == 0.0
    assert loss.kl.item() == pytest.approx(0.0, abs=1e-7)
    # With ratios of 1 the objective is the mean advantage, which is 0.
    assert loss.policy.item() == pytest.approx(0.0, abs=1e-5)


def plain_advantages(
    rewards: list[float], values: list[float], gamma: float, gae_lambda: float
) -> list[float]:
    """The definition: a discounted sum of all errors that are still to come."""
    following = [*values[1:], 0.0]
    errors = [
        reward + gamma * after - before
        for reward, before, after in zip(rewards, values, following, strict=True)
    ]
    return [
        math.fsum((gamma * gae_lambda) ** k * error for k, error in enumerate(errors[turn:]))
        for turn in range(len(errors))
    ]


@given(st.data(), shares, shares, st.integers(1, 5))
def test_advantages_are_the_discounted_sums_of_their_definition(
    data: st.DataObject, gamma: float, gae_lambda: float, episodes: int
) -> None:
    lengths = [data.draw(st.integers(1, 6)) for _ in range(episodes)]
    shape = (max(lengths), episodes)
    rewards, values = (data.draw(arrays(float, shape, elements=st.floats(-9, 9))) for _ in "rv")
    for episode, length in enumerate(lengths):
        rewards[length:, episode] = values[length:, episode] = 0.0
    table = advantages(rewards, values, gamma, gae_lambda)
    for episode, length in enumerate(lengths):
        plain = plain_advantages(
            rewards[:length, episode].tolist(),
            values[:length, episode].tolist(),
            gamma,
            gae_lambda,
        )
        assert table[:length, episode].tolist() == pytest.approx(plain, abs=1e-9)
        assert not table[length:, episode].any()


def test_without_discount_an_advantage_is_the_return_less_what_was_expected() -> None:
    rewards, values = np.array([[-1.0], [-2.0], [9.0]]), np.array([[4.0], [3.0], [2.0]])
    assert advantages(rewards, values, 1.0, 1.0)[:, 0].tolist() == [2.0, 4.0, 7.0]


def plain_losses(
    log_probs: Floats, old: Floats, gained: Floats, epsilon: float
) -> tuple[float, float]:
    """L^CLIP of spec 2.4 and the share of clipped ratios, one decision after the other."""
    total, outside = 0.0, 0
    for new, before, advantage in zip(log_probs, old, gained, strict=True):
        ratio = math.exp(new - before)
        clipped = min(max(ratio, 1.0 - epsilon), 1.0 + epsilon)
        total += min(ratio * advantage, clipped * advantage)
        outside += abs(ratio - 1.0) > epsilon
    return -total / len(old), outside / len(old)


@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_the_loss_is_that_of_a_plain_loop(epsilon: float) -> None:
    networks, frame = beginning()
    batch, _ = batch_of(played(networks, frame), networks, SETTINGS)
    moved(networks, 0.02)
    loss = losses(networks, batch, epsilon)
    log_probs, entropies = networks.log_probs(batch.inputs, batch.latents, batch.free)
    policy, outside = plain_losses(
        log_probs.detach().numpy(), batch.log_probs.numpy(), batch.advantages.numpy(), epsilon
    )
    errors = networks.values(batch.inputs).detach().numpy() - batch.returns.numpy()
    assert 0.0 < outside < 1.0
    assert loss.policy.item() == pytest.approx(policy, abs=1e-5)
    assert loss.clip_fraction.item() == pytest.approx(outside)
    assert loss.value.item() == pytest.approx(0.5 * float((errors**2).mean()), rel=1e-5)
    assert loss.entropy.item() == pytest.approx(entropies.mean().item())


@pytest.mark.parametrize(("with_tool", "without"), [(0.8, 0.3), (0.1, 0.6)])
def test_the_first_gradient_is_the_policy_gradient_of_two_arms(
    with_tool: float, without: float
) -> None:
    # d E[r] / d logit = p (1 - p) (r1 - r0); advantages are divided by the deviation of r.
    problem = TwoArmed(with_tool, without)
    frame = replace(MlpPolicy.initial(problem.space, (), hidden=8), max_rounds=1)
    networks = Networks(frame, 0)
    n = 40_000
    rollout = roll_out(
        networks.export(frame),
        problem,
        REWARD,
        np.zeros(n, np.intp),
        np.ones(n),
        np.random.default_rng(0),
    )
    batch, _ = batch_of(rollout, networks, SETTINGS)
    losses(networks, batch, 0.2).policy.backward()  # type: ignore[no-untyped-call]
    bias = networks.policy.get_parameter("4.bias").grad
    assert bias is not None
    p = 1.0 / (1.0 + math.exp(-2.0))
    mean = p * with_tool + (1.0 - p) * without
    exact = p * (1.0 - p) * (with_tool - without) / math.sqrt(mean * (1.0 - mean))
    sampling = 4.0 * math.sqrt(p * (1.0 - p) / n)
    assert -bias[TOOLS_FROM].item() == pytest.approx(exact, abs=sampling)
    # What is not free learns nothing.
    assert not bias[:TOOLS_FROM].any()


def test_the_value_function_learns_what_episodes_return() -> None:
    networks, frame = beginning()
    rollout = played(networks, frame, 128)
    adam = torch.optim.Adam(networks.value.parameters(), lr=1e-2)
    settings = SETTINGS.replace(epochs=10, gae_lambda=1.0, gradient_norm=10.0)
    first = update(networks, adam, rollout, settings, np.random.default_rng(0))
    second = update(networks, adam, rollout, settings, np.random.default_rng(0))
    assert abs(first.explained_variance) < 0.05
    assert second.explained_variance > 0.3


def test_an_update_ends_when_the_policy_has_moved_far_enough() -> None:
    networks, frame = beginning()
    rollout = played(networks, frame)
    adam = torch.optim.Adam(networks.parameters(), lr=0.05)
    settings = SETTINGS.replace(epochs=50, target_kl=0.01)
    done = update(networks, adam, rollout, settings, np.random.default_rng(0))
    assert done.kl > 0.01
    assert 0 < done.minibatches < 50


def test_rewards_that_are_all_the_same_are_refused() -> None:
    networks, frame = beginning()
    rollout = played(networks, frame)
    flat = replace(rollout, rewards=np.zeros(len(rollout.rewards)))
    with pytest.raises(InvalidInputError, match="decisions had the same advantage"):
        batch_of(flat, networks, SETTINGS)


def decisions_to_go_on(networks: Networks, rows: int) -> Batch:
    """Decisions that the networks may draw, none of them a stop, in which everything is free."""
    torch.manual_seed(5)
    inputs = torch.randn(rows, networks.policy.get_parameter("0.weight").shape[1])
    with torch.no_grad():
        latents = networks.policy(inputs)
        reals = latents[:, 1:TOOLS_FROM]
        reals += torch.exp(networks.log_stds) * torch.randn_like(reals)
        latents[:, TOOLS_FROM:] = torch.bernoulli(torch.sigmoid(latents[:, TOOLS_FROM:]))
        latents[:, 0] = 0.0
        free = torch.ones_like(latents, dtype=torch.bool)
        log_probs, _ = networks.log_probs(inputs, latents, free)
    gained, returns = torch.randn(2, rows)
    return Batch(inputs, torch.zeros(rows, 0), latents, free, log_probs, gained, returns)


@pytest.mark.slow
def test_loss_and_advantages_are_those_of_torchrl() -> None:
    # Here, since its import takes longer than all tests of this file.
    from tests.learn import torchrl_values

    networks, _ = beginning()
    moved(networks, 0.3)
    batch = decisions_to_go_on(networks, 50)
    with torch.no_grad():
        heads = torchrl_values.heads_log_probs(networks, batch)
        summed = torch.stack(list(heads.values())).sum(0)
    assert summed.numpy() == pytest.approx(batch.log_probs.numpy(), abs=1e-5, rel=1e-5)
    moved(networks, 0.03)
    ours = losses(networks, batch, 0.2)
    theirs = torchrl_values.losses(networks, batch, heads, 0.2)
    assert 0.0 < ours.clip_fraction.item() < 1.0
    assert ours.policy.item() == pytest.approx(theirs["loss_objective"], abs=1e-5)
    assert ours.clip_fraction.item() == pytest.approx(theirs["clip_fraction"])
    assert 2.0 * ours.value.item() == pytest.approx(theirs["loss_critic"], rel=1e-5)

    rng = np.random.default_rng(1)
    rewards, values = rng.normal(size=(2, 7, 3))
    assert advantages(rewards, values, 0.97, 0.9) == pytest.approx(
        torchrl_values.advantages(rewards, values, 0.97, 0.9), abs=1e-6
    )
