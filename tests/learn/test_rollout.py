"""Episodes played at once: draws, maps and rewards are those of single decisions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.allocate.test_mlp_policy import SPACE
from tests.fakes.problems import TOKENS, TwoArmed, UntilRight

from amp.allocate.mlp_policy import EXTRAS, MlpPolicy, allocations
from amp.allocate.space import ActionDistribution, Space, sigmoid
from amp.errors import InvalidInputError
from amp.learn import rollout
from amp.learn.rollout import Rollout, draw, most_likely, roll_out
from amp.mlp import Floats, Ints
from amp.reward import Charge, Reward
from amp.simulate.table_env import BatchObservation, StepResult, VectorEpisodes

PROBLEM = UntilRight()
REWARD = Reward(400.0)
POLICY = replace(
    MlpPolicy.initial(PROBLEM.space, PROBLEM.features, hidden=8), max_rounds=PROBLEM.max_rounds
)
WIDTH = len(EXTRAS)
seeds = st.integers(0, 2**32 - 1)


def played(
    policy: MlpPolicy = POLICY,
    problem: UntilRight = PROBLEM,
    reward: Reward = REWARD,
    seed: int = 0,
    episodes: int = 50,
) -> Rollout:
    rng = np.random.default_rng(seed)
    tasks = rng.integers(0, problem.tasks, episodes)
    return roll_out(policy, problem, reward, tasks, rng.uniform(0, 1, episodes), rng)


spaces = st.builds(
    Space,
    depth=st.sampled_from([(0, 4), (2, 2), (0, 9)]),
    temperature=st.sampled_from([(0.0, 1.0), (0.3, 0.7)]),
    beam_width=st.sampled_from([(1, 4), (1, 16), (3, 3)]),
    tools=st.sampled_from([frozenset[str](), frozenset({"a", "b"})]),
    temperature_step=st.sampled_from([None, 0.1, 0.25]),
    top_p_step=st.sampled_from([None, 0.05]),
)


@given(spaces, seeds)
def test_many_latents_stand_for_the_allocations_of_each(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    latents = rng.normal(0.0, 3.0, (20, len(space.dims)))
    latents[:, 0] = 0.0
    latents[:, 6:] = latents[:, 6:] > 0
    most = rng.integers(0, 20, 20)
    many = allocations(space, latents, most)
    for row, beams in enumerate(most.tolist()):
        least, widest = space.beam_width
        here = replace(space, beam_width=(least, max(least, min(widest, beams))))
        one = here.allocation(latents[row].tolist())
        for name in ("depth", "beam_width", "verification"):
            assert getattr(many, name)[row] == getattr(one, name)
        assert many.temperature[row] == pytest.approx(one.temperature, abs=1e-9)
        assert many.top_p[row] == pytest.approx(one.top_p, abs=1e-9)
        used = {n for n, bit in zip(space.tool_names, many.tools[row], strict=True) if bit}
        assert used == one.tools


@given(seeds)
def test_the_most_likely_decisions_are_those_of_each_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    locations = rng.normal(0.0, 2.0, (20, len(SPACE.dims))).astype(np.float32)
    free = rng.random(locations.shape) < 0.7
    many = most_likely(locations, free)
    for row in range(20):
        one = ActionDistribution(tuple(locations[row].tolist()), (0.0,) * 5)
        assert tuple(many[row].tolist()) == one.mode(free[row].tolist())


def test_draws_have_the_means_deviations_and_probabilities_of_their_heads() -> None:
    n = 20_000
    location = np.array([-0.7, 0.3, -1.0, 2.0, 0.1, -0.4, 1.2, -2.0], np.float32)
    log_stds = np.array([-0.7, 0.1, -1.5, 0.4, 0.0], np.float32)
    free = np.ones((n, 8), np.bool_)
    latents = draw(np.tile(location, (n, 1)), log_stds, free, np.random.default_rng(0))
    stops = latents[:, 0] > 0
    assert stops.mean() == pytest.approx(sigmoid(-0.7), abs=4 * math.sqrt(0.25 / n))
    assert not latents[stops, 1:].any()
    going_on = latents[~stops]
    for index, log_std in enumerate(log_stds.tolist(), 1):
        std = math.exp(log_std)
        error = 4 * std / math.sqrt(len(going_on))
        assert going_on[:, index].mean() == pytest.approx(location[index], abs=error)
        assert going_on[:, index].std() == pytest.approx(std, abs=error)
    for index in (6, 7):
        probability = sigmoid(float(location[index]))
        assert going_on[:, index].mean() == pytest.approx(probability, abs=4 * math.sqrt(0.25 / n))


@given(seeds, st.booleans())
def test_nothing_masked_is_ever_decided(seed: int, deterministic: bool) -> None:
    rollout = played(replace(POLICY, deterministic=deterministic), seed=seed, episodes=20)
    assert not rollout.latents[~rollout.free].any()
    first = rollout.turn == 0
    assert not rollout.latents[first, 0].any()
    assert rollout.latents[rollout.latents[:, 0] > 0, 1:].sum() == 0.0


@pytest.mark.parametrize("charge", ["always", "on_success"])
@given(seeds)
def test_the_rewards_of_an_episode_add_up_to_that_of_its_outcome(charge: Charge, seed: int) -> None:
    reward = Reward(400.0, charge)
    rollout = played(reward=reward, seed=seed, episodes=20)
    whole = reward.of(rollout.success, rollout.cost, rollout.trade_offs)
    assert rollout.returns == pytest.approx(whole, abs=1e-9)
    table = rollout.grid(rollout.rewards)
    assert table.sum(0) == pytest.approx(whole, abs=1e-9)
    if charge == "on_success":
        assert not rollout.rewards[
            np.isin(rollout.episode, np.flatnonzero(rollout.success == 0))
        ].any()
    else:
        lost = 1.0 - rollout.trade_offs[rollout.episode]
        assert (rollout.rewards >= -4 * TOKENS / 400.0 * lost - 1e-9).all()


def test_the_policy_sees_the_trade_off_of_its_episode() -> None:
    rollout = played()
    column = len(PROBLEM.features) + EXTRAS.index("trade_off")
    assert (rollout.values[:, column] == rollout.trade_offs[rollout.episode]).all()


def test_the_same_seed_plays_the_same_episodes() -> None:
    one, other, different = played(seed=3), played(seed=3), played(seed=4)
    assert (one.latents == other.latents).all()
    assert (one.rewards == other.rewards).all()
    assert one.latents.shape != different.latents.shape or (one.latents != different.latents).any()


def test_what_the_best_policy_earns_is_what_the_closed_form_says() -> None:
    # Asking for one sample after the other with the better arm, until it is right.
    problem = UntilRight()
    rng = np.random.default_rng(0)
    tasks = np.resize(np.arange(problem.tasks), 30_000)
    episodes = problem.reset(tasks, rng)
    live, success, tokens = np.arange(len(tasks)), np.zeros(len(tasks)), np.zeros(len(tasks))
    better = np.array([level.with_tool > level.without for level in problem.levels])
    while len(live):
        view = episodes.observe(live)
        latents = np.zeros((len(live), len(problem.space.dims)))
        right = view.values[:, len(problem.features) + EXTRAS.index("agreement")] == 1.0
        hopeless = (problem.level[tasks[live]] == 2) & view.free[:, 0]
        latents[:, 0] = right | hopeless
        latents[:, problem.space.dims.index("beam_width")] = -99.0
        latents[:, -1] = better[problem.level[tasks[live]]]
        latents[latents[:, 0] > 0, 1:] = 0.0
        came = episodes.step(live, latents)
        tokens[live] += came.cost
        success[live] = came.success
        live = live[~came.done]
    earned = Reward(400.0).of(success, tokens, np.full(len(tasks), 0.9))
    error = 4 * earned.std() / math.sqrt(len(tasks))
    assert earned.mean() == pytest.approx(problem.oracle(0.9, 400.0), abs=error)


class Broken(TwoArmed):
    """A environment that gives what it should not."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.changes = changes

    def reset(self, tasks: Ints, rng: np.random.Generator) -> VectorEpisodes:
        return _BrokenEpisodes(super().reset(tasks, rng), self.changes)


class _BrokenEpisodes:
    def __init__(self, whole: VectorEpisodes, changes: dict[str, Any]) -> None:
        self.whole, self.changes = whole, changes

    def observe(self, rows: Ints) -> BatchObservation:
        view = self.whole.observe(rows)
        return replace(view, **{k: v for k, v in self.changes.items() if hasattr(view, k)})

    def step(self, rows: Ints, latents: Floats) -> StepResult:
        turn = self.whole.step(rows, latents)
        return replace(turn, **{k: v for k, v in self.changes.items() if hasattr(turn, k)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"success": np.full(4, math.nan)}, "success of a decision is nan, expected 0 to 1"),
        ({"success": np.full(4, 1.5)}, "success of a decision is 1.5, expected 0 to 1"),
        ({"cost": np.full(4, -1.0)}, "cost of a decision is -1.0, expected 0 or more"),
        ({"cost": np.full(4, math.inf)}, "cost of a decision is inf, expected 0 or more"),
        ({"values": np.full((4, WIDTH), math.inf)}, "complexity score is infinite"),
        (
            {"values": np.zeros((4, WIDTH - 1))},
            rf"values of the view .* \(4, {WIDTH - 1}\), expected \(4, {WIDTH}\)",
        ),
        ({"free": np.zeros((4, 7), np.bool_)}, "asks for a decision in which nothing is free"),
        ({"done": np.zeros(4, np.bool_)}, "task 0 is not done after 20 decisions, expected an end"),
    ],
)
def test_a_simulator_that_makes_no_sense_is_named(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "MAX_TURNS", 20)
    problem = Broken(**changes)
    policy = replace(MlpPolicy.initial(problem.space, (), hidden=8), max_rounds=1)
    with pytest.raises(InvalidInputError, match=message):
        roll_out(
            policy,
            problem,
            Reward(1.0),
            np.zeros(4, np.intp),
            np.ones(4),
            np.random.default_rng(0),
        )


def test_no_tasks_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="there are no tasks to play"):
        played(episodes=0)
