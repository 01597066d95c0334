"""Learned policies against tuned rules on training missions that were left out, without a model.

    python -m experiments.lattice_folds configs/lattices/babyai.toml

The training missions are parted in six, by chance. Each is played by what was learned, or tuned, on
the other five parts. What leaves the lattice counts as lost. A network takes a minute a part.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from amp.allocate.arm_values import ArmValues
from amp.allocate.base import Allocator
from amp.allocate.plan_state import plan_rules
from amp.allocate.policy import ByArm
from amp.cli.train import levels_of
from amp.cost import costing
from amp.learn.arm_values import ValueSettings, learn_arm_values
from amp.learn.config import TrainConfig, load_train_config
from amp.learn.lattices import learn_network, read_lattice, searched_departures, table_of
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import leaves, replay_best, replay_lattice
from amp.types import Episode

PARTS, SEED = 6, 0


def learned(config: TrainConfig, lattice: Lattice) -> dict[str, Allocator]:
    """What the learners of the comparison learn, at its trade-off."""
    trade_off, arms = config.compare.trade_offs[0], lattice.arms.named
    found: dict[str, ArmValues | ByArm] = {}
    for learner in config.compare.learners:
        if learner == "departures":
            found[learner] = searched_departures(config, lattice, (trade_off,))
            continue
        table = table_of(config, lattice)
        if learner == "values":
            settings = ValueSettings(seed=SEED, trade_offs=(trade_off,))
            found[learner] = learn_arm_values(table, arms, config.ppo.reward, settings).policy
        else:
            with tempfile.TemporaryDirectory() as directory:
                found[learner] = learn_network(config, lattice, table, Path(directory))
    return {learner: policy.with_trade_off(trade_off) for learner, policy in found.items()}


def played(config: TrainConfig, lattice: Lattice) -> dict[str, list[Episode]]:
    """The episodes of all missions, by who plays."""
    (trade_off, *_), reward = config.compare.trade_offs, config.ppo.reward
    cost_of = costing(config.ppo.cost, lattice.card).of
    rules = {
        rule: [replay_lattice(lattice, allocator) for allocator in settings.values()]
        for rule, settings in plan_rules(lattice.arms.named).items()
    }

    def earned(episodes: Sequence[Episode], at: Sequence[int]) -> float:
        each = (episodes[one] for one in at)
        return fmean(reward.of(e.score, cost_of(e.usage), trade_off) for e in each)

    def only(at: Sequence[int]) -> Lattice:
        return replace(lattice, tasks=tuple(lattice.tasks[one] for one in at))

    found: dict[str, list[Episode]] = {}
    order = np.random.default_rng(SEED).permutation(len(lattice.tasks))
    for part in (each.tolist() for each in np.array_split(order, PARTS)):
        rest = [one for one in range(len(lattice.tasks)) if one not in part]
        for name, policy in learned(config, only(rest)).items():
            found.setdefault(name, []).extend(replay_lattice(only(part), policy))
        for rule, several in rules.items():
            best = max(several, key=lambda episodes: earned(episodes, rest))
            found.setdefault(rule, []).extend(best[one] for one in part)
    return found | {"oracle": replay_best(lattice, reward, trade_off, cost_of)}


def main(arguments: Sequence[str]) -> int:
    config = load_train_config(Path(arguments[0]))
    assert config.recording is not None
    benchmarks = levels_of(config, None)
    lattice = read_lattice(config, benchmarks, config.recording, config.split, config.limit)
    cost_of, reward = costing(config.ppo.cost, lattice.card).of, config.ppo.reward
    trade_off = config.compare.trade_offs[0]
    print(f"{len(lattice.tasks)} training missions, trade-off {trade_off:g}")
    print("| policy | success | cost | reward | left the lattice |\n" + "|---" * 5 + "|")
    for who, episodes in played(config, lattice).items():
        costs = [cost_of(episode.usage) for episode in episodes]
        paid = (
            reward.of(episode.score, cost, trade_off)
            for episode, cost in zip(episodes, costs, strict=True)
        )
        cells = (
            f"{fmean(episode.success is True for episode in episodes):.3f}",
            *(f"{fmean(costs):.3g}", f"{fmean(paid):.3f}", str(len(leaves(episodes)))),
        )
        print(f"| {' | '.join((who, *cells))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
