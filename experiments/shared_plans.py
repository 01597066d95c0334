"""Eight agents that share one budget of tokens, each with a mission of many steps (spec 4.3).

Run as a module, on a recorded lattice of whole plans; no model is asked:

    python -m experiments.shared_plans configs/lattices/babyai.toml

A policy decides every step by what each arm is worth from there to the end of the plan
(`amp.allocate.ArmValues`), learned for tokens on the training missions of the configuration. Before
each step an agent bids with the price of success up to which going on is worth it. In the schemes
(`experiments.budget_schemes`) a call can cost its prompt and the longest answer of that arm in
training. A mission for which nothing more can be paid is not solved.

Missions are few, so groups of eight are drawn of them by chance, and intervals resample missions:
each resample has groups of its own, which all schemes play.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amp.allocate.arm_values import ArmValues, bids, columns
from amp.cli.train import levels_of
from amp.errors import AmpError
from amp.learn.arm_values import learn_arm_values
from amp.learn.config import TrainConfig, load_train_config
from amp.learn.lattices import read_lattice, table_of
from amp.mlp import Floats, Ints
from amp.simulate.lattice_recording import Lattice
from amp.simulate.table_env import END, TableEnv
from experiments.budget_schemes import (
    AGENTS,
    SHARED,
    TUNED,
    Interval,
    Scheme,
    head,
    mean_cost,
    single,
    table_row,
)

BUDGETS = (1_000, 1_500, 2_000, 3_000)
"""Tokens an agent. To act at once takes some 800 a step."""
REFERENCE = 8_000.0
"""Tokens that count as 1: about twice what acting at once takes a mission."""
GROUPS, RESAMPLES = 10, 200


@dataclass(frozen=True, slots=True, eq=False)
class Missions:
    """All that can come of recorded missions, and what a policy makes of it.

    A node is a state of a mission and the way to it.

    Attributes:
        first: by mission, where it begins.
        then: shape (nodes, arms), the node after an arm; `END` where the mission ends.
        solved: likewise, whether it ends well there.
        cost: likewise, tokens of the arm.
        written: likewise, those of them that the model wrote.
        readings: likewise, prompts that are paid for once a mission, with their tokens.
        asks: shape (trade-offs, nodes, arms), the arms that are worth it, the best first, -1 else.
        bid: shape (nodes,), the price of success up to which going on is worth it.
    """

    first: Ints
    then: Ints
    solved: Floats
    cost: Floats
    written: Floats
    readings: Sequence[Sequence[Mapping[int, float]]]
    asks: Ints
    bid: Floats

    @classmethod
    def of(cls, table: TableEnv, policy: ArmValues) -> Missions:
        """Works out every node at which a step begins."""
        arms, every = len(policy.arms), np.arange(len(table.then))
        after = table.next[:, :arms, 0]
        known = columns(policy.features, table.shown)
        worth = policy.worth_at(policy.trees.roots[:, 0], known)[..., 1:]
        ends = policy.gives_up.astype(bool)[:, None, None] & (worth < 0.0)
        best = worth.argsort(-1)[..., ::-1]
        asks = np.where(np.take_along_axis(ends, best, -1), -1, best)
        samples = {
            unit: costs.samples[table.cost_rows][:, :arms, 0] for unit, costs in table.costs.items()
        }
        calls = np.stack([table.read(every, np.full(len(every), arm)) for arm in range(arms)], 1)
        return cls(
            table.first,
            np.where(after == END, END, table.then[after]),
            table.score[after] * (table.then[after] == END),
            samples["tokens"] + calls,
            samples["written"],
            _readings(table, arms),
            asks,
            bids(policy.trade_offs, worth.max(-1)),
        )


def _readings(table: TableEnv, arms: int) -> list[list[dict[int, float]]]:
    known = table.readings
    if known is None:
        return [[{} for _ in range(arms)] for _ in table.then]
    task = np.searchsorted(table.first, np.arange(len(table.then)), "right") - 1
    cost = known.costs["tokens"]
    return [
        [
            {int(n): float(cost[task[node], n]) for n in known.read[node, arm, 0] if n >= 0}
            for arm in range(arms)
        ]
        for node in range(len(table.then))
    ]


@dataclass(slots=True)
class Agent:
    """An agent at its mission."""

    missions: Missions
    caps: Floats
    node: int
    paid: set[int]
    solved: bool = False

    @classmethod
    def at(cls, missions: Missions, caps: Floats, mission: int) -> Agent:
        """One that has done nothing; `caps` are the longest answers by arm."""
        return cls(missions, caps, int(missions.first[mission]), set())

    def _prompt(self, arm: int) -> float:
        all_of_it = self.missions.cost[self.node, arm] - self.missions.written[self.node, arm]
        readings = self.missions.readings[self.node][arm]
        return float(all_of_it - sum(cost for n, cost in readings.items() if n in self.paid))

    @property
    def bid(self) -> float:
        return float(self.missions.bid[self.node])

    def bound(self, arm: int) -> float:
        """The most that the arm can cost here."""
        prompt = self._prompt(arm)
        return prompt + float(self.caps[arm]) if prompt > 0.0 else 0.0

    def floor(self) -> float:
        """What the dearest first step can cost."""
        return max(self.bound(arm) for arm in range(len(self.caps)))

    def wants(self, t: int, left: float) -> int:
        """The arm that its policy asks at a trade-off, of those that fit; -1 for none."""
        if self.node != END:
            for arm in self.missions.asks[t, self.node].tolist():
                if arm >= 0 and self.bound(arm) <= left:
                    return int(arm)
        return -1

    def ask(self, arm: int) -> float:
        """Takes a step; returns what that cost."""
        missions, node = self.missions, self.node
        cost = self._prompt(arm) + float(missions.written[node, arm])
        self.paid |= missions.readings[node][arm].keys()
        self.solved = missions.solved[node, arm] >= 1.0
        self.node = int(missions.then[node, arm])
        return cost


# --------------------------------------------------------------------------- the study


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """Mean success and tokens an agent of a scheme: of all missions, and of each resample.

    Attributes:
        success: first that of all missions.
        spent: likewise.
        trade_off: at which it was played; None where it takes none.
    """

    success: Floats
    spent: Floats
    trade_off: float | None = None


def drawn(missions: int, resamples: int, groups: int = GROUPS) -> list[list[list[int]]]:
    """Groups of missions: of all of them, and of each resample; the same ones for all schemes."""
    rng = np.random.default_rng(0)
    every = np.arange(missions)
    bags = [every, *(rng.choice(every, missions) for _ in range(resamples))]
    counts = [groups * 10, *[groups] * resamples]
    return [
        [rng.permutation(bag)[:AGENTS].tolist() for _ in range(count)]
        for bag, count in zip(bags, counts, strict=True)
    ]


def play(
    scheme: Scheme,
    missions: Missions,
    caps: Floats,
    bags: Sequence[Sequence[Sequence[int]]],
    budget: float,
    t: int,
) -> Played:
    """Plays all groups with a budget, in tokens an agent, at a trade-off's index."""
    success, spent = [], []
    for groups in bags:
        solved, cost = 0, 0.0
        for group in groups:
            agents = [Agent.at(missions, caps, mission) for mission in group]
            paid = scheme(agents, budget * len(group), t)
            assert paid <= budget * len(group) + 1e-6
            cost += paid
            solved += sum(agent.solved for agent in agents)
        count = sum(map(len, groups))
        success.append(solved / count)
        spent.append(cost / count)
    return Played(np.array(success), np.array(spent))


def lines(
    policy: ArmValues, training: Missions, test: Missions, caps: Floats, resamples: int = RESAMPLES
) -> Iterator[str]:
    """The table, line by line. Trade-offs are chosen on the training missions."""
    tried = drawn(len(training.first), 0)
    bags = drawn(len(test.first), resamples)
    trade_offs = range(len(policy.trade_offs))

    def cost(t: int) -> float:
        return mean_cost([Agent.at(training, caps, n) for n in range(len(training.first))], t)

    curve = np.array([cost(t) for t in trade_offs])
    yield from head()
    for budget in BUDGETS:
        found = {}
        for name, scheme in TUNED.items():
            solved = [play(scheme, training, caps, tried, budget, t).success[0] for t in trade_offs]
            t = int(np.argmax(solved))
            made = play(scheme, test, caps, bags, budget, t)
            found[name] = Played(made.success, made.spent, float(policy.trade_offs[t]))
        found["one agent, all missions"] = play(single(curve), test, caps, bags, budget, 0)
        for name, one in found.items():
            ahead = _interval(found[SHARED].success - one.success)
            within = _interval(one.success)
            yield table_row(budget, name, one.trade_off, within, float(one.spent[0]), ahead)


def _interval(values: Floats) -> Interval:
    low, high = np.quantile(values[1:], [0.025, 0.975]).tolist()
    return float(values[0]), low, high


def caps_of(training: Missions) -> Floats:
    """The longest answer of each arm, in tokens."""
    return np.asarray(training.written.max(0))


def study(config: TrainConfig, training: Lattice, test: Lattice) -> Iterator[str]:
    """Learns on one lattice, and plays all schemes on the other."""
    told = config.replace(ppo=config.ppo.replace(cost="tokens", reference_cost=REFERENCE))
    table = table_of(told, training)
    policy = learn_arm_values(table, training.arms.named, told.ppo.reward).policy
    known = Missions.of(table, policy)
    yield from lines(policy, known, Missions.of(table_of(told, test), policy), caps_of(known))


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args(arguments)
    config = load_train_config(given.config)
    benchmarks, told = levels_of(config, given.data), config.compare
    assert config.recording is not None  # that of a lattice
    training = read_lattice(config, benchmarks, config.recording, config.split, config.limit)
    ids = [task.task.id for task in training.tasks]
    test = read_lattice(
        config, benchmarks, told.recording or config.recording, told.split, told.limit, ids
    )
    print(f"learned on {len(ids)} missions, played on {len(test.tasks)} others")
    for line in study(config, training, test):
        print(line, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except AmpError as error:
        sys.exit(str(error))
