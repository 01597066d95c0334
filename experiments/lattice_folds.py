"""Values of arms against tuned rules on training missions that were left out, without a model.

    python -m experiments.lattice_folds configs/lattices/babyai.toml

Each mission is played by what was learned, or tuned, without it: first with one mission left out at
a time, then in six parts, three times. What leaves the lattice counts as lost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from amp.allocate.plan_state import plan_rules
from amp.cli.train import levels_of
from amp.cost import costing
from amp.learn.arm_values import ValueSettings, learn_arm_values
from amp.learn.config import TrainConfig, load_train_config
from amp.learn.lattices import read_lattice, table_of
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import leaves, replay_best, replay_lattice
from amp.types import Episode

PARTS, SEEDS = 6, 3


def left_out(count: int) -> Iterator[tuple[str, int, list[list[int]]]]:
    """How missions are parted: what that is called, a seed, and the parts."""
    yield "one left out", 0, [[one] for one in range(count)]
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(count)
        yield (
            f"{PARTS} parts, seed {seed}",
            seed,
            [p.tolist() for p in np.array_split(order, PARTS)],
        )


def played(config: TrainConfig, lattice: Lattice) -> Iterator[tuple[str, str, list[Episode]]]:
    """The parting, who plays, and the episodes of all missions."""
    (trade_off, *_), reward = config.compare.trade_offs, config.ppo.reward
    cost_of, arms = costing(config.ppo.cost, lattice.card).of, lattice.arms.named
    rules = {
        rule: [replay_lattice(lattice, allocator) for allocator in settings.values()]
        for rule, settings in plan_rules(arms).items()
    }

    def earned(episodes: Sequence[Episode], at: Sequence[int]) -> float:
        each = (episodes[one] for one in at)
        return fmean(reward.of(e.score, cost_of(e.usage), trade_off) for e in each)

    def only(at: Sequence[int]) -> Lattice:
        return replace(lattice, tasks=tuple(lattice.tasks[one] for one in at))

    for name, seed, parts in left_out(len(lattice.tasks)):
        found: dict[str, list[Episode]] = {rule: [] for rule in ("values", *rules)}
        for part in parts:
            rest = [one for one in range(len(lattice.tasks)) if one not in part]
            settings = ValueSettings(seed=seed, trade_offs=(trade_off,))
            table = table_of(config, only(rest))
            policy = learn_arm_values(table, arms, reward, settings).policy
            found["values"] += replay_lattice(only(part), policy.with_trade_off(trade_off))
            for rule, several in rules.items():
                best = max(several, key=lambda episodes: earned(episodes, rest))
                found[rule] += [best[one] for one in part]
        yield from ((name, who, episodes) for who, episodes in found.items())
    yield "", "oracle", replay_best(lattice, reward, trade_off, cost_of)


def main(arguments: Sequence[str]) -> int:
    config = load_train_config(Path(arguments[0]))
    assert config.recording is not None
    benchmarks = levels_of(config, None)
    lattice = read_lattice(config, benchmarks, config.recording, config.split, config.limit)
    cost_of, reward = costing(config.ppo.cost, lattice.card).of, config.ppo.reward
    trade_off = config.compare.trade_offs[0]
    print(f"{len(lattice.tasks)} training missions, trade-off {trade_off:g}")
    print("| left out | policy | success | cost | reward | left the lattice |\n" + "|---" * 6 + "|")
    for name, who, episodes in played(config, lattice):
        costs = [cost_of(episode.usage) for episode in episodes]
        paid = (
            reward.of(episode.score, cost, trade_off)
            for episode, cost in zip(episodes, costs, strict=True)
        )
        cells = (
            f"{fmean(episode.success is True for episode in episodes):.3f}",
            *(f"{fmean(costs):.3g}", f"{fmean(paid):.3f}", str(len(leaves(episodes)))),
        )
        print(f"| {' | '.join((name, who, *cells))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
