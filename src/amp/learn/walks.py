"""All ways through a lattice, as arrays: what a table of it becomes where policies are evaluated.

`amp.learn.arm_values` and `amp.learn.departures` both work backwards through them, from the nodes
that lead nowhere, as the return of a policy from any node on is known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amp.allocate.mlp_policy import EXTRAS
from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints, Mask
from amp.reward import Reward
from amp.simulate.table_env import END, TableEnv
from amp.simulate.table_oracle import levels


@dataclass(frozen=True, slots=True, eq=False)
class Walks:
    """All ways through a lattice; decisions are 0 to stop, 1 + an arm, or the last to give up.

    Attributes:
        levels: nodes, those first that lead nowhere.
        then: where settling leads.
        next: shape (nodes, arms, samples).
        cost: likewise, in reward.
        end: by node, the reward of settling where that ends the plan.
        rounds: of the step so far, by node; a step begins where there is none, and is not settled.
        first: the nodes that begin tasks.
    """

    levels: Sequence[Ints]
    then: Ints
    next: Ints
    cost: Floats
    end: Floats
    rounds: Ints
    first: Ints

    @classmethod
    def of(cls, table: TableEnv, arms: int, reward: Reward, trade_off: float) -> Walks:
        """Those of a table, of which the first arms stand for the arms by name."""
        every = np.arange(len(table.then))
        called = np.stack([table.read(every, np.full(len(every), arm)) for arm in range(arms)], 1)
        samples = table.costs[table.unit].samples[table.cost_rows][:, :arms]
        nothing = np.zeros(len(every))
        lambdas = nothing + trade_off
        candidates = table.shown[:, len(table.features) + EXTRAS.index("candidates")]
        return cls(
            list(levels(table)),
            table.then,
            table.next[:, :arms],
            (called[:, :, None] + samples) * (1.0 - trade_off) / reward.reference_cost,
            np.where(table.then == END, reward.of(table.score, nothing, lambdas), 0.0),
            np.rint(np.expm1(candidates)).astype(np.intp),
            table.first,
        )

    @property
    def fresh(self) -> Mask:
        """Which nodes begin a step."""
        return np.asarray(self.rounds == 0)

    def come(self, decided: Ints) -> Floats:
        """The return from each node on by some policies, both of shape (policies, nodes)."""
        come = np.zeros(decided.shape)
        for nodes in self.levels:
            then, to = self.then[nodes], self.next[nodes]
            there = to != END
            share = there / np.maximum(1, there.sum(2, keepdims=True))
            here = np.where(then == END, self.end[nodes], come[:, then])
            asked = decided[:, nodes]
            for arm in range(to.shape[1]):
                after = sum(
                    share[:, arm, s] * (come[:, to[:, arm, s]] - self.cost[nodes, arm, s])
                    for s in range(to.shape[2])
                )
                here = np.where(asked == arm + 1, after, here)
            come[:, nodes] = np.where(asked == to.shape[1] + 1, 0.0, here)
        return come

    def visits(self, decided: Ints) -> Floats:
        """How often a policy comes to each node, over all tasks."""
        visits = np.zeros(len(self.then))
        visits[self.first] = 1.0
        there = self.next != END
        share = there / np.maximum(1, there.sum(2, keepdims=True))
        for nodes in reversed(self.levels):
            settled = nodes[(decided[nodes] == 0) & (self.then[nodes] != END)]
            np.add.at(visits, self.then[settled], visits[settled])
            for arm in range(self.next.shape[1]):
                asked = nodes[decided[nodes] == arm + 1]
                for sample in range(self.next.shape[2]):
                    to = self.next[asked, arm, sample]
                    part = visits[asked] * share[asked, arm, sample]
                    np.add.at(visits, to[to != END], part[to != END])
        return visits


def check_learnable(table: TableEnv, reward: Reward) -> int:
    """How many tasks there are to learn from.

    Raises:
        InvalidInputError: if there are fewer than two, or costs are not charged always.
    """
    if reward.charge != "always":
        raise InvalidInputError(
            f"charge is {reward.charge}, expected always: what an arm is worth from here on is"
            " known for that alone"
        )
    if (count := len(table.tasks)) < 2:
        raise InvalidInputError(f"{count} tasks to learn from, expected at least 2, some to try")
    return count
