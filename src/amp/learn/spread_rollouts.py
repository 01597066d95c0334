"""Rollouts in a `VectorEnv` that many workers make, in parts whose chance no worker changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from amp.allocate.mlp_policy import MlpPolicy
from amp.assess.neural import NeuralAssessor
from amp.evaluate.workers import Opener, Places, Workers
from amp.learn.rollout import EnvRollouts, Rollout
from amp.mlp import Floats, Ints

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
