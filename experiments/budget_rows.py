"""All that can come of recorded problems of GSM8K, and agents that play on it with a budget.

`experiments.shared_budgets` and `experiments.deadlines` have these in common: the same problems,
their samples rated by heads that have not seen the problem, and the same router.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.allocate.router import Router, posterior
from amp.benchmarks.base import Benchmark
from amp.learn.correctness import judged_samples, train_correctness
from amp.learn.routing import RoutingSettings, begun, learn_from
from amp.mlp import Floats, Ints, Mask
from amp.simulate.build import opening_contexts, rate_samples, table_from_recording, with_p_right
from amp.simulate.pool_draws import CountLattice, known_at, leader_right, recorded
from amp.simulate.samples import Arm, RecordedSample, SampleTable, StepSamples
from amp.types import StepContext

TRAINING = 267
"""Problems to learn on: the first ones, so that a recording that grows changes no figure."""
ARMS = ("program", "chain")
SAMPLES = 4
CAP = 256
"""Tokens of an answer at most: 99 % of those to training problems are shorter."""

Contexts = Mapping[str, StepContext]


def load(
    recording: Path, train: Path, benchmark: Benchmark
) -> tuple[tuple[SampleTable, Contexts], tuple[SampleTable, Contexts]]:
    """Test and training problems, their samples rated by heads that have not seen the problem."""
    arms = [Arm(name, benchmark.defaults.arms[name]) for name in ARMS]

    def table(path: Path, split: str, limit: int | None) -> tuple[SampleTable, Contexts]:
        tasks = benchmark.tasks(split, limit)
        found = table_from_recording(path, benchmark, tasks, arms, SAMPLES, incomplete="leave out")
        rows = tuple(row.changed(_capped) for row in found.tasks)
        known = {row.task for row in rows}
        tasks = [task for task in tasks if task.id in known]
        return replace(found, tasks=rows), opening_contexts(benchmark, tasks)

    (test, of_test), (training, of_training) = (
        table(recording, "test", None),
        table(train, "train", TRAINING),
    )
    heads = train_correctness(judged_samples(training, of_training))
    rated = with_p_right(training, heads.held_out.tolist())
    return (rate_samples(test, heads.correctness, of_test), of_test), (rated, of_training)


def _capped(step: StepSamples, _: str) -> StepSamples:
    return replace(
        step,
        by_arm={
            name: replace(arm, samples=tuple(map(_cut, arm.samples)))
            for name, arm in step.by_arm.items()
        },
    )


def _cut(sample: RecordedSample) -> RecordedSample:
    """The sample as it would be if answers were cut off at `CAP` tokens."""
    if sample.usage.completion_tokens <= CAP:
        return sample
    lost = replace(sample.candidate, action=None, p_right=None)
    return RecordedSample(lost, False, replace(sample.usage, completion_tokens=CAP))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All that can come of each problem, in each order of its samples.

    A node is how many samples of each arm are known: ``programs * (SAMPLES + 1) + chains``.

    Attributes:
        cost: shape (rows, arms, samples), of each sample in a call of its own.
        prompt: shape (rows, arms), the part of it that several samples of one call share.
        asks: shape (trade-offs, rows, nodes, arms), the arms that are worth more than stopping, the
            best first; -1 for none.
        bid: shape (rows, nodes), `Router.bids`.
        right: shape (rows, nodes), whether the leading answer is right.
        lead: shape (rows, nodes, 2), votes for the answer with the most, and with the second most.
        trade_offs: of the router.
    """

    cost: Floats
    prompt: Floats
    asks: Ints
    bid: Floats
    right: Mask
    lead: Ints
    trade_offs: Floats

    def bound(self, row: int, arm: int) -> float:
        """The most that a call for one sample can cost."""
        return float(self.prompt[row, arm]) + CAP


def rows_of(table: SampleTable, contexts: Contexts, router: Router, orders: int) -> Rows:
    """Plays nothing, but works out every node; rows are the problems, `orders` times."""
    draws = recorded(table, contexts, orders, 1, "tokens")
    by_order = np.arange(len(draws.task)).reshape(-1, orders).T.ravel()
    draws = draws.part(by_order)
    lattice = CountLattice.of((SAMPLES,) * len(ARMS), router.depth)
    numbers = lattice.taken @ np.array([SAMPLES + 1, 1])
    order = numbers.argsort()
    taken, level = lattice.taken[order], lattice.level[order]
    known = known_at(draws, taken, begun(router, draws.pool, draws))
    right = leader_right(draws, posterior(known, router.voices))
    bid = np.zeros(right.shape)
    asks = np.full((len(router.trade_offs), *right.shape, len(ARMS)), -1)
    for at, depth in enumerate(level.tolist()):
        here = known.rows((slice(None), at))
        bid[:, at] = router.bids(here, depth)
        for t, trade_off in enumerate(router.trade_offs.tolist()):
            worth = router.with_trade_off(trade_off).worth(here, depth)
            best = worth[:, 1:].argsort(1)[:, ::-1]
            gains = np.take_along_axis(worth[:, 1:], best, 1)
            asks[t, :, at] = np.where((gains > worth[:, :1]) & np.isfinite(gains), best, -1)
    votes = np.sort(known.votes.sum(2), -1)[..., ::-1]
    votes = np.concatenate([votes, np.zeros((*votes.shape[:2], 2))], -1)[..., :2]
    tokens = np.array(
        [[row.by_arm[name].prompt_tokens for name in ARMS] for row in table.tasks], float
    )[draws.task]
    return Rows(draws.cost, tokens, asks, bid, right, votes.astype(np.intp), router.trade_offs)


def learn(table: SampleTable, contexts: Contexts, orders: int = 4) -> Router:
    """A router for tokens, learned on all problems of a table."""
    draws = recorded(table, contexts, orders, 0, "tokens")
    settings = RoutingSettings(depth=len(ARMS) * SAMPLES, samples=SAMPLES, orders=orders)
    return learn_from(draws, {arm.name: arm.allocation for arm in table.arms}, settings)


@dataclass(slots=True)
class Agent:
    """An agent at its problem."""

    rows: Rows
    row: int
    taken: list[int]

    @classmethod
    def at(cls, rows: Rows, row: int) -> Agent:
        """One that has asked nothing."""
        return cls(rows, row, [0] * len(ARMS))

    @property
    def node(self) -> int:
        return self.taken[0] * (SAMPLES + 1) + self.taken[1]

    @property
    def right(self) -> bool:
        return bool(self.rows.right[self.row, self.node])

    @property
    def bid(self) -> float:
        return float(self.rows.bid[self.row, self.node])

    def bound(self, arm: int) -> float:
        """The most that a call for one sample can cost."""
        return self.rows.bound(self.row, arm)

    def floor(self) -> float:
        """What one answer can cost at most, asked for in the cheaper way."""
        return min(self.bound(arm) for arm in range(len(ARMS)))

    def wants(self, t: int, left: float) -> int:
        """The arm that its router asks at a trade-off, of those that fit; -1 for none."""
        for arm in self.rows.asks[t, self.row, self.node].tolist():
            if arm >= 0 and self.bound(arm) <= left:
                return int(arm)
        return -1

    def ask(self, arm: int, samples: int = 1) -> float:
        """Takes the next samples of an arm in one call; returns what that cost."""
        first = self.taken[arm]
        self.taken[arm] += samples
        cost = self.rows.cost[self.row, arm, first : first + samples].sum()
        return float(cost - (samples - 1) * self.rows.prompt[self.row, arm])


Scheme = Callable[[Sequence[Agent], float, int], float]
"""Plays agents with a budget at a trade-off, an index; returns what was spent."""
