"""Episodes in the real planner are those of the environment, and PPO learns from them alike."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes.ray import FakeRay
from tests.fakes.recorded import (
    CHAIN,
    GSM8K,
    POLICY_SPACE,
    PROGRAM,
    SILENT,
    TASKS,
    planner_of,
    record,
)
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle

from amp.allocate.base import Allocator
from amp.allocate.mlp_policy import EXTRAS, MlpPolicy
from amp.allocate.space import Space
from amp.assess.base import WeightedAssessor
from amp.cost import Cost, costing
from amp.environment import Environment
from amp.errors import InvalidInputError, ModelError
from amp.evaluate.ray_workers import on_ray
from amp.evaluate.workers import Opener, Places
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.learn import rollout
from amp.learn.config import PPOConfig
from amp.learn.live_rollout import LiveBench, play
from amp.learn.networks import Networks
from amp.learn.ppo import batch_of, losses, update
from amp.learn.rollout import Rollout, roll_out
from amp.mlp import Floats
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.recording_file import RecordingFile
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.reward import Reward
from amp.simulate.build import opening_contexts, table_from_recording
from amp.simulate.sample_env import env_from_samples
from amp.simulate.table_env import TableEnv
from amp.types import Episode, Limits, Task, Transition, Usage

SAMPLES = 4
FEATURES = ("token_entropy", "answer_tokens", "unread")
TRADE_OFFS = np.array([0.6, 0.8, 0.95])
REWARD = Reward(400.0)
WALKS = Space(depth=(0, 1), beam_width=(1, 3), verification=(0, 0))


def policy(seed: int, space: Space, features: tuple[str, ...] = FEATURES) -> MlpPolicy:
    """A network of chance: decides all sorts of things, and depends on all that it sees."""
    rng = np.random.default_rng(seed)
    made = MlpPolicy.initial(space, features, hidden=16, seed=seed)
    first, second, output = made.layers
    weight = rng.normal(0.0, 1.0, output.weight.shape).astype(np.float32)
    return replace(made, layers=(first, second, replace(output, weight=weight)), seed=seed)


def sampler(seed: int) -> MlpPolicy:
    return replace(policy(seed, POLICY_SPACE), max_samples=SAMPLES)


# --------------------------------------------------------------------------- as in an environment


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recording = tmp_path_factory.mktemp("online") / "recording.sqlite"
    record(recording, [PROGRAM, CHAIN], SAMPLES)
    return recording


@pytest.fixture(scope="module")
def table(path: Path) -> TableEnv:
    """Its samples come in the order in which they were recorded."""
    draws = table_from_recording(path, GSM8K, TASKS, [PROGRAM, CHAIN], SAMPLES)
    env = env_from_samples(
        draws,
        POLICY_SPACE,
        FEATURES,
        SILENT,
        opening_contexts(GSM8K, TASKS),
        max_rounds=4,
    )
    return replace(env, shuffled=False)


def online(
    path: Path, one: MlpPolicy, jobs: int = 1, reward: Reward = REWARD, cost: Cost = "tokens"
) -> Rollout:
    model = RecordedModel(None, path, mode="replay")

    async def played() -> Rollout:
        try:
            return await play(
                lambda allocator: planner_of(model, allocator),
                GSM8K,
                TASKS,
                one,
                reward,
                TRADE_OFFS,
                jobs,
                costing=costing(cost, model.card),
            )
        finally:
            await model.close()

    return asyncio.run(played())


@asynccontextmanager
async def live_bench(path: Path, places: Places) -> AsyncIterator[LiveBench]:
    model = RecordedModel(None, places.get(path, path), mode="replay")
    try:
        yield LiveBench(lambda allocator: planner_of(model, allocator), GSM8K)
    finally:
        await model.close()


async def test_workers_elsewhere_play_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay({"a": 2}, iter(["", "after"])))
    monkeypatch.setattr(RecordingFile, "on_write", None)
    async with live_bench(path, {}) as bench:
        told = bench.planner_of, GSM8K, TASKS, sampler(3), REWARD, TRADE_OFFS
        here = await play(*told)
        async with on_ray(Opener(partial(live_bench, path), (path,))) as workers:
            there = await play(*told, workers=workers)
    for name in Rollout.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))


def simulated(table: TableEnv, one: MlpPolicy, reward: Reward = REWARD) -> Rollout:
    tasks = np.arange(len(TASKS))
    return roll_out(one, table, reward, tasks, TRADE_OFFS, np.random.default_rng(0))


def agree(one: Rollout, other: Rollout, *but: str) -> None:
    for name in Rollout.__dataclass_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.shape == theirs.shape, name
        assert mine.dtype == theirs.dtype, name
        if name not in but:
            assert mine == pytest.approx(
                theirs, abs=1e-5 if mine.dtype == np.float32 else 1e-6, nan_ok=True
            ), name


@pytest.mark.parametrize("seed", range(12))
def test_the_planner_and_the_simulator_give_the_same_rollouts(
    path: Path, table: TableEnv, seed: int
) -> None:
    one = replace(sampler(seed), deterministic=True)
    reward = Reward(400.0, ("always", "on_success", "log")[seed % 3])
    costs: tuple[Cost, ...] = ("tokens", "written", "seconds")
    cost = costs[seed // 3 % 3]
    played = online(path, one, 1, reward, cost)
    agree(played, simulated(table.in_unit(cost), one, reward), "log_probs")


@pytest.mark.parametrize("seed", range(12))
def test_so_they_do_where_the_simulator_is_told_what_was_drawn(
    path: Path, table: TableEnv, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = online(path, sampler(seed), jobs=2)
    turns = iter(range(int(played.turn.max()) + 1))

    def drawn(locations: Floats, *_: object) -> Floats:
        return np.asarray(played.latents[played.turn == next(turns)])

    monkeypatch.setattr(rollout, "draw", drawn)
    agree(played, simulated(table, sampler(seed)))


def test_the_rollouts_of_those_tests_are_of_all_sorts(path: Path) -> None:
    played = [online(path, sampler(seed)) for seed in range(12)]
    assert {int(rollout.turn.max()) for rollout in played} >= {1, 2, 3}
    assert {float(success) for rollout in played for success in rollout.success} == {0.0, 1.0}
    for column in (0, -1):
        assert {float(z) for r in played for z in r.latents[:, column]} == {0.0, 1.0}
    assert any((~rollout.free[rollout.turn > 0, -1]).any() for rollout in played)


# --------------------------------------------------------------------------- of several steps


@dataclass(frozen=True)
class Worlds:
    """As much of a benchmark as is played in."""

    world: type[Corridor] | type[Riddle]

    def environment(self, task: Task) -> Environment:
        return self.world()


def tell(prompt: Prompt) -> dict[str, float]:
    return {"1": 0.3, "2": 0.7}


def walker(allocator: Allocator, limits: Limits = Limits(steps=6)) -> Planner:
    """Looks before each step, thinks in words of various lengths, and walks or waits."""
    model = ScriptedModel(["Walk on.", "It may be wise to wait for a while."], next_tokens=tell)
    return Planner(model, Executor(PlainPrompts()), WeightedAssessor(), allocator, limits)


def repeats(task: Task, count: int) -> list[Task]:
    return [replace(task, seed=seed) for seed in range(count)]


def walked(
    one: MlpPolicy, count: int = 6, limits: Limits = Limits(steps=6), jobs: int = 1
) -> Rollout:
    return asyncio.run(
        play(
            lambda allocator: walker(allocator, limits),
            Worlds(Corridor),  # type: ignore[arg-type]
            repeats(CORRIDOR, count),
            one,
            REWARD,
            np.linspace(0.5, 0.9, count),
            jobs,
        )
    )


def traced(one: MlpPolicy, rollout: Rollout, limits: Limits = Limits(steps=6)) -> list[Episode]:
    """The same episodes in a planner that has the policy itself."""
    return [
        asyncio.run(
            walker(replace(one, trade_off=float(trade_off)), limits).run(
                replace(CORRIDOR, seed=int(task)), Corridor()
            )
        )
        for task, trade_off in zip(rollout.tasks, rollout.trade_offs, strict=True)
    ]


def gains(tokens: Sequence[int], score: float, trade_off: float) -> list[float]:
    """Rewards of decisions that cost so much, one after the other."""
    gained = [-(1.0 - trade_off) * spent / REWARD.reference_cost for spent in tokens]
    gained[-1] += trade_off * score
    return gained


@pytest.mark.parametrize("seed", range(4))
def test_each_decision_is_charged_its_round_and_the_first_of_a_step_its_look(seed: int) -> None:
    one = policy(seed, WALKS, ("distance",))
    rollout = walked(one)
    probed = bought = 0
    for number, episode in enumerate(traced(one, rollout)):
        costs, log_probs, latents = [], [], []
        for step in episode.steps:
            decided = [*step.rounds]
            probe = step.usage - sum((made.usage for made in decided), Usage())
            spent = [made.usage.tokens for made in decided]
            drawn = [(made.log_prob, made.latents) for made in decided]
            if step.stop is not None and len(decided) < one.max_rounds:
                spent.append(0)
                drawn.append((step.stop.log_prob, step.stop.latents))
            bought += sum(spent)
            probed += probe.tokens
            spent[0] += probe.tokens
            costs += spent
            log_probs += [log_prob for log_prob, _ in drawn]
            latents += [z for _, z in drawn]
        rows = rollout.episode == number
        assert rollout.turn[rows].tolist() == list(range(len(costs)))
        trade_off = float(rollout.trade_offs[number])
        assert rollout.rewards[rows] == pytest.approx(gains(costs, episode.score, trade_off))
        assert rollout.log_probs[rows] == pytest.approx(log_probs, rel=1e-6)
        assert rollout.latents[rows] == pytest.approx(np.array(latents), rel=1e-6)
        assert rollout.values[rows, 1 + EXTRAS.index("trade_off")].tolist() == [trade_off] * sum(
            rows
        )
    assert probed > 0 < bought
    assert len(rollout.rewards) > 2 * len(rollout.tasks)


def test_rewards_add_up_whatever_ended_an_episode_and_whatever_was_forced() -> None:
    one = policy(1, WALKS, ("distance",))
    fixed = replace(
        WALKS, depth=(1, 1), temperature=(1.0, 1.0), top_p=(1.0, 1.0), beam_width=(2, 2)
    )
    forced = policy(2, fixed, ("distance",))
    for made, limits in (
        (one, Limits(steps=2)),
        (one, Limits(steps=6, tokens=300)),
        (one, Limits(steps=6, tokens=120)),
        (forced, Limits(steps=6)),
    ):
        rollout = walked(made, limits=limits)
        episodes = traced(made, rollout, limits)
        worth = REWARD.of(rollout.success, rollout.cost, rollout.trade_offs)
        assert rollout.returns == pytest.approx(worth)
        assert rollout.success.tolist() == [episode.score for episode in episodes]
        assert rollout.cost.tolist() == [episode.usage.tokens for episode in episodes]
        assert rollout.free.any(1).all()
        if made is forced:  # nothing is left to decide before the first round of a step
            assert rollout.free[:, 0].all()
        elif limits.tokens:
            assert "limit of tokens" in {episode.ended for episode in episodes}


def test_jobs_change_nothing_and_a_seed_changes_the_draws() -> None:
    one = policy(0, WALKS, ("distance",))
    agree(walked(one, jobs=4), walked(one))
    assert not np.array_equal(walked(replace(one, seed=9)).latents[:6], walked(one).latents[:6])


# --------------------------------------------------------------------------- what PPO makes of them


def riddled(one: MlpPolicy, count: int = 24) -> Rollout:
    model = ScriptedModel(["Action: 8", "I would say:\nAction: 6", "Action: 8"])
    return asyncio.run(
        play(
            lambda allocator: Planner(model, assessor=SILENT, allocator=allocator),
            Worlds(Riddle),  # type: ignore[arg-type]
            repeats(RIDDLE, count),
            one,
            REWARD,
            np.linspace(0.5, 1.0, count),
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("rolled", [riddled, walked])
def test_ppo_learns_from_the_decisions_of_a_planner(rolled: Any) -> None:
    frame = policy(0, WALKS, ("distance",))
    networks = Networks(frame, 0)
    rollout = rolled(networks.export(frame))
    settings = PPOConfig(reference_cost=400.0, hidden=16, batch_size=10_000, epochs=1)
    batch, _ = batch_of(rollout, networks, settings)
    log_probs, _ = networks.log_probs(batch.inputs, batch.latents, batch.free)
    assert log_probs.detach().numpy() == pytest.approx(rollout.log_probs, abs=1e-5)
    assert losses(networks, batch, settings.epsilon).clip_fraction.item() == 0.0
    before = [parameter.detach().clone() for parameter in networks.parameters()]
    adam = torch.optim.Adam(networks.parameters(), lr=1e-3)
    done = update(networks, adam, rollout, settings, np.random.default_rng(0))
    assert (done.minibatches, done.clip_fraction) == (1, 0.0)
    assert done.kl == pytest.approx(0.0, abs=1e-6)
    assert done.gradient_norm > 0.0
    moved = [
        not torch.equal(old, new) for old, new in zip(before, networks.parameters(), strict=True)
    ]
    assert any(moved)
    after, _ = networks.log_probs(batch.inputs, batch.latents, batch.free)
    assert (after - log_probs).abs().max().item() > 1e-4


# ---------------------------------------------------------------------- what is left out or refused


def failing(rooms: set[int]) -> Any:
    """Walks whose model fails after the first cell in these rooms."""

    def planner(allocator: Allocator) -> Planner:
        def answer(prompt: Prompt) -> dict[str, float]:
            said = prompt.messages[1].content
            if "cell 1" in said and any(f"room {room}" in said for room in rooms):
                raise ModelError("the server is gone")
            return tell(prompt)

        made = walker(allocator)
        made.model = ScriptedModel([""], next_tokens=answer)
        return made

    return planner


def test_an_episode_that_a_failing_model_ended_is_left_out_and_one_without_a_decision() -> None:
    rooms = [replace(CORRIDOR, id=f"room {n}", goal=f"leave room {n}") for n in range(4)]
    one, trade_offs = policy(0, WALKS, ("distance",)), np.array([0.5, 0.6, 0.7, 0.8])

    def rolled(broken: set[int], chosen: list[int]) -> Rollout:
        return asyncio.run(
            play(
                failing(broken),
                Worlds(Corridor),  # type: ignore[arg-type]
                [rooms[n] for n in chosen],
                one,
                REWARD,
                trade_offs[chosen],
                jobs=2,
            )
        )

    partly = rolled({0, 2}, [0, 1, 2, 3])
    assert partly.tasks.tolist() == [1, 3]
    agree(partly, rolled(set(), [1, 3]), "tasks")
    with pytest.raises(ModelError, match="none of 4 episodes .*: the server is gone"):
        rolled({0, 1, 2, 3}, [0, 1, 2, 3])
    with pytest.raises(ModelError, match="none of 6 episodes .*: limit of 9 tokens reached"):
        walked(one, limits=Limits(tokens=9))


@dataclass
class Unjudged(Riddle):
    def step(self, action: str) -> Transition:
        return replace(super().step(action), success=None)


def test_what_cannot_be_played_is_refused() -> None:
    def rolled(
        tasks: Sequence[Task],
        trade_offs: Sequence[float],
        world: type[Riddle] = Riddle,
        max_rounds: int = 4,
    ) -> None:
        def planner(allocator: Allocator) -> Planner:
            made = walker(allocator)
            made.max_rounds = max_rounds
            return made

        one = policy(0, WALKS, ("distance",))
        benchmark: Any = Worlds(world)
        asyncio.run(play(planner, benchmark, tasks, one, REWARD, np.array(trade_offs)))

    with pytest.raises(InvalidInputError, match="no tasks to play"):
        rolled([], [])
    with pytest.raises(InvalidInputError, match=r"shape \(1,\), expected one for each of 2 tasks"):
        rolled(repeats(RIDDLE, 2), [0.5])
    with pytest.raises(InvalidInputError, match="task riddle comes twice with the seed 0"):
        rolled([RIDDLE, RIDDLE], [0.5, 0.5])
    with pytest.raises(InvalidInputError, match="max_rounds of the planner is 3, expected at l"):
        rolled([RIDDLE], [0.5], max_rounds=3)
    with pytest.raises(InvalidInputError, match="not known whether task riddle is solved"):
        rolled([RIDDLE], [0.5], Unjudged)
