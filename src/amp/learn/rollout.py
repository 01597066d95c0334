"""Episodes of a policy in a `VectorEnv`, in numpy, all of them at once: what PPO learns from.

They are played here, or in parts by many workers, whose number changes no episode.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from amp.allocate.mlp_policy import EXTRAS, MlpPolicy, log_probs
from amp.allocate.space import REALS, Space
from amp.assess.neural import NeuralAssessor
from amp.errors import InvalidInputError
from amp.evaluate.workers import Opener, Places, Workers
from amp.learn.networks import encoded
from amp.mlp import Floats, Ints, Mask
from amp.reward import Reward
from amp.simulate.table_env import (
    BatchObservation,
    StepResult,
    VectorEnv,
    VectorEpisodes,
    VectorTasks,
)


class Rollouts(VectorTasks, Protocol):
    """Tasks to train on, and where episodes of a policy on them come from: a table, or a model.

    Attributes:
        live: whether episodes cost calls of a model.
        spent: what was spent on a model so far; empty where none is asked.
    """

    @property
    def live(self) -> bool: ...
    @property
    def spent(self) -> Mapping[str, float]: ...

    def collect(
        self,
        policy: MlpPolicy,
        tasks: Ints,
        trade_offs: Floats,
        rng: np.random.Generator,
        assessor: NeuralAssessor | None = None,
    ) -> Rollout:
        """An episode for each task, with its trade-off; all chance is of the generator.

        Raises:
            LimitReachedError: if what may be spent is spent.
        """
        ...


@dataclass(frozen=True, slots=True)
class EnvRollouts:
    """Rollouts in a `VectorEnv`."""

    env: VectorEnv
    reward: Reward

    @property
    def space(self) -> Space:
        return self.env.space

    @property
    def max_rounds(self) -> int:
        return self.env.max_rounds

    @property
    def max_samples(self) -> int | None:
        return self.env.max_samples

    @property
    def features(self) -> tuple[str, ...]:
        return self.env.features

    @property
    def difficulties(self) -> Floats:
        return self.env.difficulties

    @property
    def live(self) -> bool:
        return False

    @property
    def spent(self) -> Mapping[str, float]:
        return {}

    def collect(
        self,
        policy: MlpPolicy,
        tasks: Ints,
        trade_offs: Floats,
        rng: np.random.Generator,
        assessor: NeuralAssessor | None = None,
    ) -> Rollout:
        """As `Rollouts.collect`, by `roll_out`."""
        return roll_out(policy, self.env, self.reward, tasks, trade_offs, rng, assessor)


MAX_TURNS = 10_000
"""Decisions an episode. One that needs more is taken for a environment that never ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """Whole episodes: what was seen and decided, and what came of it.

    The first block has one row a decision, in the order in which they were taken; the second one
    value an episode.

    Attributes:
        values: as in `BatchObservation`, with the trade-off, and the assessor's score where one
            is given.
        inputs: those of the network.
        assessed: those of the assessor, of width 0 where none is given.
        latents: what was drawn.
        free: what might have been.
        log_probs: of the latents; not of use if there was no chance.
        rewards: what the decision added to the reward of its episode.
        episode: to which one it belongs.
        turn: how many came before it there.
        tasks: index of the task.
        trade_offs: lambda.
        success: quality of the result.
        cost: of all decisions, in the unit of the environment.
        outside: whether it ended beyond what was recorded; of width 0 where that cannot be.
    """

    values: Floats
    inputs: Floats
    assessed: Floats
    latents: Floats
    free: Mask
    log_probs: Floats
    rewards: Floats
    episode: Ints
    turn: Ints

    tasks: Ints
    trade_offs: Floats
    success: Floats
    cost: Floats
    outside: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))

    @property
    def returns(self) -> Floats:
        """The reward of each episode."""
        return np.asarray(np.bincount(self.episode, self.rewards, len(self.tasks)), float)

    def check_inside(self, names: Sequence[str]) -> None:
        """Makes sure that no episode left the lattice, as has to be in a run that is reported.

        Args:
            names: of the tasks, by index.

        Raises:
            InvalidInputError: if one did.
        """
        if self.outside.any():
            task = names[self.tasks[int(self.outside.argmax())]]
            raise InvalidInputError(
                f"{int(self.outside.sum())} of {len(self.tasks)} episodes left the lattice, such as"
                f" one of task {task}; visit what the policy comes to (amp record --lattice"
                " --complete)"
            )

    def grid(self, per_decision: Floats) -> Floats:
        """A value for each decision, put in a table of shape (turns, episodes), 0 elsewhere."""
        table = np.zeros((int(self.turn.max()) + 1, len(self.tasks)))
        table[self.turn, self.episode] = per_decision
        return table


def roll_out(
    policy: MlpPolicy,
    env: VectorEnv,
    reward: Reward,
    tasks: Ints,
    trade_offs: Floats,
    rng: np.random.Generator,
    assessor: NeuralAssessor | None = None,
) -> Rollout:
    """Plays an episode for each task, with its trade-off.

    A decision's reward is what it changed: the reward of the episode if it ended now without
    success, less that before it; the last decision has the success as well. So the rewards of an
    episode add up to `Reward.of` its success and cost, and what costs something is charged at
    once, but for ``on_success``.

    Args:
        policy: its `deterministic` says whether there is chance; its trade-off is not used.
        env: where.
        reward: what pays.
        tasks: one an episode.
        trade_offs: likewise.
        rng: all chance, the environment's too. The same one gives the same episodes.
        assessor: scores what the environment gives for it; None takes the environment's scores.

    Raises:
        InvalidInputError: if there is no task, or the environment gives what is no observation,
            cost or success.
    """
    if not len(tasks):
        raise InvalidInputError("there are no tasks to play, expected at least one")
    episodes = env.reset(tasks, rng)
    log_stds = np.array(policy.log_stds, np.float32)
    success, cost = np.zeros(len(tasks)), np.zeros(len(tasks))
    outside = np.zeros(0, np.bool_)
    worth = np.zeros(len(tasks))
    live = np.arange(len(tasks))
    columns: list[tuple[Floats | Mask | Ints, ...]] = []
    for turn in range(MAX_TURNS):
        if not len(live):
            break
        view, assessed = _view(episodes, live, trade_offs, policy, assessor)
        inputs = encoded(view.values, policy.mean, policy.std)
        locations = policy.locations(inputs)
        if policy.deterministic:
            latents = most_likely(locations, view.free)
        else:
            latents = draw(locations, log_stds, view.free, rng)
        came = _checked(episodes.step(live, latents))
        cost[live] += came.cost
        success[live] = came.success
        if came.outside is not None:
            outside = outside if len(outside) else np.zeros(len(tasks), np.bool_)
            outside[live] = came.outside
        now = reward.of(came.success, cost[live], trade_offs[live])
        columns.append(
            (
                view.values,
                inputs,
                assessed,
                latents,
                view.free,
                log_probs(latents, locations, log_stds, view.free),
                now - worth[live],
                live,
                np.full(len(live), turn),
            )
        )
        worth[live] = now
        live = live[~came.done]
    else:
        raise InvalidInputError(
            f"task {tasks[live[0]]} is not done after {MAX_TURNS} decisions, expected an end"
        )
    values, inputs, assessed, latents, free, log_ps, rewards, rows, turns = map(
        np.concatenate, zip(*columns, strict=True)
    )
    return Rollout(
        values=values,
        inputs=inputs,
        assessed=assessed,
        latents=latents,
        free=free,
        log_probs=log_ps,
        rewards=rewards,
        episode=rows,
        turn=turns,
        tasks=tasks,
        trade_offs=trade_offs,
        success=success,
        cost=cost,
        outside=outside,
    )


def draw(locations: Floats, log_stds: Floats, free: Mask, rng: np.random.Generator) -> Floats:
    """`draws.sample` of many rows: latents that are 0 where nothing is free, and after a stop."""
    normal = rng.standard_normal((len(locations), len(REALS)), np.float32)
    reals = slice(1, 1 + len(REALS))
    latents = (rng.random(locations.shape) < 1.0 / (1.0 + np.exp(-locations))).astype(np.float32)
    latents[:, reals] = locations[:, reals] + np.exp(log_stds) * normal
    return _settled(latents, free)


def most_likely(locations: Floats, free: Mask) -> Floats:
    """`draws.most_likely` of many rows."""
    latents = (locations >= 0.0).astype(np.float32)
    reals = slice(1, 1 + len(REALS))
    latents[:, reals] = locations[:, reals]
    return _settled(latents, free)


def _settled(latents: Floats, free: Mask) -> Floats:
    latents[~free] = 0.0
    latents[latents[:, 0] > 0, 1:] = 0.0
    return latents


def _view(
    episodes: VectorEpisodes,
    rows: Ints,
    trade_offs: Floats,
    policy: MlpPolicy,
    assessor: NeuralAssessor | None,
) -> tuple[BatchObservation, Floats]:
    """What the policy sees of these rows, and what the assessor saw to score them."""
    view = episodes.observe(rows)
    names = (*policy.features, *EXTRAS)
    for what, array, width in (
        ("values", view.values, len(names)),
        ("free", view.free, len(policy.space.dims)),
    ):
        if array.shape != (len(rows), width):
            raise InvalidInputError(
                f"{what} of the view have the shape {array.shape}, expected {(len(rows), width)}"
            )
    values = np.array(view.values, np.float64)
    values[:, names.index("trade_off")] = trade_offs[rows]
    assessed: Floats = np.zeros((len(rows), 0), np.float32)
    if assessor is not None:
        assessed = _assessed(view, assessor)
        values[:, names.index("score")] = assessor.predict(assessed)
    if (infinite := np.isinf(values).any(0)).any():
        raise InvalidInputError(
            f"complexity {names[int(infinite.argmax())]} is infinite, expected a finite number"
        )
    if not view.free.any(1).all():
        raise InvalidInputError("a view asks for a decision in which nothing is free")
    return replace(view, values=values), assessed


def _assessed(view: BatchObservation, assessor: NeuralAssessor) -> Floats:
    wanted = (len(view.values), 3 * len(assessor.names))
    if view.assessed is None or view.assessed.shape != wanted:
        found = "are missing" if view.assessed is None else f"have the shape {view.assessed.shape}"
        raise InvalidInputError(
            f"inputs of the assessor {found} in the view, expected the shape {wanted}"
        )
    if not np.isfinite(view.assessed).all():
        raise InvalidInputError("inputs of the assessor have a number that is not finite")
    return view.assessed.astype(np.float32)


def _checked(turn: StepResult) -> StepResult:
    for name, array, high in (("cost", turn.cost, np.inf), ("success", turn.success, 1.0)):
        wrong = ~((array >= 0.0) & (array <= high) & np.isfinite(array))
        if wrong.any():
            raise InvalidInputError(
                f"{name} of a decision is {array[wrong][0]}, expected 0 "
                + ("to 1" if high == 1.0 else "or more")
            )
    return turn


# --------------------------------------------------------------------------- by many workers

SHARD = 64
"""Episodes that a worker plays at once, in the order in which they were asked for."""


@dataclass(frozen=True, slots=True)
class SpreadRollouts(EnvRollouts):
    """Rollouts in a `VectorEnv` in shards, each with chance of its own, that workers play.

    The size of a shard is fixed, so the episodes depend on the seed alone and not on how many
    workers there are. They are not those of `EnvRollouts`, which draws for all episodes in turn.

    Attributes:
        workers: whose bench are the rollouts here (`rollouts_opener`).
        run: runs a coroutine to its end, always on the same event loop.
    """

    workers: Workers[EnvRollouts]
    run: Callable[[Coroutine[Any, Any, list[Rollout]]], list[Rollout]]

    def collect(
        self,
        policy: MlpPolicy,
        tasks: Ints,
        trade_offs: Floats,
        rng: np.random.Generator,
        assessor: NeuralAssessor | None = None,
    ) -> Rollout:
        """As `Rollouts.collect`."""
        begins = range(0, len(tasks), SHARD)
        seeds = rng.integers(2**63, size=len(begins)).tolist()
        shards = [
            (begin, tasks[begin : begin + SHARD], trade_offs[begin : begin + SHARD], seed)
            for begin, seed in zip(begins, seeds, strict=True)
        ]
        return joined(self.run(self._played(partial(_play_shard, policy, assessor), shards)))

    async def _played(self, play: Any, shards: Sequence[_Shard]) -> list[Rollout]:
        async with aclosing(self.workers.each(play, shards)) as played:
            return [made for _, made in sorted([one async for one in played], key=lambda o: o[0])]


_Shard = tuple[int, Ints, Floats, int]
"""Which episode is its first one, tasks, trade-offs, and a seed."""


async def _play_shard(
    policy: MlpPolicy, assessor: NeuralAssessor | None, bench: EnvRollouts, shard: _Shard
) -> tuple[int, Rollout]:
    begin, tasks, trade_offs, seed = shard
    rng = np.random.default_rng(seed)
    return begin, bench.collect(policy, tasks, trade_offs, rng, assessor)


def rollouts_opener(rollouts: EnvRollouts) -> Opener[EnvRollouts]:
    """Opens the same rollouts elsewhere."""
    return Opener(partial(_opened, rollouts))


@asynccontextmanager
async def _opened(rollouts: EnvRollouts, places: Places) -> AsyncIterator[EnvRollouts]:
    yield rollouts


_OF_DECISIONS = (
    *("values", "inputs", "assessed", "latents", "free", "log_probs", "rewards"),
    *("episode", "turn"),
)


def joined(parts: Sequence[Rollout]) -> Rollout:
    """Several rollouts as one, their decisions in the order in which one would have taken them."""
    columns = {
        one.name: np.concatenate([getattr(part, one.name) for part in parts])
        for one in fields(Rollout)
    }
    first = np.cumsum([0, *(len(part.tasks) for part in parts[:-1])])
    lengths = [len(part.episode) for part in parts]
    columns["episode"] = columns["episode"] + np.repeat(first, lengths)
    order = np.argsort(columns["turn"], kind="stable")
    return Rollout(
        **{
            name: column[order] if name in _OF_DECISIONS else column
            for name, column in columns.items()
        }
    )
